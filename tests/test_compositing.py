"""Properties that blends, mask edits and foreground colours must have, whatever the picture."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from l4f_plugin import compositing, matting

unit = st.floats(0, 1, width=32)
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
masks = sizes.flatmap(lambda size: hnp.arrays(np.float32, size, elements=unit))


@st.composite
def scenes(draw):
    """(foreground, background, alpha) of one random size."""
    height, width = draw(sizes)
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    colours = random.random((2, height, width, 3), dtype=np.float32)
    alpha = draw(hnp.arrays(np.float32, (height, width), elements=unit))
    return colours[0], colours[1], alpha


def disc_scene(size=96, radius=30.0, softness=2.0):
    """A soft disc over a background of another colour: (picture, foreground, background, alpha)."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    distance = np.hypot(y - size / 2, x - size / 2)
    alpha = np.clip((radius - distance) / softness + 0.5, 0, 1).astype(np.float32)
    x, y = x / size, y / size
    foreground = np.stack([0.2 + 0.3 * x, 0.1 + 0 * x, 0.7 - 0.4 * y], axis=2).astype(np.float32)
    background = np.stack([0.9 + 0 * x, 0.8 - 0.3 * x, 0.1 + 0.2 * y], axis=2).astype(np.float32)
    return compositing.composite(foreground, background, alpha), foreground, background, alpha


@given(scenes())
def test_composite_stays_between_its_pictures_and_is_exact_at_the_ends(scene):
    foreground, background, alpha = scene
    alpha = np.where(alpha < 0.2, 0, np.where(alpha > 0.8, 1, alpha)).astype(np.float32)
    result = compositing.composite(foreground, background, alpha)
    assert result.dtype == np.float32
    assert (result >= np.minimum(foreground, background)).all() and (result <= np.maximum(foreground, background)).all()
    assert np.array_equal(result[alpha == 1], foreground[alpha == 1])
    assert np.array_equal(result[alpha == 0], background[alpha == 0])
    weight = alpha[..., None].astype(np.float64)
    exact = weight * foreground + (1 - weight) * background
    np.testing.assert_allclose(result, exact, atol=1e-6)


@given(scenes())
def test_cutout_keeps_colours_where_alpha_is_zero(scene):
    foreground, _, alpha = scene
    colours, levels = compositing.to_bytes(foreground), compositing.to_bytes(alpha)
    rgba = compositing.cutout(colours, compositing.to_float(levels))
    assert rgba.dtype == np.uint8
    assert np.array_equal(rgba[..., :3], colours)
    assert np.array_equal(rgba[..., 3], levels)


@given(hnp.arrays(np.uint8, sizes))
def test_bytes_survive_the_way_to_float_and_back(values):
    assert np.array_equal(compositing.to_bytes(compositing.to_float(values)), values)


def test_what_lies_outside_the_range_is_cut_off_and_halves_are_rounded_to_even():
    values = np.array([-1, 0.5 / 255, 1.5 / 255, 0.5, 254.6 / 255, 2])
    assert compositing.to_bytes(values).tolist() == [0, 0, 2, 128, 255, 255]
    assert compositing.to_float(values).dtype == np.float32
    assert compositing.to_float(np.uint8([0, 51, 255])).tolist() == pytest.approx([0, 0.2, 1])


@given(masks, unit, unit)
def test_threshold_is_hard_and_monotone(alpha, one, other):
    low, high = sorted((one, other))
    loose, strict = compositing.threshold(alpha, low), compositing.threshold(alpha, high)
    assert set(np.unique(loose)) <= {0.0, 1.0}
    assert (strict <= loose).all()
    assert np.array_equal(loose == 1, alpha > low)
    assert compositing.threshold(alpha, None) is alpha


@given(masks, st.integers(0, 5), st.integers(0, 5))
def test_grow_and_shrink_bound_each_other(alpha, one, other):
    grow, (small, large) = compositing.grow, sorted((one, other))
    assert (grow(alpha, large) >= grow(alpha, small)).all() and (grow(alpha, small) >= alpha).all()
    assert (grow(alpha, -large) <= grow(alpha, -small)).all() and (grow(alpha, -small) <= alpha).all()
    assert (grow(grow(alpha, small), -small) >= alpha).all() and (grow(grow(alpha, -small), small) <= alpha).all()


@given(masks, st.integers(-5, 5), unit)
def test_growing_commutes_with_the_threshold(alpha, pixels, level):
    """Both orders agree, so the order in which a page shows them does not matter."""
    grown_first = compositing.threshold(compositing.grow(alpha, pixels), level)
    assert np.array_equal(grown_first, compositing.grow(compositing.threshold(alpha, level), pixels))


@pytest.mark.parametrize("radius", [1, 2, 3, 7])
def test_grow_draws_a_disc(radius):
    point = np.zeros((31, 31), np.float32)
    point[15, 15] = 1
    y, x = np.mgrid[-15:16, -15:16]
    expected = (y * y + x * x <= radius * (radius + 1)).astype(np.float32)
    assert np.array_equal(compositing.grow(point, radius), expected)
    assert np.array_equal(compositing.grow(1 - point, -radius), 1 - expected)


