"""Directions, mixes and ways between subjects, and the text from which what came of them is drawn again."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from alike import assert_alike, assert_alike_samples
from bundles import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sentences import refusal

from l4f_plugin import directions
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.errors import UserError
from l4f_plugin.exploring import (
    PARTS,
    RANGES,
    Look,
    between,
    key,
    layers,
    mixed,
    mixes,
    neighbours,
    parse_key,
    storable,
)
from l4f_plugin.images import write_png
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.provenance import LONGEST_LINE, WPlus, read_recipe, recipe_of

CODES = hnp.arrays(np.float32, (8, 7), elements=st.floats(-5, 5, width=32)).map(lambda codes: storable(codes, 3))


@pytest.fixture(scope="module")
def folder(tiny_bundle_folder, tmp_path_factory):
    """A copy, since directions are kept in it."""
    return shutil.copytree(tiny_bundle_folder, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pipeline(folder):
    return Labels4FreePipeline.from_pretrained(folder, device="cpu")


def centre_of(pipeline):
    return pipeline.bundle.generator.latent_avg.numpy()


# Directions


def test_components_are_orthonormal_and_in_order():
    found = directions.find_directions(tiny_bundle().generator, 2000)
    assert found.components.shape == (7, 7) and found.components.dtype == found.deviations.dtype == np.float32
    assert np.allclose(found.components @ found.components.T, np.eye(7), atol=1e-5)
    assert (np.diff(found.deviations) <= 0).all() and (found.deviations > 0).all()


def test_samples_spread_along_a_component_as_its_deviation_says():
    generator = tiny_bundle().generator
    found = directions.find_directions(generator)
    w = generator.mapping(torch.randn(20_000, 6, generator=torch.Generator().manual_seed(9))).detach().numpy()
    assert np.allclose((w @ found.components.T).std(axis=0), found.deviations, rtol=0.05)


def test_directions_are_found_once_and_kept_with_their_names(folder, monkeypatch):
    (folder / directions.FILE).unlink(missing_ok=True)
    found = Labels4FreePipeline.from_pretrained(folder, device="cpu").directions
    monkeypatch.setattr(directions, "find_directions", lambda *_: pytest.fail("found again"))
    pipeline = Labels4FreePipeline.from_pretrained(folder, device="cpu")
    assert np.array_equal(pipeline.directions.components, found.components) and not pipeline.directions.names
    pipeline.directions = dataclasses.replace(found, names={"coarse-1": "Looks left"})
    assert Labels4FreePipeline.from_pretrained(folder, device="cpu").directions.names == {"coarse-1": "Looks left"}
    with pytest.raises(UserError, match="1 to 40 characters"):
        pipeline.directions = dataclasses.replace(found, names={"all-0": "x" * 41})


@pytest.mark.parametrize("wrong", ["other generator", "cut short", "other shape", "not finite", "names"])
def test_a_file_of_directions_that_is_not_theirs_is_not_believed(folder, tmp_path, wrong):
    other = shutil.copytree(folder, tmp_path / "tiny")
    bundle, path = load_bundle(other), other / directions.FILE
    found = directions.find_directions(bundle.generator)
    if wrong == "other generator":
        files = {**bundle.config.files}
        files["generator.safetensors"] = dataclasses.replace(files["generator.safetensors"], sha256="0" * 64)
        stranger = dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, files=files))
        directions.keep(stranger, found)
    elif wrong == "cut short":
        directions.keep(bundle, found)
        path.write_bytes(path.read_bytes()[:-9])
    elif wrong == "other shape":
        directions.keep(bundle, directions.Directions(found.components[:3], found.deviations[:3]))
    elif wrong == "not finite":
        directions.keep(bundle, dataclasses.replace(found, deviations=found.deviations * np.float32("nan")))
    else:
        directions.keep(bundle, found)
        path.write_bytes(path.read_bytes().replace(b'"names":"{}"', b'"names":"[ "'))
    again = directions.directions_of(bundle)
    assert np.array_equal(again.components, found.components) and np.isfinite(again.deviations).all()


def test_a_shipped_class_keeps_its_names_elsewhere(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(directions, "WEIGHTS_FOLDER", folder.parent)
    bundle = load_bundle(folder)
    directions.keep(bundle, dataclasses.replace(directions.directions_of(bundle), names={"all-0": "Hair"}))
    assert directions.directions_of(bundle).names == {"all-0": "Hair"}
    assert len(list((tmp_path / "labels4free" / "directions").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_no_hindrance(folder, monkeypatch):
    def refuse(*_):
        raise UserError("The disk is full.")

    (folder / directions.FILE).unlink(missing_ok=True)
    monkeypatch.setattr(directions, "write_atomically", refuse)
    assert len(directions.directions_of(load_bundle(folder))) == 7


# Ways


@pytest.mark.parametrize("count", [4, 8, 10, 12, 18])
def test_ranges_part_the_layers(count):
    assert list(range(count)) == [layer for part in PARTS for layer in range(count)[layers(part, count)]]
    assert layers("all", count) == slice(0, count)
    assert all(range(count)[layers(name, count)] for name in RANGES)


@given(CODES, CODES, CODES)
def test_mixing_touches_only_its_layers(first, second, third):
    codes = mixed(first, second, third).codes
    for part, subject in zip(PARTS, (first, second, third), strict=True):
        assert np.array_equal(codes[layers(part, 8)], subject.codes[layers(part, 8)])
    assert len(mixes([first, second])) == 6 and len(mixes([first, second, third])) == 24
    assert "Two or three" in refusal(mixes, [first])


@given(CODES, CODES)
def test_the_ends_of_between_are_its_subjects(first, second):
    assert np.array_equal(between(first, second, 0).codes, first.codes)
    assert np.array_equal(between(first, second, 1).codes, second.codes)
    half = between(first, second, 0.5).codes
    assert np.allclose(half, (first.codes + second.codes) / 2, atol=1e-2)


@given(CODES, st.floats(0.2, 1.5))
def test_a_look_begins_as_what_it_is_at(codes, variety):
    centre = np.linspace(-1, 1, 7, dtype=np.float32)
    found = directions.find_directions(tiny_bundle().generator, 100)
    look = Look.at(codes, variety, centre)
    assert np.allclose(look.codes(found, centre).codes, codes.codes, atol=1e-2)
    mean = dataclasses.replace(look, variety=0.0).codes(found, centre).codes
    assert np.allclose(mean, centre, atol=1e-3)


@pytest.mark.parametrize("name", RANGES)
def test_a_direction_moves_the_layers_of_its_range_alone(pipeline, name):
    found, centre, codes = pipeline.directions, centre_of(pipeline), pipeline.codes([5])[0]
    start, moved = (Look(codes, 0.7, strengths).codes(found, centre).codes for strengths in ({}, {key(name, 2): 2.0}))
    changed = np.abs(moved - start).max(axis=1) > 1e-3
    assert changed.tolist() == [layer in range(8)[layers(name, 8)] for layer in range(8)]
    step = (moved - start)[layers(name, 8)]
    assert np.allclose(step, 2 * found.deviations[2] * found.components[2], atol=1e-2)


def test_neighbours_are_as_varied_as_the_subject(pipeline):
    centre, (codes, *others) = centre_of(pipeline), pipeline.codes(range(60), 0.7)
    near = neighbours(codes, others, centre)
    lengths = [np.linalg.norm(each.codes - centre) for each in near]
    usual = np.mean([np.linalg.norm(each.codes - centre) for each in others])
    assert 0.7 < np.mean(lengths) / usual < 1.4 and {each.noise_seed for each in near} == {0}
    assert np.mean([np.linalg.norm(each.codes - codes.codes) for each in near]) < usual


def test_what_is_no_direction_is_refused():
    for written in ["", "all", "all-16", "best-1", "coarse--1", "coarse-1 ", "coarse-01", "all-1" * 99]:
        assert "is no direction" in refusal(parse_key, written, 16)


# Drawing and drawing again


def test_codes_draw_what_their_seeds_do(pipeline):
    drawn = pipeline.generate([4, 5], 0.8)
    again = pipeline.draw(pipeline.codes([4, 5], 0.8), with_background=True)
    for first, second in zip(drawn, again, strict=True):
        assert_alike_samples(first, second, ("image", "alpha", "background"))
        assert second.seed is None


def test_a_batch_may_hold_several_kinds_of_noise(pipeline):
    codes = pipeline.codes([4])[0]
    random, stored = pipeline.draw([codes, WPlus(codes.codes)])
    assert_alike(random.image, pipeline.segment(codes).image)
    assert_alike(stored.image, pipeline.segment(codes.codes).image)
    assert [each.style.noise_mode for each in (random, stored)] == ["random", "stored"]


def test_without_learned_backgrounds_the_own_one_follows_the_codes(folder):
    bundle = load_bundle(folder)
    bundle.background = None
    pipeline = Labels4FreePipeline(bundle, device="cpu")
    [drawn], [moved] = ([pipeline.draw(pipeline.codes([2], psi), with_background=True)[0]] for psi in (1, -1))
    assert_alike(drawn.background, pipeline.generate([2], 1)[0].background)
    assert np.abs(moved.background.astype(int) - drawn.background).mean() > 1


@pytest.mark.parametrize("noise_seed", [None, 0, 2**32 - 1])
def test_a_saved_subject_is_drawn_again_from_its_text(pipeline, tmp_path, noise_seed):
    first, second = pipeline.codes([4, 5], 0.8)
    subject = mixed(first, first, WPlus(second.codes, noise_seed))
    [drawn] = pipeline.draw([subject])
    path = tmp_path / "mixed.png"
    write_png(path, drawn.picture(), drawn.infotext())
    recipe = recipe_of(path)
    assert recipe.seed is None and np.array_equal(recipe.w_plus.codes, subject.codes)
    assert recipe.w_plus.noise_seed == noise_seed
    again = pipeline.segment(path)
    assert_alike_samples(again, drawn, ("image", "alpha"))
    assert again.infotext() == drawn.infotext()
    other = dataclasses.replace(recipe, class_name="cat")
    assert "of the class cat" in refusal(pipeline.segment, other)


def test_the_text_of_a_subject_of_512_numbers_a_style_stays_within_a_line(pipeline):
    rows = np.random.default_rng(0).normal(size=(3, 512))
    codes = storable(np.repeat(rows, [4, 4, 10], axis=0), 2**32 - 1)
    told = codes.fields
    assert np.array_equal(WPlus.from_fields({name: str(value) for name, value in told.items()}).codes, codes.codes)
    [drawn] = pipeline.draw(pipeline.codes([1]))
    text = dataclasses.replace(drawn, w_plus=codes).infotext()
    assert max(map(len, text.splitlines())) < LONGEST_LINE and read_recipe(text).w_plus.digest == codes.digest
    longer = storable(np.random.default_rng(0).normal(size=(18, 512)), None)
    assert set(longer.fields) == {"W plus"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Styles", ["4 4 4", "0 8", "99999999", "-1 9", ""]),
        ("Codes", ["", "AAAA", "AA!A", "AAAAA", "A" * 8196]),
        ("W plus", ["0" * 16]),
        ("Noise seed", ["-1", "99999999999"]),
    ],
)
def test_a_text_that_was_tampered_with_is_not_ours(pipeline, name, values):
    [drawn] = pipeline.draw([storable(pipeline.codes([1])[0].codes, 1)])
    text, told = drawn.infotext(), f"{name}: {drawn.w_plus.fields[name]}"
    assert read_recipe(text).w_plus is not None and told in text
    for value in values:
        assert read_recipe(text.replace(told, f"{name}: {value}")) is None, value


@given(st.text("AB-_=/+ 08", max_size=40), st.text("0123456789 -", max_size=12))
def test_no_text_makes_reading_codes_fail(codes, styles):
    line = f"Class: tiny, W plus: 0, Styles: {styles}, Codes: {codes}, Version: Labels4Free 1.0"
    assert read_recipe("Labels4Free tiny\n" + line) is None
