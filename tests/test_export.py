"""Labelled sets drawn by a tiny class: every format read back, killed and gone on with, shared by ranks."""

import csv
import hashlib
import json
import os
import shlex
import signal
import sys
import tarfile
import time
import tracemalloc
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from alike import assert_alike
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pixels import pixels
from sentences import refusal
from shell import assert_refused, ended, run, start_l4f

from l4f_plugin.datasets import exporting, mask_codes
from l4f_plugin.datasets.curation import Curation
from l4f_plugin.datasets.export_backgrounds import BackgroundFolder
from l4f_plugin.datasets.export_plan import FORMATS, SPLITS, ExportSettings, read_plan
from l4f_plugin.datasets.exporting import export, make_plan, merge
from l4f_plugin.datasets.formats import LabelledPicture, Yolo
from l4f_plugin.datasets.mask_codes import polygon
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.evaluation.labelled import load_split
from l4f_plugin.jobs import CancelToken


@pytest.fixture
def make(pipeline, tmp_path):
    """`make(name, count=..., ...)` exports into a folder of that name."""

    def make(name: str, *, drawing=lambda: nullcontext(pipeline), pictures=None, **options) -> Path:
        chosen = {key: options.pop(key) for key in list(options) if key in ("rank", "cancel", "progress")}
        plan = make_plan(pipeline, wanted(**options), pictures)
        export(plan, tmp_path / name, drawing, pictures=pictures, **chosen)
        return tmp_path / name

    return make


def wanted(**settings) -> ExportSettings:
    usual = {"count": 24, "format": "folder", "shard_size": 7, "batch_size": 4, "curation": None}
    return ExportSettings(**{**usual, "split": (0.5, 0.3, 0.2), **settings})