def test_grow_copes_with_a_disc_larger_than_the_mask():
    alpha = np.zeros((3, 5), np.float32)
    alpha[0, 0] = 0.5
    assert (compositing.grow(alpha, 40) == 0.5).all()
    assert (compositing.grow(alpha, -40) == 0).all()


@given(masks, st.floats(0, 6))
def test_feather_keeps_the_range(alpha, radius):
    result = compositing.blur(alpha, radius)
    assert result.shape == alpha.shape
    assert result.min() >= alpha.min()
    assert result.max() <= alpha.max()


def test_feather_keeps_the_mean_of_a_mask_away_from_the_border():
    alpha = disc_scene(softness=0.5)[3]
    for radius in (0.7, 2.0, 5.0):
        feathered = compositing.blur(alpha, radius)
        assert feathered.mean() == pytest.approx(alpha.mean(), abs=1e-4)
        assert np.abs(np.diff(feathered, axis=1)).max() < np.abs(np.diff(alpha, axis=1)).max()
    assert compositing.blur(alpha, 0) is alpha


@pytest.mark.parametrize("radius", [1.0, 2.5, 8.0, 8.5, 20.0, 50.0])
def test_blur_is_a_gaussian_of_the_standard_deviation_it_was_asked_for(radius):
    point = np.zeros((401, 401), np.float32)
    point[200, 200] = 1
    offsets, profile = np.arange(401) - 200, compositing.blur(point, radius).sum(axis=0)
    assert profile.sum() == pytest.approx(1, abs=0.01)
    mean = (profile * offsets).sum()
    deviation = np.sqrt((profile * (offsets - mean) ** 2).sum())
    assert 0.9875 * radius < deviation < 1.001 * radius, "a little less, as the bell is cut off"
    assert abs(mean) < 0.1 * radius
    bell = [0.5 * (1 + math.erf((x + 0.5) / radius / math.sqrt(2))) for x in offsets]
    edge = np.tile(np.float32(offsets >= 0), (64, 1))
    assert np.abs(compositing.blur(edge, radius)[32] - bell)[10:-10].max() < 0.012


@pytest.mark.parametrize("shape", [(1, 301), (301, 1), (2, 301), (37, 1, 3), (40, 53, 3)])
def test_blur_treats_rows_columns_and_channels_alike_at_any_size(shape):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    for radius in (0.1, 1.0, 8.0, 9.0):
        blurred = compositing.blur(values, radius)
        assert blurred.shape == shape and blurred.dtype == np.float32
        turned = compositing.blur(np.ascontiguousarray(values.swapaxes(0, 1)), radius).swapaxes(0, 1)
        np.testing.assert_allclose(blurred, turned, atol=1e-5)
        for channel in range(shape[2] if len(shape) == 3 else 0):
            np.testing.assert_allclose(blurred[..., channel], compositing.blur(values[..., channel], radius), atol=1e-6)
    assert compositing.blur(values, 0.0999) is values and compositing.blur(values, 0.1) is not values


def largest(alpha, level=0.1):
    return compositing.largest_piece(alpha, level)[0]


