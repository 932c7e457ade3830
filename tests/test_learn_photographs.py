"""`l4f learn-photographs`: a photo segmenter for an installed class, as people and programs ask for it."""

import contextlib
from collections import Counter

import pytest
from alike import assert_same_weights
from bundles import OF_MASKS, saved, tiny_bundle
from pixels import noise_in
from shell import assert_refused, run

from l4f_plugin.bundles import catalogue
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.bundles.model_card import write_model_card
from l4f_plugin.jobs import CancelToken
from l4f_plugin.training.learning import learn_photographs
from l4f_plugin.training.loop import STEPPING


@pytest.fixture
def folder(tmp_path, own_folders, quick_photographs):
    """The installed class "plain"."""
    card = write_model_card(tiny_bundle(title="Plain").config, "Drawn by hand.")
    return saved(tmp_path / "models/plain", card, title="Plain")


def runs(tmp_path) -> list:
    return list((tmp_path / "cache/labels4free/photographs").glob("plain.*/*"))


def test_a_class_gets_a_segmenter_and_keeps_the_rest(folder, tmp_path, capsys):
    before = load_bundle(folder, with_discriminator=True)
    said = run(capsys, "learn-photographs plain --device cpu")
    assert said.code == 0 and said.out == f"plain finds its object in photographs now: {folder}\n"
    after = load_bundle(folder, with_discriminator=True)
    assert after.student is not None and before.student is None
    for name in ("generator", "alpha", "background", "discriminator"):
        assert_same_weights(getattr(before, name), getattr(after, name))
    card = (folder / "README.md").read_text()
    assert "Drawn by hand." in card and "on 12 pictures that this class drew itself: 6 steps of 4" in card
    assert catalogue.look_up("plain").photos and catalogue.look_up("plain").verified and not runs(tmp_path)


def test_a_segmenter_that_is_there_teaches_a_new_one_only_if_asked(folder, capsys):
    assert run(capsys, "learn-photographs plain --device cpu").code == 0
    first = read_config(folder).files["student.safetensors"]
    assert_refused(run(capsys, "learn-photographs plain"), "l4f learn-photographs plain --again")
    assert run(capsys, "learn-photographs plain --again --device cpu --json").data["class"] == "plain"
    assert read_config(folder).files["student.safetensors"] != first
    assert "Drawn by hand." not in (folder / "README.md").read_text(), "what was measured of the first is untrue now"


def test_a_users_own_photographs_teach_the_next_one(folder, tmp_path, capsys):
    photographs = noise_in(tmp_path / "mine", 3, 30, 40, 3)
    assert_refused(run(capsys, "learn-photographs plain --photographs", photographs), "no segmenter yet to find")
    assert run(capsys, "learn-photographs plain --device cpu").code == 0
    said = run(capsys, "learn-photographs plain --again --device cpu --photographs", photographs)
    assert said.code == 0 and "3 of 3 pictures have masks to learn from" in said.err
    assert "3 photographs are few: fewer than 150" in said.err
    card = (folder / "README.md").read_text()
    assert "on the good masks of 3 photographs without labels: 6 steps" in card and not runs(tmp_path)


def test_a_class_without_masks_is_told_what_to_do_first(folder, capsys):
    saved(folder, without=OF_MASKS)
    assert_refused(run(capsys, "learn-photographs plain"), "l4f learn-masks")


@pytest.mark.parametrize(("part", "most"), [("Drawing pictures to learn from", 12), (STEPPING, 24)])
def test_what_was_stopped_goes_on(folder, tmp_path, part, most):
    token, seen = CancelToken(), []

    def progress(done, total, message):
        seen.append((message, done, total))
        if message == part and done >= 8:
            token.cancel()

    assert learn_photographs("plain", device="cpu", progress=progress, cancel=token, report=print) is None
    assert seen[-1] == (part, 8, most) and read_config(folder).student is None and runs(tmp_path)
    later = []
    assert learn_photographs("plain", device="cpu", progress=lambda *call: later.append(call)) == folder
    steps = [done for done, _, message in later if message == STEPPING]
    assert steps == (list(range(4, 25, 4)) if part != STEPPING else [12, 16, 20, 24])
    assert read_config(folder).student is not None and not runs(tmp_path)


def test_others_get_the_device_between_pictures_and_steps(folder):
    turns = Counter()

    @contextlib.contextmanager
    def turn():
        turns["entered"] += 1
        yield
        turns["left"] += 1

    learn_photographs("plain", device="cpu", turn=turn)
    assert turns["left"] == turns["entered"] == 12 + 6  # pictures, steps


def test_an_unfinished_run_goes_with_its_class(folder, tmp_path, capsys):
    token = CancelToken()
    token.cancel()
    assert learn_photographs("plain", device="cpu", cancel=token) is None
    assert run(capsys, "remove plain --yes").code == 0
    assert not folder.exists() and not list((tmp_path / "cache/labels4free/photographs").glob("plain.*"))