def tree(folder: Path) -> dict[str, str]:
    """The hash of every file; locks hold nothing."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def labels_of(folder: Path) -> list[dict]:
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


# What is in a set


def test_a_folder_holds_what_the_pipeline_draws(make, pipeline):
    folder = make("set")
    labels = labels_of(folder)
    assert sorted(int(row["seed"]) for row in labels) == list(range(24))
    assert {row["split"] for row in labels} == set(SPLITS)
    for row in labels[:6]:
        [sample] = pipeline.generate([int(row["seed"])])
        assert_alike(pixels(folder / row["image"]), sample.image)
        mask = pixels(folder / row["mask"])
        assert_alike(mask, sample.mask())
        hard = pixels(folder / row["hard_mask"])
        assert np.array_equal(hard, np.where(mask / np.float32(255) > 0.4, 255, 0))
        assert int(row["area"]) == (hard > 0).sum() and float(row["truncation_psi"]) == 0.6
        assert float(row["soft_area"]) == pytest.approx(mask.sum() / 255, abs=0.01)
    for split in SPLITS:
        assert len(load_split(folder, split, 32)) == sum(row["split"] == split for row in labels)


def test_checksums_and_card_tell_about_every_file(make):
    folder = make("set", format="coco", backgrounds=("own", "seeds", "colours"))
    listed = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    there = {name: digest for name, digest in tree(folder).items() if not name.startswith(".labels4free")}
    del there["SHA256SUMS"]
    assert listed == there
    card = (folder / "README.md").read_text()
    assert "(sheet.png)" in card and pixels(folder / "sheet.png").shape == (2 * 32, 4 * 2 * 32, 3)  # a shard of 7
    assert "CC0-1.0" in card and "random numbers" in card and str(folder.parent) not in card
    assert "l4f export tiny --count 24 --format coco --truncation-psi 0.6" in card
    assert "--backgrounds own,seeds,colours --no-curation --shard-size 7 --batch-size 4" in card


def test_smaller_pictures_are_averaged_down(make):
    folder, whole = make("small", size=16), make("whole")
    for small, large in zip(labels_of(folder)[:5], labels_of(whole)[:5], strict=True):
        mean = pixels(whole / large["image"]).reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
        assert np.abs(pixels(folder / small["image"]) - mean).max() <= 1
        mean = pixels(whole / large["mask"]).reshape(16, 2, 16, 2).mean(axis=(1, 3))
        assert np.abs(pixels(folder / small["mask"]) - mean).max() <= 1


def test_backgrounds_are_those_that_the_labels_name(make, pipeline, tmp_path):
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (64, 64), (10, 200, 30)).save(tmp_path / "mine" / "green.png")
    pictures = BackgroundFolder.of(tmp_path / "mine")
    folder = make("set", backgrounds=("own", "seeds", "colours", "pictures"), pictures=pictures)
    seen = set()
    for row in labels_of(folder):
        mask, image = pixels(folder / row["mask"]), pixels(folder / row["image"])
        name = row["background"]
        seen.add(name.rstrip("0123456789abcdef")[:1])
        if name == "own":
            continue
        if name.startswith("seed:"):
            assert int(name[5:]) != int(row["seed"])
            expected = pipeline.generate([int(name[5:])])[0].background
        else:
            colour = bytes.fromhex(name[1:]) if name[0] == "#" else (10, 200, 30)
            expected = np.broadcast_to(np.uint8(list(colour)), image.shape)
        outside = mask == 0
        assert_alike(image[outside], expected[outside])
    assert seen >= {"o", "s", "#", "g"}


def test_curation_replaces_what_it_drops_and_the_card_says_so(make, pipeline):
    areas = sorted(float((sample.alpha > 0.4).mean()) for sample in pipeline.generate(range(24)))
    bounds = Curation(areas[6], areas[-4], 1.0, 0.0)
    folder = make("set", curation=bounds)
    labels = labels_of(folder)
    shares = [int(row["area"]) / 1024 for row in labels]
    assert len(labels) == 24 and min(shares) >= bounds.min_area and max(shares) <= bounds.max_area
    assert max(int(row["seed"]) for row in labels) > 24
    card = (folder / "README.md").read_text()
    records = [json.loads(path.read_text()) for path in sorted((folder / ".labels4free/shards").glob("*.json"))]
    for reason in ("too small", "too large"):
        dropped = sum(record["dropped"].get(reason, 0) for record in records)
        assert dropped > 0 and f"% | {dropped} |" in next(line for line in card.splitlines() if f"| {reason}" in line)
    tried = sum(record["tried"] for record in records)
    assert f"Of {tried} pictures drawn {tried - 24} (" in card


def test_hopeless_masks_end_in_a_sentence(make):
    with pytest.raises(UserError, match=r"Only 0 of \d+ masks passed curation .*too small"):
        make("set", curation=Curation(0.999, 1.0, 1.0, 0.0), batch_size=64)


def test_limits_of_the_class_are_in_the_plan_and_stay_when_it_is_gone_on_with(make, pipeline, monkeypatch):
    veils = Curation(max_uncertainty=1.0)  # which the masks of random weights are
    folder, other = make("set", curation=veils), make("other", curation=veils, rank=(0, 2))
    limits = read_plan(folder).settings.curation
    assert limits.is_complete and limits.max_uncertainty == 1 and 0 < limits.min_area < limits.max_area < 1
    assert limits == read_plan(other).settings.curation
    assert limits.options()[0] in (folder / "README.md").read_text()
    monkeypatch.setattr(exporting, "_with_limits", None)
    next(folder.glob("train/masks/*.png")).unlink()
    make("set", curation=veils)
    assert read_plan(folder).settings.curation == limits


# Every format, read by the library that it is made for


def test_coco_is_read_by_pycocotools(make):
    coco_module = pytest.importorskip("pycocotools.coco")
    folder, found = make("set", format="coco"), 0
    for split in SPLITS:
        coco = coco_module.COCO(str(folder / f"annotations/instances_{split}.json"))
        for image in coco.loadImgs(coco.getImgIds()):
            assert pixels(folder / "images" / split / image["file_name"]).shape == (32, 32, 3)
            hard = pixels(folder / image["hard_mask_file"]) > 0
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert len(annotations) == bool(hard.any())
            for annotation in annotations:
                assert np.array_equal(coco.annToMask(annotation), hard) and annotation["area"] == hard.sum()
                left, top, width, height = annotation["bbox"]
                assert hard[top : top + height, left : left + width].sum() == hard.sum()
            found += 1
    assert found == 24


def test_webdataset_reads_its_shards(make):
    webdataset = pytest.importorskip("webdataset")
    folder = make("set", format="webdataset")
    index, seeds = json.loads((folder / "index.json").read_text()), []
    for split in SPLITS:
        tars = [str(folder / name) for name in index[split]["files"]]
        count = 0
        dataset = webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
        for image, mask, hard, labels in dataset.to_tuple("png", "mask.png", "hard_mask.png", "json"):
            assert image.size == mask.size == hard.size == (32, 32) and labels["split"] == split
            assert (np.asarray(hard.convert("L")) > 0).sum() == labels["area"]
            seeds.append(labels["seed"])
            count += 1
        assert count == index[split]["pictures"]
    assert sorted(seeds) == list(range(24))


def test_hugging_face_loads_the_folder(make, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets", reason="the extra `formats` has it: pyarrow is 170 MB")
    folder = make("set", format="huggingface", count=12)
    loaded, seeds = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache")), []
    for split, rows in loaded.items():
        for row in rows:
            assert row["image"].size == row["mask"].size == row["hard_mask"].size == (32, 32)
            stem = folder / split / f"{row['seed'] % 2:06d}" / f"{row['seed']:010d}"
            assert np.array_equal(np.asarray(row["image"]), pixels(f"{stem}.png"))
            assert np.array_equal(np.asarray(row["mask"].convert("L")), pixels(f"{stem}_mask.png"))
            assert len(row["box"]) == 4
            seeds.append(row["seed"])
    assert sorted(seeds) == list(range(12))


# YOLO as its specification says: data.yaml, images/SPLIT, labels/SPLIT, shares of the sides


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
def test_a_set_for_yolo_is_read_back_exactly(make, split):
    folder = make("set", count=20, format="yolo", split=split)
    places, names = read_description(folder / "data.yaml")
    assert names == {0: "tiny"} and {"train", "val"} <= places.keys() and ("test" in places) == (split[2] > 0)
    if split[1] == 0:
        assert places["val"] == places["train"]
    found = 0
    for place in set(places.values()):
        for image in sorted((folder / place).glob("*.png")):
            # as its readers find it: the last /images/ of the path becomes /labels/, and the ending .txt
            label = folder / place.replace("images/", "labels/") / f"{image.stem}.txt"
            hard = np.asarray(Image.open(folder / place.replace("images/", "hard_masks/") / image.name)) > 0
            lines = label.read_text().splitlines()
            assert len(lines) == int(hard.any())
            assert all(np.array_equal(read_mask(line, *hard.shape[::-1]), hard) for line in lines)
            found += 1
    assert found == 20
    assert "SHA256SUMS" in {path.name for path in folder.iterdir()}
    assert "labels/train/" in (folder / "SHA256SUMS").read_text()


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_pieces_and_holes_survive_as_a_polygon(mask):
    corners = polygon(mask)
    height, width = mask.shape
    assert np.array_equal(inside(corners, width, height), mask)
    x, y = corners.T if len(corners) else np.zeros((2, 1))
    area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert abs(area - mask.sum()) <= 0.75 * mask.sum()  # holes count against pieces, whichever way they are filled


def test_a_polygon_of_noise_takes_no_memory_of_note(monkeypatch):
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


# Interrupted and shared


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_run_that_ends_anywhere_goes_on_to_the_same_bytes(make, pipeline, monkeypatch, format_name):
    expected = tree(make("whole", format=format_name))
    drawn = 0

    stream = pipeline.stream

    def breaking(*arguments, **options):
        nonlocal drawn
        drawn += 1
        if drawn % 3 == 0:
            raise KeyboardInterrupt
        return stream(*arguments, **options)

    monkeypatch.setattr(pipeline, "stream", breaking)
    for _ in range(20):
        with suppress(KeyboardInterrupt):
            folder = make("broken", format=format_name)
            break
    assert tree(folder) == expected
    assert drawn <= 8 + 4 * 2, "more than one shard was lost each time"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_kill_9_loses_at_most_a_shard(tiny_bundle_folder, tmp_path):
    options = shlex.split("--count 600 --format webdataset --shard-size 60 --no-curation --device cpu --out")

    def start(out):
        return start_l4f("export", tiny_bundle_folder, *options, out)

    process, shards = start(tmp_path / "killed"), tmp_path / "killed" / ".labels4free" / "shards"
    while len(list(shards.glob("*.json"))) < 2 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert ended(process).code == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in shards.glob("*.json")}
    assert 2 <= len(before) < 10 and not (tmp_path / "killed" / "SHA256SUMS").exists()
    for each in [start(tmp_path / "killed"), start(tmp_path / "whole")]:  # the same command: with as many threads
        assert ended(each)[::2] == (0, "")
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    assert {name: (shards / name).stat().st_mtime_ns for name in before} == before, "a shard was drawn twice"


def test_a_set_that_is_done_is_left_alone_and_mended_where_files_are_gone(make):
    folder = make("set")
    before, times = tree(folder), {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    make("set", drawing=lambda: pytest.fail("drew again"))
    victim = next(folder.glob("train/masks/*.png"))
    victim.unlink()
    make("set")
    assert tree(folder) == before
    assert sum(path.stat().st_mtime_ns != time_ for path, time_ in times.items()) <= 3 * 7


@pytest.mark.parametrize("shared", [True, False])
def test_ranks_share_the_work(make, tmp_path, shared):
    expected = tree(make("whole"))
    folders = [make("shared" if shared else f"part{number}", rank=(number, 3)) for number in range(3)]
    if shared:
        assert tree(folders[0]) == expected, "the last one puts the set together"
        return
    drawn = [set(path.name for path in folder.rglob("images/*.png")) for folder in folders]
    assert sum(map(len, drawn)) == len(set.union(*drawn)) == 24 and all(drawn)
    assert not any((folder / "README.md").exists() for folder in folders)
    with pytest.raises(UserError, match=r"1 of 4 shards are in none of these folders \(2\)"):
        merge(folders[:2], tmp_path / "merged")
    merge(folders, tmp_path / "merged")
    assert tree(tmp_path / "merged") == expected
    merge(folders, folders[1])
    assert tree(folders[1]) == expected


def test_parts_that_do_not_fit_are_not_merged(make, tmp_path):
    first, other = make("first", rank=(0, 2)), make("other", rank=(1, 2), first_seed=5)
    assert "another first seed" in refusal(merge, [first, other], tmp_path / "merged")
    assert "holds no export" in refusal(merge, [first, tmp_path], tmp_path / "merged")
    second = make("second", rank=(1, 2))
    victim = next(second.rglob("images/*.png"))
    victim.write_bytes(bytes(len(victim.read_bytes())))
    assert f"{victim.name} is damaged" in refusal(merge, [first, second], tmp_path / "merged")


def test_cancel_and_progress(make):
    token, told = CancelToken(), []

    def progress(done, total, message):
        told.append((done, total, message))
        if done >= 10:
            token.cancel()

    with pytest.raises(Cancelled):
        make("set", cancel=token, progress=progress)
    assert told[-1][0] < 24 and told[-1][1] == 24
    make("set", progress=progress)
    assert told[-1] == (24, 24, "24 of 24 pictures")


# The commands


def command(bundle, out, *options) -> list:
    defaults = ["--count", 9, "--format", "folder", "--no-curation", "--device", "cpu"]
    return ["export", bundle, *defaults, "--out", out, *options]


def test_export_and_merge_answer_programs(capsys, tiny_bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        said = run(capsys, *command(tiny_bundle_folder, tmp_path / rank, "--shard-size", 3, "--json"))
        assert said.code == 0 and said.data["complete"] is False and said.data["size"] == [32, 32]
    code, out, _ = run(capsys, "merge-export", tmp_path / "0", tmp_path / "1", "--out", tmp_path / "all")
    assert code == 0 and out == f"9 pictures with masks: {tmp_path / 'all'}\n"
    assert len(labels_of(tmp_path / "all")) == 9
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    said = run(capsys, *command(tiny_bundle_folder, tmp_path / "none", "--estimate", "--json"))
    assert said.code == 0 and said.data["bytes"] > 1000 and not (tmp_path / "none").exists()


def test_export_leaves_other_files_alone(capsys, tiny_bundle_folder, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("kept")
    for out in (blocker, blocker / "below", tmp_path):
        assert_refused(run(capsys, *command(tiny_bundle_folder, out)), str(tmp_path))
    assert os.listdir(tmp_path) == ["file"] and blocker.read_text() == "kept"
    out = tmp_path / "set"
    assert run(capsys, *command(tiny_bundle_folder, out))[0] == 0
    assert_refused(run(capsys, *command(tiny_bundle_folder, out, "--first-seed", 3)), "another first seed (0, not 3)")


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits")
@pytest.mark.parametrize("format_name", ["folder", "webdataset"])
def test_a_full_disk_is_said_and_gone_on_from(capsys, tiny_bundle_folder, tmp_path, format_name):
    import resource

    arguments = [str(word) for word in command(tiny_bundle_folder, tmp_path / "set", "--format", format_name)]
    limit = 2000 if format_name == "folder" else 20_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        result = run(capsys, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_refused(result, "The disk is full")
    assert run(capsys, *arguments)[0] == 0
    assert not list((tmp_path / "set").glob(".*.partial"))
    if format_name == "webdataset":
        for path in (tmp_path / "set").glob("*.tar"):
            with tarfile.open(path) as tar:
                assert len(tar.getnames()) % 4 == 0
