"""The measure of photo segmentation: what is known to be right is found right, and halos are seen."""

import dataclasses

import numpy as np
import pytest
import torch
from bundles import red_finder, saved, tiny_bundle
from PIL import Image
from shell import assert_refused, run

from l4f_plugin.evaluation import photo_evaluation
from l4f_plugin.evaluation.judge import JudgeSettings
from l4f_plugin.evaluation.labelled import LabelledPictures
from l4f_plugin.evaluation.photo_evaluation import (
    ceiling_student,
    evaluate_photos,
    find_masks,
    limit_settings,
    measure_photos,
    photo_text,
    true_colours,
)
from l4f_plugin.pipeline import Labels4FreePipeline


def red_discs(count: int, side: int = 32) -> LabelledPictures:
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:side, :side]
    alpha = np.clip((side / 3 - np.hypot(rows - side / 2, columns - side / 2)) / 3 + 0.5, 0, 1)[..., None]
    behind = random.integers([0, 60, 60], [60, 255, 255], (count, 1, 1, 3))
    pictures = (alpha * [250, 20, 30] + (1 - alpha) * behind).round().astype(np.uint8)
    return LabelledPictures(pictures, np.repeat((alpha[None, ..., 0] * 255).round().astype(np.uint8), count, axis=0))


@pytest.fixture
def dataset(tmp_path):
    for split, count in (("train", 8), ("test", 12)):
        data = red_discs(count)
        for kind, images in (("images", data.pictures), ("masks", data.masks)):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(tmp_path / "data" / split / kind / f"{number:06d}.png")
    return tmp_path / "data"


def test_exact_masks_are_measured_as_exact_and_cleaning_takes_halos_away():
    data = red_discs(4)
    metrics = measure_photos(data.masks.astype(np.float32) / 255, data)
    assert metrics.masks.mean_iou == 1 and metrics.alpha_error == 0
    assert metrics.plain_exact == metrics.plain_found > 4 * metrics.cleaned_exact
    assert metrics.halo_removed > 0.75
    empty = measure_photos(np.zeros(data.masks.shape, np.float32), data)
    assert empty.masks.iou_foreground == 0 and empty.plain_found > metrics.plain_found


def test_own_colours_are_carried_into_the_soft_edge():
    data = red_discs(1)
    soft = (data.masks[0] > 40) & (data.masks[0] < 250)
    colours = true_colours(data.pictures[0], data.masks[0] / np.float32(255))
    assert np.abs(colours[soft] * 255 - [250, 20, 30]).max() < 3


def test_a_class_is_measured_with_its_limits(dataset, tmp_path, monkeypatch):
    bundle = tiny_bundle(student=red_finder())
    pipeline = Labels4FreePipeline(bundle, device="cpu")
    small = {"channels": (4, 6, 8), "batch_size": 4, "pictures": 8, "feature_dtype": "float32"}
    settings, lines = dataclasses.replace(limit_settings(pipeline, steps=2), **small), []
    report, sheet = evaluate_photos(pipeline, dataset, settings=settings, report=lines.append)
    assert report.pictures == 12 and report.student.masks.mean_iou > 0.9 and len(report.worst) == 10
    assert sheet.size == (6 * 32, 5 * 32)
    assert report.ceiling is None and not lines
    text = photo_text(report) + photo_text(report, markdown=True)
    assert "ten worst" in text and f"{report.student.masks.mean_iou:.4f}" in text
    for _ in range(2):  # the second time it is taken from its folder
        ceiling = ceiling_student(dataset, tmp_path / "limits", settings, torch.device("cpu"), lines.append)
        assert ceiling.config.channels == (4, 6, 8)
    assert any("Going on from step 2" in line for line in lines)
    judge = JudgeSettings(32, channels=(4, 6, 8), coarse_steps=2, steps=2, batch_size=4, pictures=8)
    monkeypatch.setattr(photo_evaluation, "JudgeSettings", lambda resolution: judge)
    limits = tmp_path / "limits"
    report, _ = evaluate_photos(pipeline, dataset, settings=settings, report=lines.append, limits_folder=limits)
    assert report.ceiling is not None and 0 <= report.class_masks.mean_iou <= 1
    assert "trained on true masks" in photo_text(report, markdown=True) and "the generator's" in photo_text(report)
    found = find_masks(bundle.student, bundle.config, red_discs(1).pictures, torch.device("cpu"))
    assert found.shape == (1, 32, 32)


def test_the_command_line_measures_and_shows_the_worst(dataset, tmp_path, capsys):
    red, bare = saved(tmp_path / "red", student=red_finder()), saved(tmp_path / "bare")
    options, more = ["--data", dataset, "--device", "cpu"], ["--json --pictures 5 --sheet", tmp_path / "worst.png"]
    answer = run(capsys, "evaluate photos", red, *options, *more).data
    assert answer["pictures"] == 5 and answer["student"]["alpha_error"] < 0.1 and answer["halo_removed"] > 0
    assert Image.open(tmp_path / "worst.png").size == (6 * 32, 3 * 32)
    assert_refused(run(capsys, "evaluate photos", bare, *options), "no photo segmenter yet")
