"""The student: a network that any size goes through, its training, and its place in the bundle."""

import dataclasses
import functools
import json
import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from alike import assert_same_weights
from bundles import red_finder, saved, tiny_bundle
from PIL import Image
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin.arguments import Style
from l4f_plugin.bundles.bundle import load_bundle, save_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.images import cover_fit
from l4f_plugin.jobs import CancelToken
from l4f_plugin.networks import Student, StudentConfig, UNet
from l4f_plugin.photos import coarse_alpha
from l4f_plugin.picture_files import find_pictures
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.subject import Subject
from l4f_plugin.training import cut_pictures, loop
from l4f_plugin.training.cut_pictures import (
    CutPictures,
    drawn_pictures,
    flaws_of,
    labelled_pictures,
    sharpened,
    take_apart,
)
from l4f_plugin.training.runs import drawing_pipeline, train_student
from l4f_plugin.training.student import StudentSettings, StudentTrainer, put_together

pytestmark = pytest.mark.usefixtures("one_thread")  # which is also fastest for pictures of a few pixels
TINY = StudentSettings(steps=6, batch_size=4, pictures=12, resolution=32, channels=(4, 6, 8), feature_dtype="float32")


def discs(count: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [N, S, S, 3] of orange discs before blue, and their masks uint8 [N, S, S]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    centre, radius = random.uniform(0.4, 0.6, (count, 2, 1, 1)) * side, random.uniform(0.2, 0.35, (count, 1, 1)) * side
    alpha = np.clip(radius - np.hypot(rows - centre[:, 0], columns - centre[:, 1]) + 0.5, 0, 1)[..., None]
    pictures = alpha * [230, 120, 30] + (1 - alpha) * [20, 60, 160]
    return pictures.round().astype(np.uint8), (alpha[..., 0] * 255).round().astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (32, 32), (33, 64)])
def test_folding_changes_nothing_and_any_size_goes_through(size):
    torch.manual_seed(0)
    network = UNet((4, 6, 8, 10))
    for _ in range(5):  # so that the normalisations have means and variances of their own
        network(torch.rand(4, 3, 24, 24))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    network.eval()
    student = Student.folded(network, 64)
    assert student.config == StudentConfig((4, 6, 8, 10), 64)
    picture = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected, seen = network(picture), student(picture)
    assert seen.shape == (2, 1, *size)
    assert (seen - expected).abs().max() < 0.01 * expected.abs().max() + 1e-3  # weights were rounded to float16


def test_a_bundle_keeps_its_student_and_an_older_one_loads_without(tmp_path):
    bundle = tiny_bundle()
    save_bundle(bundle, tmp_path / "older")
    assert load_bundle(tmp_path / "older").student is None and read_config(tmp_path / "older").student is None
    bundle.student = red_finder()
    save_bundle(bundle, tmp_path / "newer")
    loaded = load_bundle(tmp_path / "newer")
    assert loaded.student.config == StudentConfig((2, 2), 32) == loaded.config.student
    assert "student.safetensors" in read_config(tmp_path / "newer").files
    picture = torch.rand(1, 3, 20, 20)
    torch.testing.assert_close(loaded.student(picture), bundle.student(picture))
    without = json.loads((tmp_path / "older" / "config.json").read_text())
    del without["student"]  # as written before there were students
    (tmp_path / "older" / "config.json").write_text(json.dumps(without))
    assert load_bundle(tmp_path / "older").student is None


def test_a_student_that_makes_no_sense_is_refused(tmp_path):
    path = saved(tmp_path / "tiny") / "config.json"
    config = json.loads(path.read_text())
    sized = [{"channels": channels, "resolution": 32} for channels in ([2], [2, True])]
    for student in (3, {}, {"channels": [2, 10**6]}, {"channels": [2, 2], "resolution": 0}, *sized):
        path.write_text(json.dumps({**config, "student": student}))
        assert "not valid" in refusal(load_bundle, tmp_path / "tiny")


def test_pictures_are_taken_apart_so_that_they_can_be_put_together():
    pictures, masks = discs(1)
    parts = take_apart(pictures[0], masks[0].astype(np.float32) / 255)
    alpha = parts[..., 3:4] / 255
    again = alpha * parts[..., :3] + (1 - alpha) * parts[..., 4:]
    assert np.abs(again - pictures[0]).max() < 12
    assert np.abs(parts[..., 4:].astype(int) - [20, 60, 160]).max() < 12, "the subject shows in its background"
    assert np.array_equal(parts[..., 4:][masks[0] == 0], pictures[0][masks[0] == 0]), "what is seen stays as it is"


