"""The YOLO export, read back as its specification says: data.yaml, images/SPLIT, labels/SPLIT, shares of the sides."""

import json
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from l4f_plugin.datasets import mask_codes
from l4f_plugin.datasets.export_plan import ExportSettings
from l4f_plugin.datasets.exporting import export, make_plan
from l4f_plugin.datasets.formats import LabelledPicture, Yolo
from l4f_plugin.datasets.mask_codes import polygon


def read_description(path: Path) -> tuple[dict[str, str], dict[int, str]]:
    """Where the splits are, and the names of the classes."""
    places, names = {}, {}
    for line in path.read_text("utf-8").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if line.startswith(" "):
            names[int(key)] = json.loads(value)
        elif value:
            places[key] = value
        else:
            assert key == "names"
    return places, names


def inside(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which pixels have their middle in a polygon `[N, 2]` in pixels, by the even-odd rule: boolean `[H, W]`."""
    found = np.zeros((height, width), bool)
    columns = np.arange(width) + 0.5
    for row in range(height):
        y, crossings = row + 0.5, np.zeros(width, int)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if (y0 > y) != (y1 > y):
                crossings += columns < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        found[row] = crossings % 2 == 1
    return found


def read_mask(line: str, width: int, height: int) -> np.ndarray:
    number, *values = line.split(" ")
    assert number == "0" and len(values) % 2 == 0 and len(values) >= 6
    corners = np.array(values, float).reshape(-1, 2)
    assert corners.min() >= 0 and corners.max() <= 1
    return inside(corners * (width, height), width, height)


def label_of(hard: np.ndarray) -> bytes:
    picture = np.zeros((*hard.shape, 3), np.uint8)
    return Yolo(Path(), 0).files_of(LabelledPicture("a", picture, hard.astype(np.uint8), hard, {}))["label"]


@pytest.mark.parametrize("split", [(0.5, 0.3, 0.2), (1.0, 0.0, 0.0)])
def test_a_set_is_read_back_exactly(pipeline, tmp_path, split):
    wanted = ExportSettings(20, "yolo", shard_size=7, batch_size=4, curation=None, split=split)
    assert export(make_plan(pipeline, wanted), tmp_path, lambda: nullcontext(pipeline))
    places, names = read_description(tmp_path / "data.yaml")
    assert names == {0: "tiny"} and {"train", "val"} <= places.keys() and ("test" in places) == (split[2] > 0)
    if split[1] == 0:
        assert places["val"] == places["train"]
    found = 0
    for place in set(places.values()):
        for image in sorted((tmp_path / place).glob("*.png")):
            # as its readers find it: the last /images/ of the path becomes /labels/, and the ending .txt
            label = tmp_path / place.replace("images/", "labels/") / f"{image.stem}.txt"
            hard = np.asarray(Image.open(tmp_path / place.replace("images/", "hard_masks/") / image.name)) > 0
            lines = label.read_text().splitlines()
            assert len(lines) == int(hard.any())
            assert all(np.array_equal(read_mask(line, *hard.shape[::-1]), hard) for line in lines)
            found += 1
    assert found == 20
    assert "SHA256SUMS" in {path.name for path in tmp_path.iterdir()}
    assert "labels/train/" in (tmp_path / "SHA256SUMS").read_text()


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_pieces_and_holes_survive(mask):
    corners = polygon(mask)
    height, width = mask.shape
    assert np.array_equal(inside(corners, width, height), mask)
    x, y = corners.T if len(corners) else np.zeros((2, 1))
    area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert abs(area - mask.sum()) <= 0.75 * mask.sum()  # holes count against pieces, whichever way they are filled


def test_noise_takes_no_memory_of_note(monkeypatch):
    """Its two longest rings have thousands of points each: all their distances would be 300 MB."""
    noise = np.random.default_rng(0).random((256, 256)) < 0.6
    tracemalloc.start()
    polygon(noise)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
    monkeypatch.setattr(mask_codes, "_MOST_PAIRS", 10)
    assert np.array_equal(inside(polygon(noise[:32, :32]), 32, 32), noise[:32, :32])


def test_a_ring_with_an_island_is_one_line():
    y, x = np.mgrid[:64, :64] - 31.5
    distance = np.hypot(x, y)
    mask = (distance < 28) & (distance > 16) | (distance < 7)
    line = label_of(mask).decode()
    assert line.count("\n") == 1 and len(line.split(" ")) < 400
    assert np.array_equal(read_mask(line.strip(), 64, 64), mask)


def test_a_picture_without_a_subject_has_an_empty_file():
    assert label_of(np.zeros((8, 8), bool)) == b""
