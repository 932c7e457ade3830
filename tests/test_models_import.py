"""A user's own files through the form of the panel Models: good ones become classes, hostile ones leave nothing."""

import json
import os
import time
from pathlib import Path

import hostile_files
import pytest
from models_page import Page, maskless, plain, row
from pages import begin

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.bundles.files import STALE_AFTER_SECONDS
from l4f_plugin.convert import child_process
from l4f_plugin.errors import Cancelled
from l4f_plugin.hub import own_checkpoints
from l4f_plugin.jobs import CancelToken
from l4f_ui import models_forms

GOLDENS = Path(__file__).parent / "data/goldens"
GENERATOR, ALPHA = GOLDENS / "l4f_256_generator.pt", GOLDENS / "l4f_256_alpha_general.pt"


@pytest.fixture
def page(tmp_path, own_folders, monkeypatch, notices):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    yield from Page.open(tmp_path)


@pytest.fixture
def in_this_process(monkeypatch):
    """Spares the seconds that another process takes to import torch."""

    def convert(source, destination, *, always, **options):
        assert always, "an upload goes to a process of its own"
        return child_process.convert_in_child(source, destination, **options)

    monkeypatch.setattr(own_checkpoints, "convert_in_child", convert)


def upload(tmp_path: Path, name: str, content: bytes | Path) -> str:
    """A file as Gradio keeps an upload: under its own name in a folder of its own."""
    folder = tmp_path / "uploads" / f"{len(list((tmp_path / 'uploads').glob('*'))):064x}"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return str(folder / name)


def bring(page: Page, file=None, alpha=None, name="", title="", licence="CC0-1.0") -> tuple[dict, str]:
    form = page.panel.imports
    return page.form(form, form.bring, file=file, alpha=alpha, name=name, title=title, licence=licence)


def left(tmp_path: Path) -> list[str]:
    """What lies in the folders of uploads and models, but for locks."""
    found = [path for folder in ("uploads", "models") for path in (tmp_path / folder).rglob("*")]
    return sorted(path.name for path in found if path.is_file() and path.suffix != ".lock")


def test_a_checkpoint_with_its_masks_becomes_a_class(page, tmp_path):
    """In a process of its own, as on the page."""
    files = upload(tmp_path, "My Faces.pt", GENERATOR), upload(tmp_path, "alpha.pt", ALPHA)
    seen, told = bring(page, *files, title="My faces", licence="CC-BY-4.0")
    assert told == "My faces is ready to draw." and page.visit.picked == "my-faces"
    config = read_config(tmp_path / "models/my-faces")
    assert (config.title, config.licence) == ("My faces", "CC-BY-4.0")
    assert config.source == "converted from My Faces.pt, alpha.pt"
    assert load_bundle(tmp_path / "models/my-faces").alpha is not None
    assert row(page, "my-faces")["Verified"] == "yes" and row(page, "my-faces")["Masks"] == "yes"
    assert not [path for path in (tmp_path / "uploads").rglob("*")], "the uploads are gone, with their folders"
    form = page.panel.imports
    assert seen[form.file] is None and seen[form.alpha] is None and seen[page.panel.choice]["value"] == "my-faces"


def test_masks_alone_complete_the_class_that_is_picked(page, tmp_path, in_this_process):
    bring(page, upload(tmp_path, "faces.pt", GENERATOR))
    list(page.service.generate("faces", [1], 0.7, page.service.new_token()))
    path = tmp_path / "models/faces/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "masks_follow_colours": True}))  # as of earlier masks
    page.pick("faces")
    _, told = bring(page, None, upload(tmp_path, "alpha.pt", ALPHA), licence=None)
    assert told == "Faces is ready to draw." and row(page, "faces")["Masks"] == "yes"
    config = read_config(tmp_path / "models/faces")
    assert config.alpha_origin == "imported" and config.alpha_threshold == 0.9 and not config.masks_follow_colours
    [sample] = list(page.service.generate("faces", [1], 0.7, page.service.new_token()))[-1]
    assert sample.alpha is not None