def test_masks_far_from_their_class_teach_nothing():
    rows, columns = np.mgrid[:40, :40]
    discs_of_all_sizes = [(np.hypot(rows - 20, columns - 20) < r).astype(np.float32) for r in np.linspace(9, 14, 20)]
    in_pieces = discs_of_all_sizes[10].copy()
    in_pieces[:4, :12] = 1
    veil = discs_of_all_sizes[10] * 0.6 + 0.2
    odd = [np.zeros((40, 40), np.float32), np.ones((40, 40), np.float32), veil, in_pieces]
    assert flaws_of([*discs_of_all_sizes, *odd]) == [None] * 20 + ["too small", "too large", "uncertain", "in pieces"]
    assert set(flaws_of([veil] * 20)) == {"uncertain"}, "a class of veils"


def test_parts_come_as_they_were_drawn_in_any_number():
    parts = np.arange(3 * 2 * 4 * 7, dtype=np.uint8).reshape(3, 2, 4, 7)
    batch = CutPictures(parts).batch(20, torch.Generator().manual_seed(0))
    assert batch.shape == (20, 7, 2, 4) and batch.dtype == torch.float32
    drawn = {tuple(one.permute(1, 2, 0).mul(255).round().int().flatten().tolist()) for one in batch}
    assert drawn == {tuple(one.flatten().tolist()) for one in parts}


