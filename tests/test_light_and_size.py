"""Subjects enlarged with a sharp edge, their light matched to a background, their shadow kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from PIL import Image
from sentences import refusal

from l4f_plugin import matting
from l4f_plugin.arguments import Background, EdgeOptions, Spot
from l4f_plugin.compositing import blur, to_float
from l4f_plugin.images import parse_infotext
from l4f_plugin.networks import Upscaler
from l4f_plugin.provenance import read_recipe
from l4f_plugin.subject import Style, Subject, place
from l4f_plugin.upscaling import LARGEST_SIDE, enlarged
from tools import upscaler_training


def disc(side: int, shadow: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A dark disc on a light surface, with what shadow it throws to the lower right; picture and exact mask."""
    rows, columns = np.indices((4 * side, 4 * side)) / (4 * side)
    inside = ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.09).astype(np.float32)
    below = blur(((rows - 0.58) ** 2 + (columns - 0.58) ** 2 < 0.09).astype(np.float32), side / 16)
    light = (0.8 + 0.1 * columns) * (1 - shadow * below)
    picture = np.where(inside[..., None] > 0, [0.15, 0.1, 0.2], light[..., None] * [1, 0.98, 0.95])
    small = picture.reshape(side, 4, side, 4, 3).mean((1, 3)), inside.reshape(side, 4, side, 4).mean((1, 3))
    return np.rint(small[0] * 255).astype(np.uint8), small[1].astype(np.float32)


def drawn(side: int = 64) -> Subject:
    return Subject(*disc(side), "tiny", 3, Style(0.7), background=disc(side)[0])


def test_an_enlarged_subject_has_an_edge_as_sharp_as_before():
    subject = drawn()
    large = subject.enlarged(4)
    exact = disc(256)[1]
    assert large.image.shape == (256, 256, 3) == large.background.shape and large.alpha.shape == (256, 256)
    plain = np.asarray(Image.fromarray(subject.alpha).resize((256, 256), Image.Resampling.BICUBIC))
    assert np.abs(large.alpha - exact).mean() < 0.5 * np.abs(plain - exact).mean()
    assert parse_infotext(large.infotext())["Enlarged"] == "4" and "Enlarged" not in subject.infotext()
    assert subject.enlarged(1) is subject and subject.enlarged(2).enlarged(2).times == 4
    assert read_recipe(large.infotext()).seed == 3


@pytest.mark.parametrize("times", [2, 4])
def test_a_doubled_picture_is_nearer_to_a_large_one_than_by_a_filter(times):
    picture, alpha = disc(64)
    exact, exact_alpha = disc(64 * times)
    found, found_alpha, done = enlarged(picture, alpha, times)
    plain = np.asarray(Image.fromarray(picture).resize(exact.shape[:2], Image.Resampling.LANCZOS))
    assert done == times and found.shape == exact.shape and found.dtype == np.uint8
    error, usual = (np.square(to_float(one) - to_float(exact)).mean() for one in (found, plain))
    assert error < 0.7 * usual
    assert np.abs(found_alpha - exact_alpha).mean() < 0.01