def naive_largest(solid):
    """Flood fill, pixel by pixel: the sizes of all 8-connected areas and the areas themselves."""
    left = {tuple(point) for point in np.argwhere(solid)}
    areas = []
    while left:
        queue = [left.pop()]
        for y, x in queue:  # which grows
            near = left & {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
            left -= near
            queue.extend(near)
        areas.append(set(queue))
    return areas


@settings(max_examples=150)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_largest_area_agrees_with_flood_fill(solid):
    areas = naive_largest(solid)
    if not areas:
        assert not largest(solid.astype(np.float32)).any()
        return
    found = {tuple(point) for point in np.argwhere(compositing._largest_area(solid)[0])}
    assert found in areas
    assert len(found) == max(map(len, areas))


def test_largest_area_follows_a_spiral():
    size = 41
    spiral = np.zeros((size, size), bool)
    top, left, bottom, right = 0, 0, size - 1, size - 1
    while top <= bottom and left <= right:
        spiral[top, max(left - 2, 0) : right + 1] = True
        spiral[top : bottom + 1, right] = True
        spiral[bottom, left : right + 1] = True
        spiral[top + 2 : bottom + 1, left] = True
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    assert len(naive_largest(spiral)) == 1
    assert np.array_equal(compositing._largest_area(spiral)[0], spiral)


def test_the_largest_piece_keeps_the_soft_rim_and_drops_the_rest():
    alpha = disc_scene(size=64, radius=14, softness=4)[3]
    with_crumbs = alpha.copy()
    with_crumbs[2:5, 2:5] = 0.9
    with_crumbs[60, 60] = 0.05
    assert np.array_equal(largest(with_crumbs), alpha)


def test_a_rim_is_kept_within_its_reach_and_faint_bridges_join_nothing():
    alpha = np.zeros((9, 40), np.float32)
    alpha[:, :10], alpha[:, 10:20] = 1, 0.1  # fainter than any piece, up to where the rim ends
    alpha[:, 20:28] = 0.5
    kept = largest(alpha)
    assert np.array_equal(kept[4] > 0, np.arange(40) < 13)
    assert np.array_equal(kept[:, :10], alpha[:, :10])
    alpha[:, 10:20] = 0.11
    assert np.array_equal(largest(alpha), alpha), "one piece now"
    assert not largest(alpha, 0.4)[:, 20:].any()
    faint = np.full((3, 3), 0.1, np.float32)
    assert largest(faint) is faint


@given(masks)
def test_the_largest_piece_only_removes_and_does_nothing_twice(alpha):
    once = largest(alpha)
    assert ((once == alpha) | (once == 0)).all()
    assert np.array_equal(largest(once), once)


def cleaned(picture, alpha):
    """By `matting.clean_colours`, which takes and gives bytes."""
    return compositing.to_float(matting.clean_colours(compositing.to_bytes(picture), alpha))


def test_cleaned_colours_are_free_of_the_old_background_along_the_edge():
    picture, foreground, _, alpha = disc_scene()
    estimate = cleaned(picture, alpha)
    edge = (alpha > 0.02) & (alpha < 0.98)
    before = np.abs(alpha[..., None] * (picture - foreground))[edge].mean()
    after = np.abs(alpha[..., None] * (estimate - foreground))[edge].mean()
    assert before > 0.05
    assert after < 0.2 * before
    assert np.array_equal(estimate[alpha >= 0.98], compositing.to_float(compositing.to_bytes(picture))[alpha >= 0.98])


def test_colours_are_cleaned_by_a_mask_that_is_nowhere_sure():
    picture, foreground, _, alpha = disc_scene()
    edge = (alpha > 0.02) & (alpha < 0.98)
    estimate = cleaned(picture, 0.85 * alpha)
    assert np.abs(estimate - foreground)[edge].mean() < 0.6 * np.abs(picture - foreground)[edge].mean()


@given(scenes(), st.integers(0, 255))
def test_cleaned_colours_are_a_picture_and_one_colour_its_own(scene, level):
    picture, _, alpha = scene
    estimate = matting.clean_colours(compositing.to_bytes(picture), alpha)
    assert estimate.dtype == np.uint8 and estimate.shape == picture.shape
    picture = np.full((*alpha.shape, 3), level, np.uint8)
    assert np.array_equal(matting.clean_colours(picture, alpha), picture)


def test_a_blurred_background_shows_no_halo_of_the_subject():
    picture, _, background, alpha = disc_scene()
    outside = (alpha == 0) & (compositing.grow(alpha, 6) > 0)
    truth, seen = compositing.blur(background, 6.0), compositing.to_bytes(picture)
    behind = compositing.to_float(matting.blurred_behind(seen, alpha, 6.0))
    clean = np.abs(behind - truth)[outside].mean()
    naive = np.abs(compositing.blur(picture, 6.0) - truth)[outside].mean()
    assert naive > 0.05
    assert clean < 0.25 * naive
    assert np.array_equal(matting.blurred_behind(seen, alpha, 0)[alpha == 0], seen[alpha == 0])


def test_edits_run_in_their_fixed_order():
    alpha = disc_scene()[3]
    alpha[1:3, 1:3] = 1
    expected = largest(alpha)
    expected = compositing.blur(compositing.grow(compositing.threshold(expected, 0.4), -2), 1.5)
    edited = compositing.edit_alpha(alpha, level=0.4, pixels=-2, radius=1.5, keep_largest=True)
    assert np.array_equal(edited, expected)
    assert compositing.edit_alpha(alpha) is alpha


def test_colours_spread_from_the_nearest_sure_pixels():
    """Left red, right green; the grey between and beside them is half sure at most, and so has no say."""
    picture, sure = np.full((16, 64, 3), 0.5, np.float32), np.full((16, 64), 0.5, np.float32)
    picture[:, 4:8], picture[:, 56:60] = [1, 0, 0], [0, 1, 0]
    sure[:, 4:8] = sure[:, 56:60] = 1
    spread = compositing.spread(picture, sure)
    assert spread.shape == picture.shape and spread.dtype == np.float32
    assert np.abs(spread[:, :12] - [1, 0, 0]).max() < 0.05 and np.abs(spread[:, 52:] - [0, 1, 0]).max() < 0.05
    # Where nothing is sure, all takes the colours of what is surest; where nothing is sure at all, of the whole.
    assert np.abs(compositing.spread(picture, 0.5 * sure) - [0.5, 0.5, 0]).max() < 0.05
    assert np.abs(compositing.spread(picture, 0 * sure) - picture.mean(axis=(0, 1))).max() < 1e-6


def test_nothing_changes_its_arguments():
    picture, foreground, background, alpha = arguments = disc_scene(size=32, radius=9)
    for argument in arguments:
        argument.setflags(write=False)
    compositing.composite(foreground, background, alpha)
    compositing.edit_alpha(alpha, level=0.5, pixels=3, radius=2.0, keep_largest=True)
    bytes_of_picture = compositing.to_bytes(picture)
    bytes_of_picture.setflags(write=False)
    matting.clean_colours(bytes_of_picture, alpha)
    matting.blurred_behind(bytes_of_picture, alpha, 3.0)
