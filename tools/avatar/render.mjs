// Draws portraits and robots on request. Reads one JSON object per line from standard input,
//   {"style": "personas", "seed": "17", "box": [x, y, side]}
// where box is the square of the style's drawing plane to show, and answers each with side*side*4 bytes
// (straight RGBA, 8 bit) on standard output, side being the first command-line argument.
// With the arguments "licences STYLE..." it prints those styles' creators, sources and licences as JSON instead.
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createAvatar } from '@dicebear/core';
import { personas, micah, toonHead, bottts } from '@dicebear/collection';
import { Resvg } from '@resvg/resvg-js';

const repeat = (count, ...names) => Array(count).fill(names).flat();

const skins = ['f6d3bd', 'eeb4a4', 'e5a07e', 'd78774', 'c68e7a', 'b16a5b', 'a36b4f', '92594b', '77452f', '5c3829'];
const hairs = ['1e1a24', '362c47', '2c1b18', '6c4545', '724133', 'a55728', 'b58143', 'd6b370', 'f29c65', 'e15c66', 'dee1f5'];
const clothes = ['456dff', '54d7c7', '7555ca', '6dbb58', 'e24553', 'f3b63a', 'f55d81', '545b6b', '1f2937', 'e8e9e6', '0b3286'];

// Rare or tiny things (pacifiers, hoop earrings, stubble dots, wrinkles) are left out, and open eyes are drawn
// more often than closed ones, so that a small generator sees the common features often.
const styles = {
  personas: {
    style: personas,
    options: {
      skinColor: skins, hairColor: hairs, clothingColor: clothes,
      body: ['squared', 'rounded', 'small', 'squared', 'rounded'],
      eyes: [...repeat(5, 'open'), 'happy', 'happy', 'glasses'],
      mouth: [...repeat(2, 'smile', 'bigSmile', 'smirk', 'lips'), 'frown', 'surprise'],
      nose: ['mediumRound', 'smallRound'],
      facialHair: ['beardMustache', 'goatee', 'walrus'], facialHairProbability: 12,
      hair: ['long', 'sideShave', 'shortCombover', 'curlyHighTop', 'bobCut', 'curly', 'pigtails', 'curlyBun',
        'buzzcut', 'bobBangs', 'bald', 'bunUndercut', 'fade', 'straightBun', 'extraLong', 'shortComboverChops',
        'beanie'],
    },
    // The sheen over the face is meant to be blended; renderers differ on it, and it turns dark skin grey.
    amend: (svg) => svg.replace(/<mask id="personas-a".*?<\/mask><g mask="url\(#personas-a\)">.*?<\/g>/s, ''),
  },
  micah: {
    style: micah,
    options: {
      baseColor: skins, hairColor: hairs, shirtColor: clothes, facialHairColor: ['1e1a24', '6c4545', 'a55728'],
      earringsProbability: 0, glassesProbability: 15, glassesColor: ['000000'],
      facialHair: ['beard'], facialHairProbability: 8, mouthColor: ['000000'],
      hair: ['fonze', 'dannyPhantom', 'full', 'pixie', 'full', 'pixie', 'fonze', 'turban', 'mrClean'],
      eyes: ['eyes', 'eyes', 'eyes', 'round', 'smiling'],
      eyebrows: ['up', 'down', 'eyelashesUp'],
      mouth: ['laughing', 'smile', 'smile', 'smirk', 'surprised', 'frown'],
    },
    amend: (svg) => svg,
  },
  'toon-head': {
    style: toonHead,
    options: {
      skinColor: skins, hairColor: hairs, clothesColor: clothes,
      beard: ['moustacheTwirl', 'fullBeard', 'chinMoustache'], beardProbability: 15,
      eyes: [...repeat(5, 'happy'), ...repeat(3, 'wide'), 'bow'],
      mouth: ['laugh', 'laugh', 'agape', 'smile', 'smile', 'sad'],
      rearHairProbability: 45,
    },
    amend: (svg) => svg,
  },
  // Glowing lamps are left out: nobody can say where a halo ends.
  bottts: {
    style: bottts,
    options: {
      top: ['antenna', 'antennaCrooked', 'bulb01', 'horns', 'lights', 'pyramid', 'radar'], topProbability: 90,
      textureProbability: 35,
    },
    amend: (svg) => svg,
  },
};

function draw({ style, seed, box: [x, y, side] }, pixels) {
  const { style: drawing, options, amend } = styles[style];
  // Styles may change the options they are given, hence the copy.
  const svg = createAvatar(drawing, { ...structuredClone(options), seed, clip: false }).toString();
  const framed = amend(svg).replace(/viewBox="[^"]*"/, `viewBox="${x} ${y} ${side} ${side}"`);
  return new Resvg(framed, { fitTo: { mode: 'width', value: pixels }, font: { loadSystemFonts: false } }).render().pixels;
}

function licences(names) {
  const version = (name) =>
    JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
  return {
    versions: Object.fromEntries(
      ['@dicebear/core', '@dicebear/collection', '@resvg/resvg-js'].map((name) => [name, version(name)])),
    styles: Object.fromEntries(names.map((name) => {
      const { meta } = styles[name].style;
      return [name, {
        title: meta.title, creator: meta.creator, source: meta.source,
        licence: meta.license.name, licence_url: meta.license.url,
      }];
    })),
  };
}

if (process.argv[2] === 'licences') {
  console.log(JSON.stringify(licences(process.argv.slice(3))));
} else {
  const pixels = Number(process.argv[2]);
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = draw(JSON.parse(line), pixels);
    if (!process.stdout.write(answer)) await once(process.stdout, 'drain');
  }
}