def test_doubling_ends_near_the_size_that_is_asked_for_and_before_it_is_too_large():
    def times(side: int, scale: float) -> int:
        return enlarged(np.zeros((side, side // 2, 3), np.uint8), None, scale)[2]

    assert [times(40, scale) for scale in (0.5, 1, 1.5, 1.6, 3.5, 16)] == [1, 1, 1, 2, 4, 16]
    assert (times(LARGEST_SIDE // 2, 16), times(LARGEST_SIDE // 2 + 1, 16)) == (2, 1)


def test_no_colour_is_shifted_whatever_the_network_has_learned():
    torch.manual_seed(0)
    network, pictures = Upscaler(), torch.rand(2, 3, 5, 7)
    torch.nn.init.normal_(network.lack[-2].weight)
    large = network(pictures).detach()
    assert large.shape == (2, 3, 10, 14)
    np.testing.assert_allclose(functional.avg_pool2d(large, 2), pictures, atol=1e-5)
    assert large.std() > 1.1 * functional.interpolate(pictures, scale_factor=2).std(), "it adds something"
    plain = network(torch.full((1, 3, 9, 9), 0.2)).detach()
    np.testing.assert_allclose(plain[..., :2, :2], plain[..., 8:10, 8:10], atol=1e-5)  # at the border as elsewhere


def test_the_upscaler_learns_from_pieces_and_their_halves(tmp_path):
    Image.fromarray(disc(256)[0]).save(tmp_path / "disc.png")
    Image.new("RGB", (100, 300)).save(tmp_path / "too_small.png")
    pictures = upscaler_training.load(tmp_path)
    assert len(pictures) == 1
    small, large = upscaler_training.piece([pictures], np.random.default_rng(0))
    assert large.shape == (3, 96, 96)
    np.testing.assert_allclose(small, large.reshape(3, 48, 2, 48, 2).mean((2, 4)), atol=1 / 255)


def test_a_subject_on_a_large_picture_has_no_pale_rim():
    subject, room = drawn(), np.full((512, 512, 3), 40, np.uint8)
    placed = place(subject, Background.parse(room), None, EdgeOptions(), Spot(height=0.6, bottom=0.8))
    brightest = np.asarray(placed.composite).max()
    assert brightest < 75, "neither the subject nor the room is brighter than 51: what is, came from the old surface"
    assert np.array_equal(np.asarray(placed.cutout)[..., 3], np.asarray(placed.alpha))


def test_light_is_matched_as_far_as_is_asked():
    subject, room = drawn(), np.full((64, 64, 3), [200, 160, 90], np.uint8)
    results = [place(subject, Background.parse(room), None, EdgeOptions(match_light=share)) for share in (0, 0.5, 1)]
    inside = [to_float(np.asarray(one.composite))[subject.alpha > 0.99].mean(axis=0) for one in results]
    assert np.all(inside[0] < inside[1]) and np.all(inside[1] < inside[2]), "a dark subject in a bright room"
    assert np.abs(inside[2] - to_float(room)[0, 0]).max() < 0.08
    cutouts = [np.asarray(one.cutout) for one in results]
    assert np.array_equal(cutouts[0], cutouts[2]), "the cut-out keeps its own colours"
    assert read_recipe(results[1].infotext).edge.match_light == 0.5
    assert "light" in refusal(EdgeOptions, match_light=1.5)


def test_a_shadow_falls_on_the_new_background_where_the_old_one_was_plain():
    picture, alpha = disc(160, shadow=0.4)
    darker = matting.shadow(picture, alpha)
    assert darker[120, 120] > 0.1 and darker[34, 34] < 0.03 and darker[2, 2] < 0.03
    assert matting.shadow(*disc(160)).max() < 0.06, "there is none"
    far = picture.copy()
    far[:12, :12] //= 2
    assert matting.shadow(far, alpha)[:8, :8].max() == 0, "what is dark far from the subject is not its shadow"
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 40, picture.shape), 0, 255).astype(np.uint8)
    assert matting.shadow(noisy, alpha) is None, "not on a carpet"
    assert matting.shadow(picture, np.ones_like(alpha)) is None
    subject, white = Subject(picture, alpha, "tiny", 3, Style(0.7)), Background.parse("#ffffff")
    kept, without = (place(subject, white, None, EdgeOptions(keep_shadow=keep)) for keep in (True, False))
    assert np.asarray(kept.composite)[120, 120, 0] < 235 and np.asarray(without.composite)[120, 120, 0] == 255
    assert np.array_equal(np.asarray(kept.alpha), np.asarray(without.alpha))
    assert read_recipe(kept.infotext).edge.keep_shadow and not read_recipe(without.infotext).edge.keep_shadow


def test_what_is_painted_adds_and_takes_at_any_size():
    subject = replace(drawn(), alpha=np.full((6, 9), 0.5, np.float32))
    found = subject.mended(np.array([[1, 1, 0, 0, -1, -1]], np.float32))
    assert (found.alpha[:, :2] == 1).all() and (found.alpha[:, 4] == 0.5).all() and (found.alpha[:, -2:] == 0).all()
    finer = subject.mended(np.repeat(np.arange(90) < 35, 60).reshape(90, 60).T.astype(np.float32)).alpha
    assert (finer[:, :3] == 1).all() and 0.55 < finer[0, 3] < 0.95 and (finer[:, 5:] == 0.5).all(), "edges are soft"
    assert found.brushed and not subject.brushed and parse_infotext(found.infotext())["Brushed"] == "True"