@pytest.mark.parametrize(
    ("size", "side", "reduced"), [((5, 5), 5, 1), ((9, 8), 8, 2), ((16, 10), 8, 2), ((25, 7), 8, 4)]
)
def test_large_pictures_are_averaged_down(size, side, reduced):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 7), np.uint8)
    height, width = (length // reduced for length in size)
    whole = picture[: height * reduced, : width * reduced].reshape(height, reduced, width, reduced, 7)
    small = cut_pictures._reduced(picture, side)
    assert small.dtype == np.uint8 and np.abs(small - whole.mean(axis=(1, 3))).max() <= 0.5


class Drawer:
    """Stands for a pipeline: draws discs, and nothing for some seeds."""

    def __init__(self, empty: tuple[int, ...] = ()):
        self.asked, self.empty = [], empty

    def stream(self, seeds, truncation_psi, batch_size, with_background):
        assert batch_size == cut_pictures.BATCH and not with_background
        self.asked.append((list(seeds), truncation_psi))
        rows, columns = np.mgrid[:16, :16] - 7.5
        for seed in seeds:
            disc = np.clip((-1.0 if seed in self.empty else 5.0) - np.hypot(rows, columns) + 0.5, 0, 1)
            image = np.full((16, 16, 3), seed, np.uint8)
            yield Subject(image, disc.astype(np.float32), "tiny", seed, Style(truncation_psi))


def test_pictures_are_drawn_in_shards_by_turns_of_psi_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(cut_pictures, "SHARD", 4)
    drawer, told, said, turns = Drawer(empty=(1, 5, 6)), [], [], []

    @contextmanager
    def turn():
        turns.append(len(told))
        yield

    kept = drawn_pictures(drawer, tmp_path, 10, 16, loop.Watch(said.append, lambda *step: told.append(step), turn=turn))
    assert drawer.asked == [([0, 1, 2, 3], 1.0), ([4, 5, 6, 7], 1.3), ([8, 9], 1.0)]
    names = ["seeds_000000_000004.npy", "seeds_000004_000008.npy", "seeds_000008_000010.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [part[8, 8, 0] for part in kept.parts] == [0, 2, 3, 4, 7, 8, 9] and len(kept) == 7
    assert said == ["7 of 10 pictures have masks to learn from (left out: 3 too small)."]
    assert sorted({step[0] for step in told}) == list(range(1, 11)) and {step[1] for step in told} == {10}
    assert [step[0] for step in told] == sorted(step[0] for step in told) and len(turns) == 10
    (tmp_path / "seeds_000004_000008.npy").unlink()
    again, told[:] = Drawer(), []
    drawn_pictures(again, tmp_path, 10, 16, loop.Watch(said.append, lambda *step: told.append(step)))
    assert again.asked == [([4, 5, 6, 7], 1.3)] and told[0][0] == 4 and told[-1] == (10, 10, told[0][2])
    assert said[-1].startswith("9 of 10")


def test_a_tenth_of_the_masks_must_be_worth_learning_from(tmp_path):
    def drawn(good: int):
        return drawn_pictures(Drawer(empty=tuple(range(good, 29))), tmp_path / str(good) / "a run", 29, 16)

    assert len(drawn(2)) == 2
    for good in (1, 0):
        with pytest.raises(UserError, match=rf"Only {good} of 29 masks .*left out: {29 - good} too small"):
            drawn(good)


def test_drawing_stops_between_pictures_and_says_when_the_disk_is_full(tmp_path, monkeypatch):
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        watch = loop.Watch(print, lambda done, *_: done == 4 and cancel.cancel(), cancel)
        drawn_pictures(Drawer(), tmp_path, 10, 16, watch)
    assert not list(tmp_path.glob("*.npy"))
    with pytest.raises(Cancelled):
        drawn_pictures(Drawer(), tmp_path, 10, 16, loop.Watch(cancel=cancel))
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="The disk is full: .* could not be written"):
        drawn_pictures(Drawer(), tmp_path, 10, 16)


def test_composites_are_new_each_time_and_the_same_for_a_seed():
    parts = labelled_pictures(*discs(6)).batch(6, torch.Generator().manual_seed(0))
    drawn = [put_together(parts, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    (first, alpha), (again, _), (other, _) = drawn
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other, atol=0.1)
    assert first.shape == (6, 3, 32, 32) and alpha.shape == (6, 1, 32, 32)
    for values in (first, alpha):
        assert values.min() >= 0 and values.max() <= 1
    assert 0.02 < alpha.mean() < 0.9


def test_a_student_learns_and_goes_on_exactly_where_it_stopped(tmp_path):
    pictures = labelled_pictures(*discs(12))
    whole = StudentTrainer(TINY, pictures)
    metrics = [whole.step() for _ in range(6)]
    assert all(np.isfinite(list(values.values())).all() for values in metrics)
    first = StudentTrainer(TINY, pictures)
    for _ in range(3):
        first.step()
    loop.save(first, tmp_path)
    second = StudentTrainer(TINY, pictures)
    assert loop.resume(second, tmp_path)
    for _ in range(3):
        second.step()
    assert_same_weights(second.network, whole.network)
    with pytest.raises(UserError, match="another masks_sha256"):
        loop.resume(StudentTrainer(dataclasses.replace(TINY, masks_sha256="other"), pictures), tmp_path)
    assert second.sample_grid().size == (4 * 3 * 32, 3 * 32)


def test_a_few_steps_teach_it_to_find_discs():
    settings = dataclasses.replace(TINY, steps=60, batch_size=8, channels=(6, 10, 14, 18), coarse_share=0.0)
    trainer = StudentTrainer(settings, labelled_pictures(*discs(24)))
    errors = [trainer.step()["alpha_error"] for _ in range(60)]
    assert np.mean(errors[-10:]) < 0.7 * np.mean(errors[:5])


def test_training_ends_with_a_bundle_that_segments(tiny_bundle_folder, few_compared, tmp_path):
    out, said = tmp_path / "run", []
    settings = dataclasses.replace(TINY, steps=4)
    assert "worth learning from" in refusal(train_student, tiny_bundle_folder, out, settings, report=said.append)
    [shard] = out.glob("pictures-*/*.npy")
    np.save(shard, labelled_pictures(*discs(12)).parts)
    cancel = CancelToken()
    cancel.cancel()
    assert not train_student(tiny_bundle_folder, out, settings, report=said.append, cancel=cancel)
    assert train_student(tiny_bundle_folder, out, settings, report=said.append)
    bundle = load_bundle(out / "bundle", with_discriminator=True)
    assert bundle.config.masks_follow_student
    assert bundle.student.config == StudentConfig((4, 6, 8), 32) and bundle.discriminator is not None
    with torch.no_grad():
        assert 0 <= float(torch.sigmoid(bundle.student(torch.rand(1, 3, 9, 30))).mean()) <= 1


def test_what_a_student_cannot_learn_from_is_told(tiny_bundle_folder, tmp_path, capsys):
    tiny, bare, photographs = (
        tiny_bundle_folder,
        saved(tmp_path / "bare", without=["alpha"]),
        ["--photographs", tmp_path],
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for folder, options, sentence in [
        (bare, [], "no masks to learn from"),
        (tiny, ["--teacher", "student"], "no segmenter yet that could teach"),
        (tiny, ["--photographs", tmp_path / "nowhere"], "cannot be read as a folder or an archive"),
        (tiny, photographs, "no segmenter yet to find its subjects"),
    ]:
        assert_refused(run(capsys, "train student", folder, "--out", tmp_path / "run", *options), sentence)


def test_an_earlier_student_teaches_the_next():
    """Of pictures in random colours the masks are what the hand-made finder of red finds, decided."""
    bundle = tiny_bundle(student=red_finder())
    pipeline = Labels4FreePipeline(bundle, device="cpu")
    found = list(cut_pictures.draw_parts(pipeline, [0, 1], 1.0, 32, bundle.student))
    for parts, sample in zip(found, pipeline.generate([0, 1], truncation_psi=1.0), strict=True):
        coarse = coarse_alpha(bundle.student, bundle.config, sample.image, pipeline.device)
        assert parts.shape == (32, 32, 7)
        sure = np.abs(coarse - 0.5) > 0.45
        agree = (parts[..., 3] > 127) == (coarse > 0.5)
        assert agree[sure].mean() > 0.9 and np.abs(parts[..., 3] / 255 - coarse).mean() < 0.2


@pytest.mark.parametrize(
    ("side", "crop", "size"), [(32, None, (32, 32)), (16, None, (16, 16)), (16, (2, 30, 8, 24), (14, 8))]
)
def test_photographs_without_labels_teach_by_the_masks_an_earlier_student_finds(tmp_path, side, crop, size):
    """Red discs, found by the hand-made finder of red, one of them half hidden from it: cut to the class's shape."""
    pictures, masks = discs(5, side=64)
    red = np.where(masks[..., None] > 127, [255, 0, 0], [20, 60, 160]).astype(np.uint8)
    for number, picture in enumerate(red):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    bundle = tiny_bundle(crop=crop, student=red_finder())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    files, folder = find_pictures(tmp_path).pictures, tmp_path / "parts"
    arguments = (bundle, files, folder, side, torch.device("cpu"))
    found = cut_pictures.photographed_pictures(*arguments)
    assert found.parts.shape == (5, *size, 7)
    for parts, mask in zip(found.parts, masks, strict=True):
        truth = cover_fit(mask, *size[::-1])
        assert ((parts[..., 3] > 127) == (truth > 127)).mean() > 0.97
    files[0].path.unlink()
    again = cut_pictures.photographed_pictures(*arguments)
    assert np.array_equal(again.parts, found.parts), "what was found is kept"


def test_what_few_photographs_tell_is_drawn_instead(few_compared, tmp_path, monkeypatch):
    source = saved(tmp_path / "class", student=red_finder())
    photographs, said = tmp_path / "photographs", []
    photographs.mkdir()
    Image.new("RGB", (40, 40), "blue").save(photographs / "nothing red.png")
    empty = lambda alphas: ["too small" if alpha.max() < 0.3 else None for alpha in alphas]  # noqa: E731
    monkeypatch.setattr(cut_pictures, "flaws_of", empty)
    settings = dataclasses.replace(TINY, steps=2, pictures=4, own_background=0.5)
    taught = functools.partial(train_student, source, tmp_path / "run", settings, photographs=photographs)
    with pytest.raises(UserError, match="Only 0 of 1 masks .* name photographs"):
        taught(report=said.append)
    assert taught(report=said.append, drawn_instead=True)
    [told] = [line for line in said if "drawn instead" in line]
    assert "Only 0 of 1 masks" in told and any("of 4 pictures have masks" in line for line in said)


def test_pictures_that_stay_whole_keep_their_own_background():
    flat = torch.full((8, 7, 32, 32), 0.5)
    flat[:, 3] = torch.from_numpy(discs(8, 32)[1] / 255).float()
    spread = [put_together(flat, torch.Generator().manual_seed(0), share)[0].std(dim=(2, 3)) for share in (1, 0)]
    assert spread[0].mean() < 0.5 * spread[1].mean()


def test_an_earlier_student_has_no_say_in_what_masks_teach():
    bundle = tiny_bundle(masks_follow_colours=True, masks_follow_student=True, student=red_finder())
    alone = Labels4FreePipeline(tiny_bundle(masks_follow_colours=True), "cpu").generate([1])[0].alpha
    taught = drawing_pipeline(bundle, torch.device("cpu")).generate([1])[0].alpha
    asked = Labels4FreePipeline(bundle, "cpu").generate([1])[0].alpha
    assert np.abs(taught - alone).mean() < 0.3 * np.abs(asked - alone).mean()  # bfloat16 changes it a little


def test_doubts_are_pushed_to_either_side():
    sharp = sharpened(np.array([0.0, 0.2, 0.5, 0.8, 1.0], np.float32))
    assert sharp.tolist() == pytest.approx([0, 1 / 65, 0.5, 64 / 65, 1])


def test_pictures_that_are_not_square_teach_too():
    pictures, masks = discs(6)
    trainer = StudentTrainer(TINY, labelled_pictures(pictures[:, 4:25], masks[:, 4:25]))
    assert np.isfinite(trainer.step()["cross_entropy"])
