"""The supervised judge: distortions, training, its cache, and what it says about an object class."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from alike import assert_alike
from PIL import Image
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin.bundles.training_state import save_training_state
from l4f_plugin.errors import UserError
from l4f_plugin.evaluation import class_evaluation, distortion, judge
from l4f_plugin.evaluation.frechet import frechet_distance
from l4f_plugin.evaluation.judge import JudgeSettings, judge_features, judge_masks
from l4f_plugin.evaluation.labelled import LabelledPictures, fingerprint, load_split
from l4f_plugin.evaluation.mask_metrics import compare_masks
from l4f_plugin.networks import UNet

SMALL = JudgeSettings(resolution=32, channels=(4, 6, 8, 10, 12), coarse_steps=8, steps=8, batch_size=4, pictures=20)


def discs(count: int, seed: int, edge: int = 32) -> LabelledPictures:
    """Discs of one colour before another colour, and their masks."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:edge, :edge]
    pictures, masks = [], []
    for _ in range(count):
        centre, radius = random.uniform(edge / 3, edge * 2 / 3, 2), random.uniform(edge / 6, edge / 3)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        colours = random.integers(0, 90, 3), random.integers(160, 256, 3)
        pictures.append(np.where(inside[..., None], colours[1], colours[0]))
        masks.append(inside * 255)
    return LabelledPictures(np.array(pictures, dtype=np.uint8), np.array(masks, dtype=np.uint8))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("discs")
    for seed, (split, count) in enumerate({"train": 12, "validation": 5, "test": 6}.items()):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        data = discs(count, seed, edge=64)
        for row in range(count):
            Image.fromarray(data.pictures[row]).save(folder / split / "images" / f"{row:06}.png")
            Image.fromarray(data.masks[row]).save(folder / split / "masks" / f"{row:06}.png")
    (folder / "dataset.json").write_text(json.dumps({"seed": 0}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def judges() -> list[UNet]:
    """Of the seeds 0 and 1."""
    return [judge.train_judge(discs(20, 0), SMALL, seed, feature_dtype="float32") for seed in (0, 1)]


def as_tensors(data: LabelledPictures) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = torch.from_numpy(data.pictures).permute(0, 3, 1, 2).float() / 255
    return pictures, torch.from_numpy(data.masks)[:, None].float() / 255


def test_a_split_is_read_at_any_smaller_size(dataset):
    data = load_split(dataset, "train", 32)
    original = np.asarray(Image.open(dataset / "train" / "images" / "000003.png"), dtype=np.float32)
    averaged = original.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert data.pictures.shape == (12, 32, 32, 3) and data.masks.shape == (12, 32, 32)
    assert np.abs(data.pictures[3] - averaged).max() <= 1
    few = load_split(dataset, "train", 64, limit=4)
    np.testing.assert_array_equal(few.pictures[1], original)  # 0, 3, 6, 9


def test_what_is_no_data_set_is_said_in_a_sentence(dataset, tmp_path):
    assert "no labelled pictures" in refusal(load_split, tmp_path, "train", 32)
    assert "at least 128x128" in refusal(load_split, dataset, "test", 128)
    images = tmp_path / "test" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(images / "000000.png")
    with pytest.raises(UserError, match="masks.*missing or can't be read"):
        load_split(tmp_path, "test", 32)


def test_distortions_repeat_for_a_seed_and_stay_in_range():
    pictures, masks = as_tensors(discs(16, 0))
    first, again, other = (distortion.distort(pictures, masks, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        torch.testing.assert_close(one, same)
    assert not torch.allclose(first[0], other[0], atol=0.1)
    assert first[0].shape == pictures.shape and first[1].shape == masks.shape
    assert all(tensor.min() >= 0 and tensor.max() <= 1 for tensor in first)


def test_warping_moves_picture_and_mask_alike():
    _, masks = as_tensors(discs(16, 0))
    pictures, moved = distortion.warp(masks.expand(-1, 3, -1, -1), masks, torch.Generator().manual_seed(0))
    torch.testing.assert_close(pictures[:, :1], moved)
    assert (moved - masks).abs().mean() > 0.02


def test_borrowed_backgrounds_spare_both_objects():
    pictures, masks = as_tensors(discs(64, 0))
    result = distortion.borrow_backgrounds(pictures, masks, torch.Generator().manual_seed(0))
    assert torch.equal(result * masks, pictures * masks)
    changed = (result != pictures).any(dim=(1)).flatten(1)
    assert 5 < int(changed.any(dim=1).sum()) < 30
    assert not (changed & (masks.roll(1, dims=0) > 0).flatten(1)).any()


def test_block_artefacts_are_small_where_steps_are_and_leave_means():
    pictures = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    result = distortion.add_block_artefacts(pictures, torch.Generator().manual_seed(0))
    changed = (result != pictures).flatten(1).any(dim=1)
    assert 3 < int(changed.sum()) < 20
    assert (result - pictures).abs().mean() < 0.2
    # The first coefficient of an 8 x 8 square is 8 times its mean and is rounded by half a step, at most .03.
    means = [tensor.unflatten(3, (2, 8)).unflatten(2, (2, 8)).mean(dim=(3, 5)) for tensor in (result, pictures)]
    assert (means[0] - means[1]).abs().max() <= 0.03 / 8 + 1e-6


def test_blurring_keeps_the_mean_of_flat_pictures_and_their_size():
    pictures = torch.full((4, 3, 17, 33), 0.25)
    torch.testing.assert_close(distortion.blur(pictures, torch.Generator().manual_seed(0)), pictures)


def test_a_judge_learns_to_find_the_object():
    settings = JudgeSettings(resolution=32, channels=(8, 12, 16, 20, 24), coarse_steps=30, steps=40, batch_size=16)
    before = torch.random.get_rng_state()
    trained = judge.train_judge(discs(200, 0), settings, seed=0, feature_dtype="float32")
    assert torch.equal(before, torch.random.get_rng_state())
    held_out = discs(50, 1).pictures
    assert compare_masks(judge_masks(trained, held_out), discs(50, 1).masks / 255).mean_iou > 0.8
    real, others = judge_features(trained, held_out), judge_features(trained, discs(50, 2).pictures)
    strange = judge_features(trained, 255 - held_out)
    assert frechet_distance(strange, real) > 2 * frechet_distance(others, real)


def test_the_smallest_classes_are_trained_at_full_size_throughout():
    settings = JudgeSettings(resolution=32, channels=(4, 4, 4, 4, 4, 4), coarse_steps=1, steps=1, batch_size=4)
    trained = judge.train_judge(discs(4, 0), settings, seed=0)
    assert judge_masks(trained, discs(2, 0).pictures).shape == (2, 32, 32)


def test_a_seed_decides_a_judge(judges):
    again = judge.train_judge(discs(20, 0), SMALL, 0, feature_dtype="float32")
    masks = [judge_masks(referee, discs(20, 0).pictures) for referee in (*judges, again)]
    assert_alike(masks[0], masks[2])
    assert np.abs(masks[0] - masks[1]).max() > 0.05


def test_neither_batches_nor_a_mirror_change_what_a_judge_sees(judges, monkeypatch):
    pictures, views = discs(7, 0).pictures, (judge_masks, judge_features)
    whole = [see(judges[0], pictures) for see in views]
    np.testing.assert_allclose(judge_masks(judges[0], pictures[:, :, ::-1])[:, :, ::-1], whole[0], atol=1e-5)
    monkeypatch.setattr(judge, "BATCH", 3)
    for see, expected in zip(views, whole, strict=True):
        np.testing.assert_allclose(see(judges[0], pictures), expected, rtol=1e-4, atol=1e-5)


def test_a_judge_is_trained_once_and_kept(dataset, tmp_path):
    steps, arguments = [], (dataset, SMALL, 3, tmp_path)
    first = judge.load_or_train_judge(*arguments, progress=lambda *step: steps.append(step[:2]))
    assert steps == [(step, 16) for step in range(1, 17)]
    again = judge.load_or_train_judge(*arguments, progress=lambda *step: steps.append(step))
    assert len(steps) == 16
    pictures = discs(3, 0).pictures
    assert_alike(judge_masks(first, pictures), judge_masks(again, pictures))


def test_a_damaged_judge_is_trained_anew(dataset, tmp_path):
    path = judge.judge_path(tmp_path, dataset, SMALL, 0)
    path.write_bytes(b"cut short")
    judge.load_or_train_judge(dataset, SMALL, 0, tmp_path)
    assert isinstance(judge.load_judge(path, SMALL), UNet)
    save_training_state(path, {"stem": torch.zeros(1)}, {"settings": {"resolution": 32}, "seed": 0})
    refusal(judge.load_judge, path, SMALL)


def test_settings_seed_and_data_set_tell_judges_apart(dataset, tmp_path):
    other = tmp_path / "other"
    (other / "train" / "images").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(other / "train" / "images" / "000000.png")
    longer = JudgeSettings(**{**SMALL.__dict__, "steps": 9})
    judges = [(dataset, SMALL, 0), (dataset, SMALL, 1), (dataset, longer, 0), (other, SMALL, 0)]
    assert len({judge.judge_path(tmp_path, *one) for one in judges}) == 4
    assert fingerprint(dataset) == fingerprint(dataset)


def test_masks_are_measured_against_the_first_judge(judges):
    pictures = discs(6, 0).pictures
    verdicts = [judge_masks(referee, pictures) for referee in judges]
    alphas = np.random.default_rng(0).random(verdicts[0].shape)
    report = class_evaluation.evaluate_alpha(pictures, alphas, judges, threshold=0.9)
    assert report.against_judge == compare_masks(alphas >= 0.9, verdicts[0])
    assert report.judges_agree == compare_masks(verdicts[1], verdicts[0])
    assert report.judges_agree.accuracy < 1, "the judges differ"
    assert report.mask_area == pytest.approx(alphas.mean())
    assert report.judge_mask_area == pytest.approx((verdicts[0] >= 0.5).mean())
    assert report.edge_softness == pytest.approx(np.mean((alphas > 0.05) & (alphas < 0.95)))
    assert class_evaluation.evaluate_alpha(pictures, alphas, judges[:1], 0.5).judges_agree is None


def test_the_command_judges_a_class(tiny_bundle_folder, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(class_evaluation, "JudgeSettings", lambda resolution: SMALL)
    command = ["evaluate class", tiny_bundle_folder, "--data", dataset, "--pictures 6 --device cpu"]
    answer = run(capsys, *command, "--json").data
    assert len(list((tmp_path / "labels4free" / "judges").glob("*.safetensors"))) == 2
    assert answer["class"] == "tiny" and answer["resolution"] == 32
    assert set(answer["truncation_psi"]) == {"1", "0.7"}
    assert (answer["truncation_psi"]["1"]["pictures"], answer["truncation_psi"]["1"]["threshold"]) == (6, 0.4)
    assert answer["frechet"]["pictures"] == 5  # of 5 + 6 held-out pictures
    assert answer["frechet"]["generated_against_real"]["1"] > 0 and answer["frechet"]["real_against_real"] > 0
    assert "second judge" in run(capsys, *command).out


def test_a_class_without_labelled_pictures_cannot_be_judged(tiny_bundle_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert_refused(run(capsys, "evaluate class", tiny_bundle_folder, "--device cpu"), "no labelled pictures")
    assert_refused(run(capsys, "evaluate class avatar --pictures 1"), "number of pictures")
