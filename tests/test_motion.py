"""Transparent motion: the way through style codes, and files whose decoded frames have the right alpha."""

import itertools
import os
import shutil
import subprocess

import numpy as np
import pytest
from alike import assert_alike
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageSequence
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin import animations
from l4f_plugin.errors import Cancelled
from l4f_plugin.jobs import CancelToken
from l4f_plugin.motion import draw_motion, interpolate

KEYS = hnp.arrays(np.float32, (3, 2, 4), elements=st.floats(-5, 5, width=32))
CENTRE = np.float32([0.1, -0.2, 0.3, 0.0])


@given(KEYS, st.integers(3, 20), st.sampled_from(["linear", "spherical"]))
def test_the_way_leads_from_the_first_key_to_the_last(keys, frames, interpolation):
    codes = list(interpolate(keys, frames, interpolation, False, CENTRE))
    assert len(codes) == frames and all(code.shape == (2, 4) and code.dtype == np.float32 for code in codes)
    assert np.allclose(codes[0], keys[0], atol=1e-4) and np.allclose(codes[-1], keys[-1], atol=1e-4)


@given(KEYS, st.integers(1, 6), st.sampled_from(["linear", "spherical"]))
def test_a_loop_passes_every_key_and_ends_where_it_began(keys, each, interpolation):
    codes = list(interpolate(keys, 3 * each, interpolation, True, CENTRE))
    for number, key in enumerate(keys):
        assert np.allclose(codes[number * each], key, atol=1e-4)


@given(KEYS)
def test_a_spherical_way_keeps_its_distance_from_the_mean(keys):
    lengths = np.linalg.norm(keys - CENTRE, axis=-1)
    cosine = (((keys[:-1] - CENTRE) * (keys[1:] - CENTRE)).sum(-1)) / np.maximum(lengths[:-1] * lengths[1:], 1e-9)
    for number, code in enumerate(interpolate(keys, 21, "spherical", False, CENTRE)):
        start = min(number // 10, 1)
        arc = np.abs(cosine[start]) < 0.999
        length = np.linalg.norm(code - CENTRE, axis=-1)
        low, high = np.minimum(lengths[start], lengths[start + 1]), np.maximum(lengths[start], lengths[start + 1])
        assert (length >= low - 1e-3)[arc].all() and (length <= high + 1e-3).all()


@pytest.fixture(scope="module")
def frames(pipeline) -> list[Image.Image]:
    return list(draw_motion(pipeline, pipeline.codes([1, 2, 3], pipeline.config.truncation_psi), 12, loop=True))


def test_frames_are_the_cutouts_of_their_seeds(frames, pipeline):
    assert len(frames) == 12 and {frame.mode for frame in frames} == {"RGBA"}
    alphas = [np.asarray(frame)[..., 3].astype(int) for frame in frames]
    assert_alike(frames[0].getchannel("A"), pipeline.generate([1])[0].mask())
    steps = [np.abs(a - b).mean() for a, b in itertools.pairwise([*alphas, alphas[0]])]
    for stretch in range(3):
        whole = np.abs(alphas[4 * stretch] - alphas[4 * (stretch + 1) % 12]).mean()
        assert max(steps[4 * stretch : 4 * stretch + 4]) < 0.6 * whole, "it jumps"
    token = CancelToken()
    with pytest.raises(Cancelled):
        for _ in draw_motion(pipeline, pipeline.codes([1, 2]), 50, cancel=token, progress=lambda *_: token.cancel()):
            pass


@pytest.mark.parametrize("ending", [".webp", ".apng"])
def test_decoded_frames_are_what_was_drawn(frames, tmp_path, ending):
    path = tmp_path / f"moving{ending}"
    animations.write_animation(path, iter(frames), animations.format_of(path), 24)
    with Image.open(path) as moving:
        assert moving.n_frames == 12 and moving.info.get("loop") == 0
        total = 0
        for frame, drawn in zip(ImageSequence.Iterator(moving), frames, strict=True):
            assert np.array_equal(np.asarray(frame.convert("RGBA")), np.asarray(drawn))
            total += frame.info["duration"]
    assert total == 500


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_webm_keeps_its_alpha(frames, tmp_path):
    path = tmp_path / "moving.webm"
    animations.write_animation(path, iter(frames), "webm", 24)
    command = "ffmpeg -loglevel error -c:v libvpx-vp9 -i moving.webm -f rawvideo -pix_fmt rgba -"
    raw = subprocess.run(command.split(), capture_output=True, check=True, cwd=tmp_path).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(-1, 32, 32, 4)
    assert len(decoded) == 12
    error = np.abs(decoded[..., 3].astype(int) - np.stack([np.asarray(frame)[..., 3] for frame in frames]))
    assert error.mean() < 6 and decoded[..., 3].std() > 10


def test_webm_without_ffmpeg_is_said_before_anything_is_drawn(capsys, tiny_bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run(capsys, "motion", tiny_bundle_folder, "--seeds", "1,2", "--out", tmp_path / "a.webm")
    assert_refused(refused, "WebM needs ffmpeg")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("said", "sentence"),
    [("Unknown encoder", "Unknown encoder"), ("av_write: No space left on device", "The disk is full")],
)
def test_what_ffmpeg_complains_of_is_handed_on(frames, tmp_path, monkeypatch, said, sentence):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho {said} >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    many = itertools.islice(itertools.cycle(frames), 500)
    assert sentence in refusal(animations.write_animation, tmp_path / "a.webm", many, "webm", 24)
    assert os.listdir(tmp_path) == ["bin"]


def test_motion_answers_programs(capsys, tiny_bundle_folder, tmp_path):
    out = tmp_path / "new" / "moving.webp"
    options = "--seeds 4,5 --frames 6 --fps 12 --json --interpolation spherical --device cpu --out"
    said = run(capsys, "motion", tiny_bundle_folder, options, out)
    answer = said.data
    assert said.code == 0 and answer["seeds"] == [4, 5] and answer["seconds"] == 0.5 and answer["file"] == str(out)
    assert Image.open(out).n_frames == 6


def test_more_than_fits_into_memory_is_refused():
    animations.check_animation("apng", 3600, 30, (128, 128))
    told = refusal(animations.check_animation, "webp", 300, 30, (1024, 1024))
    assert "At most 238 frames of 1024 x 1024" in told
