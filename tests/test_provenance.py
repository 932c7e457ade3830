"""Recipes read from infotext of any origin, and W+ codes read from files of any origin."""

import json
import time
import zlib

import numpy as np
import pytest
import torch
from alike import assert_alike, assert_alike_samples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from pixels import chunk, encoded
from safetensors.torch import save_file
from sentences import refusal

from l4f_plugin.arguments import Background, EdgeOptions, Style
from l4f_plugin.images import write_png
from l4f_plugin.provenance import Recipe, WPlus, read_recipe, recipe_of, required_recipe
from l4f_plugin.subject import Subject, place

OURS = "Labels4Free tiny\nClass: tiny, Seed: 12, Truncation psi: 0.6, Noise: random, Version: Labels4Free 0.1.0"


def png(text: str | None, **more) -> bytes:
    information = PngImagePlugin.PngInfo()
    if text is not None:
        information.add_text("parameters", text)
    return encoded(Image.new("RGB", (4, 4)), pnginfo=information, **more)


@given(
    seed=st.integers(0, 2**32 - 1),
    psi=st.floats(-2, 2),
    cutoff=st.none() | st.integers(0, 18),
    noise=st.sampled_from(["random", "stored", "none"]),
    background=st.sampled_from(["seed:7", "#336699", "blur:8", "transparent", 'a, "strange": name.png']),
    edge=st.builds(EdgeOptions, st.none() | st.floats(0, 1), st.integers(-128, 128), st.floats(0, 128), st.booleans()),
)
def test_what_is_written_is_read(seed, psi, cutoff, noise, background, edge):
    image = np.zeros((4, 4, 3), np.uint8)
    sample = Subject(image, np.ones((4, 4), np.float32), "tiny", seed, Style(psi, cutoff, noise))
    plain = read_recipe(sample.infotext())
    assert plain == Recipe("tiny", seed, Style(plain.style.truncation_psi, cutoff, noise))
    assert plain.style.truncation_psi == pytest.approx(psi, abs=1e-5)
    named = background.endswith(".png")
    wanted = Background("picture", background, picture=image) if named else Background.parse(background)
    swapped = read_recipe(place(sample, wanted, image, edge).infotext)
    assert swapped.background == background
    assert (swapped.edge.threshold is None) == (edge.threshold is None)
    assert (swapped.edge.grow, swapped.edge.keep_largest) == (edge.grow, edge.keep_largest)
    assert swapped.edge.feather == pytest.approx(edge.feather, rel=1e-5)


def test_what_a_web_ui_adds_does_no_harm():
    added = [", Postprocess upscale by: 2, Postprocess upscaler: None", "\nPostprocess upscale by: 2"]
    added += ["\nSteps: 20, Sampler: Euler a, Seed: 5, Size: 512x512, Version: v1.10.1"]
    above = "a cat\nNegative prompt: dog\nSteps: 20, Seed: 5, Version: v1.10.1\n"
    spaced = [OURS.replace("\n", "\r\n") + "\r\n", f"  {OURS}  "]
    for changed in (*(OURS + more for more in added), above + OURS, *spaced):
        assert read_recipe(changed) == Recipe("tiny", 12, Style(0.6)), changed


FORGED = {
    "tiny,": ("../../etc/passwd,", "someone/else,", "Tiny,"),
    "12": ("-1", "4294967296", "1e9", "١٢", "9" * 5000),
    "0.6": ("nan", "inf", "2.5", "1e99"),
    "random": ("loud",),
    ", Noise": (", Grow: 1000, Noise", ", Threshold: 2, Noise", f", Background: {'x' * 400}, Noise"),
    "0.6,": ('0.6, Background: "a\\u0000b",',),
    "Seed: 12, ": ("",),
}
OTHERS = [None, "", "a cat\nSteps: 20, Seed: 5, Version: v1.10.1", "Labels4Free", "Version: Labels4Free 0.1.0"]
OTHERS += [OURS + "x" * 70_000]


def test_text_that_is_not_ours_is_none():
    for foreign in OTHERS + [OURS.replace(part, value) for part in FORGED for value in FORGED[part]]:
        assert read_recipe(foreign) is None, foreign


@given(st.text(max_size=300))
def test_no_text_raises(text):
    assert read_recipe(text) is None or "Labels4Free" in text
    read_recipe(f"Class: tiny, {text}, Seed: 1, Truncation psi: 1, Version: Labels4Free 1")


def test_long_lines_are_read_in_time():
    """Patterns that look back again and again would take minutes for such a line."""
    started = time.process_time()
    for line in ("a" * 4000, '"' * 4000, "a:" * 2000, 'a: "' + "\\" * 4000):
        read_recipe(f"{line} Version: Labels4Free 1")
    assert time.process_time() - started < 20


