"""Masks against masks, the Frechet distance, and how results are shown."""

import json
import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shell import run

from l4f_plugin.errors import UserError
from l4f_plugin.evaluation.class_evaluation import AlphaReport, ClassReport, class_text
from l4f_plugin.evaluation.frechet import feature_statistics, frechet_distance, gaussian_distance
from l4f_plugin.evaluation.mask_metrics import MaskMetrics, compare_folders, compare_masks, count_pixels, read_mask

GOLDENS = Path(__file__).resolve().parents[2] / "shared" / "goldens" / "masks"

TRUTH = np.array([[1, 1, 1, 1], [0, 0, 0, 0]])
PREDICTED = np.array([[1, 1, 1, 0], [1, 0, 0, 0]])  # 3 hits, 1 false alarm, 1 miss, 3 right background pixels


def write_mask(path: Path, values, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.asarray(values) * 255).astype(np.uint8)).convert(mode).save(path)


def test_metrics_computed_by_hand():
    predicted = np.array([[1, 1, 0, 0, 0, 0, 0]])
    truth = np.array([[1, 1, 1, 1, 0, 0, 0]])
    metrics = compare_masks(predicted, truth)  # 2 hits, 0 false alarms, 2 misses, 3 right background pixels
    wanted = (2 / 4, 3 / 5, (2 / 4 + 3 / 5) / 2, (4 / 6 + 6 / 8) / 2, (2 / 2 + 3 / 5) / 2, (2 / 4 + 3 / 3) / 2, 5 / 7)
    assert astuple(metrics) == pytest.approx(wanted)


@pytest.mark.parametrize("predicted", [0, 1])
@pytest.mark.parametrize("truth", [0, 1])
def test_a_class_that_is_nowhere_counts_as_agreement(predicted, truth):
    metrics = compare_masks(np.array([predicted] * 2), np.array([truth] * 2))
    assert set(astuple(metrics)) == {float(predicted == truth)}


def test_a_class_in_one_mask_only_counts_nothing_for_that_class():
    metrics = compare_masks(np.array([1, 0, 0, 0]), np.array([0, 0, 0, 0]))
    assert (metrics.iou_foreground, metrics.iou_background) == (0, pytest.approx(3 / 4))
    assert (metrics.recall, metrics.precision) == (pytest.approx((0 + 3 / 4) / 2), pytest.approx((0 + 1) / 2))


masks = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(masks)
def test_inverting_swaps_the_classes_and_exchanging_swaps_precision_and_recall(pixels):
    predicted, truth = np.array(pixels).T
    metrics, inverted = compare_masks(predicted, truth), compare_masks(~predicted, ~truth)
    assert all(0 <= value <= 1 for value in astuple(metrics))
    assert inverted.iou_foreground == metrics.iou_background and inverted.f1 == pytest.approx(metrics.f1)
    assert metrics.accuracy == pytest.approx(np.mean(predicted == truth))
    swapped = compare_masks(truth, predicted)
    assert swapped.precision == pytest.approx(metrics.recall) and swapped.iou_foreground == metrics.iou_foreground


@given(masks, masks)
def test_counts_of_pictures_add_up_to_those_of_their_pixels(first, second):
    counts = [count_pixels(*np.array(pixels).T) for pixels in (first, second)]
    assert np.array_equal(sum(counts), count_pixels(*np.array(first + second).T))


def test_what_lies_on_the_threshold_is_foreground_in_either_mask():
    edge, sure = np.array([0.5, 0.0]), np.array([1.0, 0.0])
    assert compare_masks(edge, sure) == compare_masks(sure, edge) == compare_masks(sure, sure)
    assert MaskMetrics.of(np.zeros(4, int)).accuracy == 1


def test_pooled_metrics_weigh_pixels_and_per_image_ones_pictures(tmp_path):
    write_mask(tmp_path / "p" / "small.png", PREDICTED)
    write_mask(tmp_path / "t" / "small.png", TRUTH)
    write_mask(tmp_path / "p" / "large.png", np.ones((10, 10)))
    write_mask(tmp_path / "t" / "large.png", np.ones((10, 10)))
    comparison = compare_folders(tmp_path / "p", tmp_path / "t")
    assert list(comparison.per_image) == ["large", "small"]
    assert comparison.per_image["small"].iou_foreground == pytest.approx(3 / 5)
    assert comparison.per_image["large"].iou_foreground == 1
    assert comparison.pooled.iou_foreground == pytest.approx(103 / 105)
    assert comparison.pooled.iou_background == pytest.approx(3 / 5)


