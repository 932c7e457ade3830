"""The drawn sets: placement, compositing and files, without Node and without any photograph."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sentences import refusal

from tools import backgrounds, drawn_sets

TOOL = Path(__file__).resolve().parents[1] / "tools" / "avatar"


def portrait_of(alpha, colour=(200, 100, 50)):
    picture = np.zeros((*alpha.shape, 4), np.uint8)
    picture[..., :3] = np.where(alpha[..., None] > 0, np.array(colour, np.uint8), 0)
    picture[..., 3] = alpha
    return picture


def test_composite_is_alpha_times_foreground_plus_the_rest_of_the_background():
    random = np.random.default_rng(0)
    colour = np.array([200, 100, 50])
    alpha = random.integers(0, 256, (16, 16)).astype(np.uint8)
    background = random.random((8, 8, 3)).astype(np.float32)
    image, mask = drawn_sets.composite([portrait_of(alpha, colour)], background)
    mean = alpha.reshape(8, 2, 8, 2).mean(axis=(1, 3)) / 255
    expected = mean[..., None] * colour / 255 + (1 - mean[..., None]) * background
    assert image.dtype == mask.dtype == np.uint8
    assert np.abs(image - expected * 255).max() <= 0.51
    assert np.abs(mask - mean * 255).max() <= 0.51


def test_transparent_pixels_lend_no_colour_to_the_edge():
    portrait = np.zeros((4, 4, 4), np.uint8)
    portrait[..., :3] = (0, 255, 0)  # the colour of nothing
    portrait[:, 1:, :] = (255, 0, 0, 255)
    image, mask = drawn_sets.composite([portrait], np.zeros((2, 2, 3), np.float32))
    assert mask[0, 0] in (127, 128)
    assert tuple(image[0, 0, 1:]) == (0, 0)


def test_later_objects_hide_earlier_ones_and_the_mask_is_their_union():
    back, front = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    back[:, :4] = 255
    front[:, 2:6] = 255
    objects = [portrait_of(back, (255, 0, 0)), portrait_of(front, (0, 0, 255))]
    image, mask = drawn_sets.composite(objects, np.ones((4, 4, 3), np.float32))
    assert mask[0].tolist() == [255, 255, 255, 0]
    assert image[0].tolist() == [[255, 0, 0], [0, 0, 255], [0, 0, 255], [255, 255, 255]]


def test_a_portrait_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        drawn_sets.composite([np.zeros((9, 9, 4), np.uint8)], np.zeros((4, 4, 3), np.float32))


def test_seams_are_closed_and_outlines_kept():
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:, 3:13] = 255
    alpha[4:, 3] = 90  # an antialiased outline
    alpha[10, 4:12] = 192  # where two shapes abut
    closed = drawn_sets.close_seams(portrait_of(alpha))[..., 3]
    assert (closed[10, 4:12] == 255).all()
    closed[10, 4:12] = alpha[10, 4:12]
    assert np.array_equal(closed, alpha)


@pytest.mark.parametrize("style", drawn_sets.FRAMES)
def test_bodies_run_out_of_the_bottom_edge_and_eyes_stay_on_their_line(style):
    frame = drawn_sets.FRAMES[style]
    random = np.random.default_rng(1)
    lines, scales = [], []
    for _ in range(500):
        left, top, side = drawn_sets.place(random, frame)
        assert top + side <= frame.plane + 1e-9
        assert abs((frame.centre - left) / side - 0.5) <= 0.05 + 1e-9
        lines.append((frame.eyes - top) / side)
        scales.append(frame.plane / side / frame.scale)
    assert max(lines) - min(lines) <= 0.17
    assert abs(np.mean(lines) - 0.5) < 0.05
    assert 0.9 <= min(scales) < 0.92 and 1.08 < max(scales) <= 1.1
    near, far = (drawn_sets.place(np.random.default_rng(1), frame, scale)[2] for scale in (1.3, 0.55))
    assert near / far == pytest.approx(0.55 / 1.3)


def test_robots_are_one_to_three_of_several_sizes_off_centre_and_in_the_picture():
    random = np.random.default_rng(4)
    pictures = [drawn_sets.compose_robots(random, 1.0) for _ in range(300)]
    assert {len(objects) for objects in pictures} == {1, 2, 3}
    sides = [drawn_sets.ROBOT_PLANE / side for objects in pictures for _, (_, _, side), _ in objects]
    assert 0.3 <= min(sides) < 0.35 and 0.9 < max(sides) <= 0.95
    middle = drawn_sets.ROBOT_PLANE / 2
    boxes = [box for objects in pictures for _, box, _ in objects]
    centres = np.array([((middle - left) / side, (middle - top) / side) for left, top, side in boxes])
    assert centres.min() >= 0.1 and centres.max() <= 0.9 and centres.std() > 0.1


@pytest.mark.parametrize("kind", backgrounds.COMPUTED)
def test_computed_backgrounds_are_smooth_repeatable_and_various(kind):
    draw = [kind(np.random.default_rng(seed), 32) for seed in (0, 0, 1)]
    assert draw[0].shape == (32, 32, 3) and draw[0].dtype == np.float32
    assert draw[0].min() >= 0 and draw[0].max() <= 1
    assert np.array_equal(draw[0], draw[1]) and np.abs(draw[0] - draw[2]).mean() > 0.01
    assert draw[0].std(axis=(0, 1)).max() > 0.001  # not one flat colour


def test_photographs_are_cropped_from_their_own_colours():
    source = np.full((50, 80, 3), (10, 120, 240), np.uint8)
    image = backgrounds.photograph(np.random.default_rng(2), [source], 24)
    assert image.shape == (24, 24, 3) and image.std(axis=(0, 1)).max() < 1e-3
    assert image[0, 0, 0] < image[0, 0, 1] < image[0, 0, 2]


def test_a_missing_photograph_names_its_package(tmp_path):
    entry = {"package": "some-backgrounds", "file": "backgrounds/a.jpg"}
    assert "some-backgrounds" in refusal(backgrounds.load_photographs, [entry], [tmp_path])
    (tmp_path / "backgrounds").mkdir()
    Image.new("RGB", (600, 300), (1, 2, 3)).save(tmp_path / "backgrounds" / "a.jpg")
    (loaded,) = backgrounds.load_photographs([entry], [tmp_path])
    assert loaded.shape == (480, 960, 3)


class FakeRenderer:
    def draw(self, style, seed, box):
        alpha = np.zeros((256, 256), np.uint8)
        alpha[64:, 64:192] = 255
        return portrait_of(alpha, (len(seed) * 20, 0, 0))


@pytest.fixture(params=drawn_sets.KINDS)
def worker(monkeypatch, request):
    random = np.random.default_rng(3)
    photographs = {split: [random.integers(0, 256, (50, 50, 3), dtype=np.uint8)] for split in drawn_sets.SPLITS}
    settings = drawn_sets.SetSettings(request.param, 0, str(TOOL), ())
    state = {"settings": settings, "renderer": FakeRenderer(), "photographs": photographs}
    monkeypatch.setattr(drawn_sets, "_worker", state)


def test_a_chunk_writes_pairs_that_are_the_same_every_time(worker, tmp_path):
    assert drawn_sets._missing(tmp_path, "train", 4) == [0, 1, 2, 3]
    drawn_sets._make_chunk(tmp_path, "train", [1, 3])
    assert drawn_sets._missing(tmp_path, "train", 4) == [0, 2]
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    numbers = ("000001", "000003")
    assert names == [f"train/{kind}/{number}.png" for kind in ("images", "masks") for number in numbers]
    image = Image.open(tmp_path / "train/images/000001.png")
    mask = Image.open(tmp_path / "train/masks/000001.png")
    assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (128, 128), "L", (128, 128))
    again = drawn_sets.make_picture("train", 1)
    assert np.array_equal(np.asarray(image), again[0]) and np.array_equal(np.asarray(mask), again[1])
    assert not np.array_equal(drawn_sets.make_picture("test", 1)[0], again[0])
    sheet = Image.open(io.BytesIO(drawn_sets.contact_sheet(tmp_path)))
    assert sheet.size == (4 * 256, 128) and sheet.crop((0, 0, 128, 128)).tobytes() == image.tobytes()


def test_a_folder_with_another_recipe_is_refused(tmp_path):
    keys = ("schema_version", "resolution", "seed", "frames", "versions", "styles", "backgrounds")
    description = dict.fromkeys(keys, 1)
    drawn_sets._check_same_recipe(tmp_path / "dataset.json", description)
    (tmp_path / "dataset.json").write_text(json.dumps({**description, "seed": 2}))
    assert "seed" in refusal(drawn_sets._check_same_recipe, tmp_path / "dataset.json", description)


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert drawn_sets.main(["avatar", "--out", str(tmp_path / "set")]) == 2
    assert capsys.readouterr().err.startswith("l4f: Node was not found")
    assert drawn_sets.main(["avatar", "--out", str(tmp_path / "set"), "--seed", "-1"]) == 2


def test_splits_share_no_photograph_and_every_one_is_credited():
    entries = backgrounds.read_list(TOOL / "backgrounds.json")
    files = [(entry["package"], entry["file"]) for entry in entries]
    assert len(set(files)) == len(files)
    assert {entry["split"] for entry in entries} == set(drawn_sets.SPLITS)
    credits = (TOOL / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for entry in entries:
        line = f"| {entry['file']} | {entry['author']} | {entry['licence']} | {entry['split']} |"
        assert line in credits
