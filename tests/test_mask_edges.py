"""Masks that end where the colours of their own pictures do, as they are drawn."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from bundles import red_finder, saved, tiny_bundle
from sentences import refusal
from test_collapse import discs

from l4f_plugin import Labels4FreePipeline
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.drawing import as_pixels
from l4f_plugin.matting import corrected, follow_colours, refine
from l4f_plugin.motion import draw_motion
from l4f_plugin.photos import coarse_alpha
from l4f_plugin.subject import Subject
from l4f_plugin.training.alpha_training import AlphaTrainer
from l4f_plugin.training.recipes import AlphaSettings, paper_recipe
from l4f_plugin.training.runs import with_masks_of


def disc(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A disc before a plain background, uint8 `[H, W, 3]`, and its mask float32 `[H, W]`."""
    images, masks = discs(1, side=side)
    return as_pixels(images)[0], masks[0, 0].numpy()


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    side = 2 * pixels + 1
    return functional.max_pool2d(torch.from_numpy(mask)[None, None], side, stride=1, padding=pixels)[0, 0].numpy()


@pytest.mark.parametrize("change", ["too small", "too large"])
def test_colours_move_an_edge_to_where_it_is_in_the_picture(change):
    picture, right = disc()
    wrong = grown(right, 4) if change == "too large" else 1 - grown(1 - right, 4)
    found = corrected(picture, wrong)
    assert found.shape == right.shape and found.dtype == np.float32
    assert np.abs((found > 0.5) - right).mean() < 0.2 * np.abs(wrong - right).mean()


def test_a_picture_larger_than_the_colour_model_has_a_mask_of_its_own_size():
    picture, right = disc(256)
    assert follow_colours(picture, right).shape == (192, 192)
    found = corrected(picture, right)
    assert found.shape == (256, 256)
    assert np.abs(found - right).mean() < 0.01


def test_what_looks_nearly_like_the_background_within_a_subject_is_all_subject():
    picture, right = disc()
    picture = picture.copy()
    rows, columns = np.nonzero(right)
    middle = slice(int(rows.mean()) - 2, int(rows.mean()) + 3), slice(int(columns.mean()) - 2, int(columns.mean()) + 3)
    picture[middle] = 0.1 * picture[middle] + 0.9 * picture[0, 0]
    assert follow_colours(picture, right)[middle].min() > 0.9


@pytest.mark.parametrize("follow", [False, True])
def test_a_class_says_whether_its_masks_follow_colours(tmp_path, follow):
    pipeline = Labels4FreePipeline(load_bundle(saved(tmp_path / "tiny", masks_follow_colours=follow)), "cpu")
    drawn = pipeline.generate([1, 2], with_background=True)
    said = Labels4FreePipeline(tiny_bundle(), "cpu").generate([1, 2], with_background=True)
    for sample, plain in zip(drawn, said, strict=True):
        wanted = corrected(plain.image, plain.alpha) if follow else plain.alpha
        np.testing.assert_allclose(sample.alpha, wanted, atol=1 / 255)
    frame = next(draw_motion(pipeline, pipeline.codes([1, 2], said[0].style.truncation_psi), 2))
    shown = np.asarray(frame)[..., 3] / 255  # where they would flicker
    np.testing.assert_allclose(shown, said[0].alpha, atol=1.5 / 255)
    assert not follow or np.abs(drawn[0].alpha - said[0].alpha).max() > 0.05


@pytest.mark.parametrize("side", [32, 16])  # of what the segmenter sees
def test_a_segmenter_of_photographs_has_half_a_say_where_masks_follow_colours(side):
    def mask(**changes) -> Subject:
        return Labels4FreePipeline(tiny_bundle(**changes), "cpu").generate([1])[0]

    finder = red_finder(side)
    follow = {"masks_follow_colours": True, "masks_follow_student": True}
    alone, drawn = mask(**follow), mask(**follow, student=finder)
    found = coarse_alpha(finder, tiny_bundle().config, alone.image, torch.device("cpu"))
    found = found if side == 32 else refine(alone.image, found)
    np.testing.assert_allclose(drawn.alpha, (alone.alpha + found) / 2, atol=1 / 255)
    assert np.abs(drawn.alpha - alone.alpha).mean() > 0.1
    unasked = mask(masks_follow_colours=True, student=finder)  # a segmenter that learned from other masks
    np.testing.assert_allclose(unasked.alpha, alone.alpha, atol=1 / 255)


def test_a_class_that_does_not_say_keeps_what_its_network_says(tmp_path):
    path = saved(tmp_path / "tiny", masks_follow_colours=True) / "config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "masks_follow_colours": "yes"}))
    assert "'masks_follow_colours' must be true or false" in refusal(read_config, tmp_path / "tiny")
    del written["masks_follow_colours"]
    path.write_text(json.dumps(written))
    assert read_config(tmp_path / "tiny").masks_follow_colours is False


@pytest.mark.parametrize(("recipe", "follow"), [(AlphaSettings(), True), (paper_recipe("cat"), False)])
def test_masks_of_the_default_recipe_follow_colours_and_those_of_the_paper_do_not(recipe, follow):
    learner = AlphaTrainer(recipe, tiny_bundle())
    learned = with_masks_of(learner, tiny_bundle(masks_follow_colours=not follow, masks_follow_student=True))
    assert not learned.config.masks_follow_student, "the segmenter learned from masks that are gone"
    assert learned.config.masks_follow_colours is follow and learned.alpha is learner.averaged