def test_the_threshold_belongs_to_the_foreground(tmp_path):
    write_mask(tmp_path / "p" / "a.png", np.array([[51, 102, 204]]) / 255)
    write_mask(tmp_path / "t" / "a.png", np.array([[0, 102, 255]]) / 255)
    for first, second in (("p", "t"), ("t", "p")):
        assert compare_folders(tmp_path / first, tmp_path / second, threshold=102 / 255).pooled.accuracy == 1
    write_mask(tmp_path / "t" / "a.png", np.array([[0, 1, 1]]))
    assert compare_folders(tmp_path / "p", tmp_path / "t", threshold=0.5).pooled.accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_masks_of_every_mode_mean_the_same(tmp_path, mode):
    write_mask(tmp_path / "a.png", TRUTH, mode)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), TRUTH)


def cut_out(alpha) -> Image.Image:
    return Image.fromarray(np.dstack([np.full((*np.shape(alpha), 3), 20), alpha]).astype(np.uint8))


def blue_labels() -> Image.Image:
    picture = Image.fromarray(TRUTH.astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 0, 0, 255] + [0] * 750)  # blue is dark as a grey, yet a label
    return picture


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("cut-out.png", cut_out(TRUTH * 255), TRUTH),
        ("hardly transparent.png", cut_out([[254, 255]]), [[254 / 255, 1]]),
        ("coloured.png", blue_labels(), TRUTH),
        ("16 bits.png", Image.fromarray(np.array([[0, 13107, 65535]], np.uint16)), [[0, 0.2, 1]]),
        ("whole numbers.tif", Image.fromarray(np.array([[-5, 13107, 70000]], np.int32)), [[0, 0.2, 1]]),
        ("broken.tif", Image.fromarray(np.array([[-1, 0.5, 2, np.nan]], np.float32)), [[0, 0.5, 1, 0]]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_masks_of_every_kind_are_read(tmp_path, name, picture, expected):
    picture.save(tmp_path / name)
    np.testing.assert_allclose(read_mask(tmp_path / name), expected, atol=1e-6)


def test_a_folder_of_labels_0_and_1_is_understood(tmp_path):
    for name, labels in (("a", TRUTH), ("b", TRUTH * 0)):
        write_mask(tmp_path / "t" / f"{name}.png", labels / 255)
        write_mask(tmp_path / "p" / f"{name}.png", labels)
    for first, second in (("p", "t"), ("t", "p")):
        assert compare_folders(tmp_path / first, tmp_path / second, threshold=1).pooled.mean_iou == 1
    write_mask(tmp_path / "t" / "c.png", TRUTH * 2 / 255)  # more than labels: as faint as it looks
    write_mask(tmp_path / "p" / "c.png", TRUTH)
    assert compare_folders(tmp_path / "p", tmp_path / "t").pooled.iou_foreground == 0


def test_what_is_no_mask_in_a_folder_is_passed_over(tmp_path):
    for folder in ("p", "t"):
        write_mask(tmp_path / folder / "z.png", TRUTH)
    write_mask(tmp_path / "p" / ".hidden.png", TRUTH)
    (tmp_path / "p" / "notes.txt").write_text("no mask")
    (tmp_path / "t" / "folder.png").mkdir()
    assert compare_folders(tmp_path / "p", tmp_path / "t").as_dict()["images"] == 1


def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path):
    predicted, truth = tmp_path / "p", tmp_path / "t"

    def refused(words: str, *how, folders=(predicted, truth)) -> None:
        with pytest.raises(UserError, match=words):
            compare_folders(*folders, *how)

    refused("no folder")
    predicted.mkdir(), truth.mkdir()
    refused("no mask pictures")
    for threshold in (0, -1, 1.5, math.nan):
        refused("The threshold must be", threshold)
    write_mask(predicted / "b.png", TRUTH)
    write_mask(truth / "b.png", TRUTH[:1])
    refused("4x2 .* 4x1")
    refused("4x1 .* 4x2", folders=(truth, predicted))
    write_mask(truth / "a.png", TRUTH)
    refused(r"The mask 'a' in .*t has no partner of that name in .*p\.")
    write_mask(truth / "c.png", TRUTH)
    refused(r"The mask 'a' in .*p \(and 1 more such\)\.")
    (truth / "c.png").unlink()
    write_mask(truth / "a.bmp", TRUTH)
    refused("share the name 'a'")
    (truth / "a.bmp").unlink()
    (truth / "a.png").write_bytes(b"no picture")
    write_mask(predicted / "a.png", TRUTH)
    refused("can't be read as a picture")


