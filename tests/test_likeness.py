"""Whether a photograph looks like its class: the figures, what a bundle keeps of them, and where it is said."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import red_finder, saved, tiny_bundle
from PIL import Image
from pixels import noise
from sentences import refusal

from l4f_plugin import Labels4FreePipeline, photo_batch, photos
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.bundles.likeness import LIMIT, Likeness, stranger
from l4f_plugin.training.cut_pictures import CutPictures
from l4f_plugin.training.runs import compared

KEPT = Likeness(2.0, 0.5, -4.0, 1.0)


def test_confidence_is_about_the_share_of_pictures_that_look_less_like_the_class():
    assert KEPT.confidence(2.0, -4.0) == pytest.approx(0.5)
    assert KEPT.confidence(3.0, -4.0) == pytest.approx(1 - KEPT.confidence(1.0, -4.0))
    assert KEPT.confidence(3.0, -4.0) > 0.9
    assert KEPT.confidence(2.0, -1.0) < LIMIT < KEPT.confidence(2.0, -5.0)
    random = np.random.default_rng(0)
    verdicts, doubts = random.normal(2, 0.5, 2000), random.normal(-4, 1, 2000)
    kept = photos.likeness_of(verdicts, iter(doubts))
    shares = [kept.confidence(*figures) for figures in zip(verdicts.tolist(), doubts.tolist(), strict=True)]
    assert np.mean(np.less(shares, LIMIT)) == pytest.approx(LIMIT, abs=0.03)


def test_doubt_tells_decided_masks_from_veils_and_from_nothing():
    decided, veil, nothing = np.zeros((64, 64), np.float32), np.full((64, 64), 0.4, np.float32), np.zeros((64, 64))
    decided[16:48, 16:48] = 1
    assert photos.doubt_of(decided) == pytest.approx(math.log(1e-3))
    assert photos.doubt_of(veil) == pytest.approx(math.log(0.4 * 4096 / (0.4 * 4096 + 10) + 1e-3), abs=1e-4)
    nothing[0, 0] = 0.5
    assert photos.doubt_of(decided) < photos.doubt_of(nothing) < photos.doubt_of(veil)


@pytest.mark.parametrize(
    ("start", "rows", "columns", "value"),
    [
        (140, slice(10, 50), slice(154, 174), 1),
        (76, slice(0, 0), slice(0, 0), 1),  # nothing, and next to nothing: the part in the middle
        (76, slice(0, 1), slice(0, 1), 0.9),
    ],
)
def test_the_discriminator_sees_the_part_around_the_subject_in_the_class_s_shape(start, rows, columns, value):
    seen = []

    class Watcher(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, pictures):
            seen.append(pictures[0])
            return pictures[:, :1, 0, 0] * 0 + len(seen)

    config = dataclasses.replace(tiny_bundle().config, crop=(0, 32, 4, 28))
    image = np.zeros((64, 200, 3), np.uint8)
    image[:, start : start + 48] = 255  # 48 x 64, as the class's 24 x 32
    image[20:30, start + 6 : start + 14] = 248  # which is not where its mirror image is
    alpha = np.zeros((64, 200), np.float32)
    alpha[rows, columns] = value
    assert photos.verdict_of(Watcher(), config, image, alpha) == 1.5
    first, mirrored = seen
    assert (first[:, :, :4] == -1).all() and (first[:, :, 28:] == -1).all() and (first[:, :, 4:28] > 0.85).all()
    assert torch.equal(mirrored[:, :, 4:28], first[:, :, 4:28].flip(2)) and not torch.equal(mirrored, first)


def test_a_bundle_keeps_its_likeness_and_refuses_a_damaged_one(tmp_path):
    folder = saved(tmp_path / "bundle", likeness=KEPT)
    assert load_bundle(folder).config.likeness == KEPT
    written = json.loads((folder / "config.json").read_text())
    good = written["likeness"]
    for wrong in ([], {"verdict_mean": 1.0}, {**good, "doubt_deviation": 0}, {**good, "verdict_mean": "far"}):
        (folder / "config.json").write_text(json.dumps({**written, "likeness": wrong}))
        assert "likeness" in refusal(read_config, folder)


def test_strangers_are_named_and_others_are_not():
    assert stranger("Avatar portraits", None) is None and stranger("Avatar portraits", LIMIT) is None
    assert "does not look like Avatar portraits" in stranger("Avatar portraits", LIMIT - 0.001)
    assert "No subject like Avatar portraits was found" in stranger("Avatar portraits", 0.004)


@pytest.fixture(scope="module")
def avatar():
    return Labels4FreePipeline.from_pretrained("avatar")


@pytest.mark.parametrize("name", ("avatar", "garments"))
def test_pictures_of_nothing_are_told(name, tmp_path):
    """`garments` has no discriminator: what holds no subject at all is told by any class."""
    pipeline = Labels4FreePipeline.from_pretrained(name)
    nothing = {"white": np.full((150, 200, 3), 255, np.uint8), "black": np.zeros((150, 200, 3), np.uint8)}
    nothing |= {"noise": noise(150, 200, 3), "blue": np.full((200, 150, 3), (0, 0, 255), np.uint8)}
    files = [tmp_path / f"{kind}.png" for kind in nothing]
    for file, picture in zip(files, nothing.values(), strict=True):
        Image.fromarray(picture).save(file)
    first, second = (list(photo_batch.segment_photos(pipeline, files, tmp_path / "out")) for _ in range(2))
    for result, again in zip(first, second, strict=True):
        assert result.problem is None and result.confidence == 0
        assert f"No subject like {pipeline.config.title} was found" in " ".join(result.notes)
        assert again.kept and again.notes == result.notes and again.confidence == 0


def test_an_empty_mask_is_told():
    drawn = Image.open(next(Path("weights/garments/ready").glob("*.webp"))).convert("RGBA")
    garments = Labels4FreePipeline.from_pretrained("garments")
    assert garments.segment_photo(drawn).confidence is None
    drawn.putalpha(0)
    assert garments.segment_photo(drawn).confidence == 0


def test_most_of_what_the_class_draws_is_not_called_strange(avatar):
    confidences = [avatar.segment_photo(sample.picture()).confidence for sample in avatar.generate(range(12))]
    assert sum(confidence >= LIMIT for confidence in confidences) > 6


def test_a_class_without_a_discriminator_has_no_opinion(avatar, tmp_path):
    bundle, [sample] = dataclasses.replace(avatar.bundle, discriminator=None, folder=None), avatar.generate([1])
    for folder in (None, tmp_path):  # in the second case as from the Hub, where the file stays behind
        bundle.folder = folder
        assert Labels4FreePipeline(bundle).segment_photo(sample.picture()).confidence is None
    assert compared(bundle, None).config.likeness is None


def test_what_is_kept_comes_from_the_class_s_own_pictures():
    bundle = tiny_bundle(student=red_finder())
    parts = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 7)).astype(np.uint8)
    kept = compared(bundle, CutPictures(parts), count=20).config.likeness
    samples = Labels4FreePipeline(bundle).generate(range(20), truncation_psi=1.0)
    verdicts = [photos.verdict_of(bundle.discriminator, bundle.config, one.image, one.alpha) for one in samples]
    assert kept.verdict_mean == pytest.approx(np.mean(verdicts), abs=1e-2)
    assert all(map(math.isfinite, dataclasses.astuple(kept)))