def test_masks_of_another_generator_change_nothing(page, tmp_path, in_this_process):
    folder = maskless(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    page.pick("plain")
    _, told = bring(page, None, upload(tmp_path, "alpha.pt", ALPHA), licence=None)
    assert told.startswith("alpha.pt belongs to another generator")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before and left(tmp_path) == sorted(before)


def test_what_is_missing_or_wrong_is_said(page, tmp_path):
    maskless(tmp_path)
    (tmp_path / "models/other").mkdir()
    (tmp_path / "models/other/thesis.txt").write_text("mine")
    before = left(tmp_path)
    assert "There is no file yet" in bring(page)[1]
    file = upload(tmp_path, "a.pt", GENERATOR)
    for field, values, words in (
        ("licence", (None, " "), "under which licence"),
        ("title", ("x" * 201,), "one line of up to 200"),
        ("licence", ("a\nb",), "one line of up to 200"),
        ("name", ("../evil", "A B"), "is no name for a class"),
        ("name", ("plain", "horse"), "There is a class {} already"),
        ("name", ("other",), "holds other files under the name other"),
    ):
        for value in values:
            _, told = bring(page, file, **{field: value})
            assert words.format(value) in told and str(tmp_path) not in told
            assert left(tmp_path) == sorted([*before, "a.pt"]), "which stays for the next click"


def test_an_upload_outlives_a_clash_that_shows_while_it_is_converted(page, tmp_path, in_this_process, monkeypatch):
    convert = own_checkpoints.convert_in_child

    def overtaken(*given, **options):
        (tmp_path / "models/faces").mkdir(exist_ok=True)
        return convert(*given, **options)

    monkeypatch.setattr(own_checkpoints, "convert_in_child", overtaken)
    file = upload(tmp_path, "faces.pt", GENERATOR)
    seen, told = bring(page, file)
    assert "holds other files under the name faces" in told and left(tmp_path) == ["faces.pt"]
    assert page.panel.imports.file not in seen
    assert bring(page, file, name="others")[1] == "Others is ready to draw."


def test_what_is_too_large_is_not_read(page, tmp_path, monkeypatch):
    monkeypatch.setattr(models_forms, "MOST_BYTES", 1000)
    _, told = bring(page, upload(tmp_path, "a.pt", b"x" * 1001))
    assert told.startswith("a.pt is larger than 1 kB") and left(tmp_path) == []


def test_only_uploads_are_touched(page, tmp_path):
    """A path in a request names a file of the server; that is neither read nor removed."""
    mine = tmp_path / "mine.pt"
    mine.write_bytes(GENERATOR.read_bytes())
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads/link.pt").symlink_to(mine)
    for path in (mine, tmp_path / "uploads/../mine.pt", tmp_path / "uploads/link.pt", tmp_path / "uploads/none.pt"):
        _, told = bring(page, str(path))
        assert "was not uploaded here" in told and mine.is_file()
    assert not (tmp_path / "models").exists()


def test_a_cancelled_import_leaves_nothing(page, tmp_path, monkeypatch):
    def convert(source, destination, *, cancel: CancelToken, **options):
        destination.mkdir()
        (destination / "generator.safetensors").write_bytes(b"half")
        while not cancel.cancelled:
            time.sleep(0.01)
        raise Cancelled

    monkeypatch.setattr(own_checkpoints, "convert_in_child", convert)
    form = page.panel.imports
    changed = {page.panel.visit: page.visit, form.file: upload(tmp_path, "a.pt", GENERATOR), form.licence: "MIT"}
    seen: dict = {}
    for update in begin(form, form.bring, changed):
        seen |= update
        if "Reading and converting a.pt" in plain(seen.get(form.job.status, "")):
            form.job.stop(seen[form.job.token])
    page.wait()
    assert plain(seen[form.job.status]) == "Stopped." and left(tmp_path) == []
    assert list((tmp_path / "models").iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed(page, tmp_path, in_this_process):
    old = tmp_path / "models/.faces.0123456789ab.partial"
    old.mkdir(parents=True)
    os.utime(old, (1, 1 + STALE_AFTER_SECONDS))
    bring(page, upload(tmp_path, "faces.pt", GENERATOR))
    assert not old.exists() and (tmp_path / "models/faces").is_dir()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("corpus"))
    try:
        return hostile_files.corpus()
    finally:
        os.chdir(before)


def refused(page: Page, tmp_path: Path, content: bytes, words: str, *, as_alpha: bool = False) -> None:
    """The form refuses the file in one sentence, runs nothing and leaves nothing."""
    evil = upload(tmp_path, "evil.pt", content)
    files = (upload(tmp_path, "good.pt", GENERATOR), evil) if as_alpha else (evil, None)
    _, told = bring(page, *files, name="evil")
    assert words in told and "evil" in told and told.endswith(".") and len(told) < 400 and told.isprintable()
    assert str(tmp_path) not in told and "/" not in told.replace("rosinality's or NVIDIA's", "")
    assert left(tmp_path) == [] and not (tmp_path / hostile_files.CANARY).exists()


@pytest.mark.parametrize(("case", "as_alpha"), [("system, protocol 0", True), ("array of objects", False)])
def test_hostile_files_are_refused_in_a_process_of_their_own(page, tmp_path, corpus, monkeypatch, case, as_alpha):
    """Two of those that test_hostile_pickles.py tries by the library and the command."""
    monkeypatch.chdir(tmp_path)
    refused(page, tmp_path, *corpus[case], as_alpha=as_alpha)