@pytest.mark.skipif(not GOLDENS.is_dir(), reason="the authors' masks are not part of this repository")
@pytest.mark.parametrize("name", ["faces", "cars", "cats", "horses"])
def test_the_published_masks_give_the_published_numbers(name):
    expected = json.loads((GOLDENS / "expected.json").read_text("utf-8"))[name]
    comparison = compare_folders(GOLDENS / name / "pred", GOLDENS / name / "gt")
    assert len(comparison.per_image) == expected.pop("n")
    names = {"iou_fg": "iou_foreground", "iou_bg": "iou_background", "miou": "mean_iou"}
    for key, value in expected.items():
        assert getattr(comparison.pooled, names.get(key, key)) == pytest.approx(value, abs=1e-4), key


def test_the_command_prints_a_table_and_json(tmp_path, capsys):
    write_mask(tmp_path / "p" / "a.png", PREDICTED)
    write_mask(tmp_path / "t" / "a.png", TRUTH)
    command = ["evaluate masks --predicted", tmp_path / "p", "--truth", tmp_path / "t"]
    assert "all pixels" in run(capsys, *command).out
    answer = run(capsys, *command, "--json").data
    assert answer["images"] == 1
    assert answer["pooled"]["iou_foreground"] == pytest.approx(0.6)
    assert answer["per_image"]["a"] == answer["pooled"]


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form():
    mean_a, mean_b = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([1.0, 1.0, 0.0]).double()
    variance_a, variance_b = torch.tensor([4.0, 1.0, 0.0]).double(), torch.tensor([1.0, 9.0, 0.25]).double()
    distance = gaussian_distance(mean_a, torch.diag(variance_a), mean_b, torch.diag(variance_b))
    assert distance == pytest.approx((1 + 0 + 4) + (2 - 1) ** 2 + (1 - 3) ** 2 + (0 - 0.5) ** 2)


def test_frechet_distance_of_full_covariances_that_do_not_commute():
    # For 2 x 2 matrices, trace sqrt(M) = sqrt(trace M + 2 sqrt(det M)).
    a, b = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 1.0]])
    overlap = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    zero = torch.zeros(2).double()
    distance = gaussian_distance(zero, torch.from_numpy(a), zero, torch.from_numpy(b))
    assert distance == pytest.approx(np.trace(a) + np.trace(b) - 2 * overlap)


def test_frechet_distance_of_samples():
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 6))
    mean, covariance = feature_statistics(features)
    np.testing.assert_allclose(mean, features.mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(features.T))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 2) == pytest.approx(6 * 4)
    assert frechet_distance(features, features * 3) == pytest.approx(
        4 * (features.mean(axis=0) ** 2).sum() + 4 * np.trace(np.cov(features.T))
    )

    few = random.normal(size=(5, 20))  # fewer samples than dimensions
    assert frechet_distance(few, few[::-1]) == pytest.approx(0, abs=1e-6)


def class_report() -> ClassReport:
    metrics = compare_masks(PREDICTED, TRUTH)
    alpha = {psi: AlphaReport(7, 0.4, metrics, metrics, 0.25, 0.3, 0.05) for psi in (1.0, 0.7)}
    return ClassReport("tiny", 32, 9, [metrics, metrics], alpha, 4, {1.0: 2.5, 0.7: 3.5}, 0.5)


def test_reports_say_every_number():
    report = class_report()
    for text in (class_text(report), class_text(report, markdown=True)):
        for expected in ("psi 0.7", "2.500", "3.500", "0.500", "25.0%", "30.0%", "5.0%", "from 0.4", "0.600", "0.750"):
            assert expected in text, expected
    table = [line for line in class_text(report, markdown=True).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) == 2 + 2 + 4


def test_reports_survive_json():
    answer = json.loads(json.dumps(class_report().as_dict()))
    assert answer["truncation_psi"]["0.7"]["against_judge"]["mean_iou"] == pytest.approx(0.6)
    assert answer["frechet"]["generated_against_real"] == {"1": 2.5, "0.7": 3.5}
    assert len(answer["judges"]["held_out"]) == 2