def test_recipes_of_files(tmp_path):
    write_png(tmp_path / "ours.png", np.zeros((4, 4, 4), np.uint8), OURS)
    assert recipe_of(tmp_path / "ours.png") == recipe_of(png(OURS)) == Recipe("tiny", 12, Style(0.6))
    assert recipe_of(png(None)) is None
    of_codes = OURS.replace("Seed: 12", "W plus: 0123456789abcdef")
    assert "Tiny things has no photo segmenter yet" in refusal(required_recipe, png("a cat"), "Tiny things")
    assert "W+ file" in refusal(required_recipe, png(of_codes), "Tiny things")
    for broken in (b"", b"no picture", png(OURS)[:40]):
        assert refusal(required_recipe, broken, "Tiny things")


def test_text_that_unpacks_without_end_is_refused():
    bomb = zlib.compress(b"\0" * 300_000_000, 9)
    whole = png(None)
    assert refusal(recipe_of, whole[:33] + chunk(b"zTXt", b"parameters\0\0" + bomb) + whole[33:])


def test_saved_codes_draw_the_same_picture(pipeline, tmp_path):
    [drawn] = pipeline.generate([12], 0.8)
    path = tmp_path / "seed0012_w_plus.safetensors"
    drawn.w_plus.save(path)
    read = WPlus.load(path)
    assert read.codes.dtype == np.float32 and read.codes.shape == (8, 7)
    assert np.array_equal(read.codes, drawn.w_plus.codes) and read.noise_seed == 12
    again = pipeline.segment(read)
    assert again.seed is None and again.background is None
    assert_alike_samples(again, drawn, ("image", "alpha"))
    assert f"W plus: {read.digest}" in again.infotext() and "Seed" not in again.infotext()
    assert read_recipe(again.infotext()) is None


def test_bare_codes_take_the_stored_noise(pipeline):
    [drawn] = pipeline.generate([12], 0.8, noise_mode="stored")
    again = pipeline.segment(drawn.w_plus.codes.astype(np.float64))
    assert_alike(again.image, drawn.image)
    assert drawn.w_plus.noise_seed is None


def test_a_seed_or_a_recipe_is_segmented_as_it_was_drawn(pipeline):
    [drawn] = pipeline.generate([12], 0.8, 3, "none")
    by_recipe = pipeline.segment(read_recipe(drawn.infotext()), truncation_psi=0.1)
    by_seed = pipeline.segment(12, truncation_psi=0.8, truncation_cutoff=3, noise_mode="none")
    for again in (by_recipe, by_seed):
        assert again.seed == 12 and again.infotext() == drawn.infotext()
        assert_alike_samples(again, drawn, ("image", "alpha"))
    assert pipeline.segment(12).style.truncation_psi == pipeline.config.truncation_psi


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        (np.zeros((8, 7), np.int64), "floating-point"),
        (np.zeros((8, 7, 1)), "floating-point"),
        (np.zeros((0, 7)), "fit no object class"),
        (np.zeros((9, 7)), "another class"),
        (np.zeros((8, 512)), "another class"),
        (np.full((8, 7), np.nan), "finite"),
        (np.full((8, 7), 1e9), "finite"),
        (-1, "A seed"),
        ("12", "A seed"),
        (Recipe("cat", 1, Style(0.5)), "of the class cat, not tiny"),
    ],
)
def test_what_cannot_be_segmented_is_told(pipeline, subject, sentence):
    assert sentence in refusal(pipeline.segment, subject)


def test_hostile_files_of_codes_are_refused_in_a_sentence(tmp_path):
    good = torch.zeros(8, 7)
    files = {
        "other name": {"w": good},
        "more": {"w_plus": good, "x": good + 1},
        "whole numbers": {"w_plus": good.long()},
        "flat": {"w_plus": good.flatten()},
        "batch": {"w_plus": good.expand(2, 8, 7).contiguous()},
        "not finite": {"w_plus": good + float("inf")},
        "large": {"w_plus": torch.zeros(2, 1 << 20)},
        "noise": {"w_plus": good},
    }
    for name, tensors in files.items():
        save_file(tensors, tmp_path / name, metadata={"noise_seed": "-7" if name == "noise" else "7"})
    (tmp_path / "cut").write_bytes((tmp_path / "noise").read_bytes()[:50])
    (tmp_path / "empty").write_bytes(b"")
    header = json.dumps({"w_plus": {"dtype": "F32", "shape": [8, 7], "data_offsets": [0, 1 << 40]}}).encode()
    (tmp_path / "lies").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    (tmp_path / "folder").mkdir()
    for path in sorted(tmp_path.iterdir()):
        assert refusal(WPlus.load, path)
    save_file({"w_plus": good[None].half()}, tmp_path / "one of a batch")
    assert WPlus.load(tmp_path / "one of a batch").codes.shape == (8, 7)
