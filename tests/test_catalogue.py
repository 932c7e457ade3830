"""The list of classes and how a name becomes a folder."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import tiny_bundle

from l4f_plugin.checkpoints import catalogue
from l4f_plugin.checkpoints.bundle import save_bundle
from l4f_plugin.commands import classes as command
from l4f_plugin.errors import UserError


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A weights folder with a shipped class, an absent one and one on the Hub; an empty models folder."""
    weights = tmp_path / "weights"
    save_bundle(tiny_bundle(), weights / "shipped")
    entry = {"title": "T", "resolution": 32, "licence": "CC0-1.0"}
    table = {"shipped": {**entry, "folder": "shipped"}, "absent": {**entry, "folder": "absent"},
             "far": {**entry, "repository": "someone/far", "revision": "v1"}}
    (weights / "catalogue.json").write_text(json.dumps({"schema_version": 1, "classes": table}))
    monkeypatch.setattr(catalogue, "WEIGHTS_FOLDER", weights)
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entry(name: str) -> catalogue.ClassEntry:
    return next(item for item in catalogue.classes() if item.name == name)


def test_every_class_says_whether_it_is_there(places):
    assert [item.name for item in catalogue.classes()] == ["absent", "far", "shipped"]
    assert entry("shipped").installed and entry("shipped").location == str(places / "weights/shipped")
    assert not entry("absent").installed and not entry("far").installed
    assert entry("far").location == "hub: someone/far"


def test_bundles_put_into_the_models_folder_are_found(places):
    save_bundle(tiny_bundle(title="Dogs"), places / "models/dogs")
    (places / "models/no bundle").mkdir()
    (places / "models/file").touch()
    assert (entry("dogs").title, entry("dogs").installed, entry("dogs").resolution) == ("Dogs", True, 32)
    assert catalogue.resolve("dogs") == places / "models/dogs"
    assert len(catalogue.classes()) == 4


def test_a_bundle_of_the_user_stands_before_a_shipped_one(places):
    save_bundle(tiny_bundle(title="Mine"), places / "models/shipped")
    assert entry("shipped").title == "Mine"
    assert catalogue.resolve("shipped") == places / "models/shipped"


def test_a_damaged_bundle_is_listed_with_its_problem(places):
    (places / "models/broken").mkdir(parents=True)
    (places / "models/broken/config.json").write_text("{")
    assert not entry("broken").installed and "not JSON" in entry("broken").problem


def test_names_folders_and_paths(places):
    assert catalogue.resolve("shipped") == places / "weights/shipped"
    (places / "shipped").mkdir()  # a folder in the working directory hides no class
    assert catalogue.resolve("shipped") == places / "weights/shipped"
    assert catalogue.resolve("./shipped") == catalogue.resolve(places / "shipped") == places / "shipped"


@pytest.mark.parametrize(("name", "expected"), [
    ("absent", "weights of absent are missing"), ("nothing", "the classes are: absent, far, shipped"),
    ("", "is no class"), ("../shipped", "is no class"), ("/nowhere", "is no class"), ("a/b/c", "is no class"),
    ("a\nb", "is no class"), (Path("someone/far"), "is no class"), ("weights/catalogue.json", "l4f convert"),
])
def test_what_cannot_be_resolved(name, expected):
    with pytest.raises(UserError) as caught:
        catalogue.resolve(name)
    assert expected in str(caught.value) and str(caught.value).isprintable()


def test_repositories_are_fetched(monkeypatch, places):
    asked = []

    def download_bundle(repository, **options):
        asked.append((repository, options))
        return places

    monkeypatch.setattr("l4f_plugin.checkpoints.download.download_bundle", download_bundle)
    assert catalogue.resolve("someone/l4f-dogs", token="t", with_discriminator=True) == places
    assert catalogue.resolve("far") == places
    assert asked == [("someone/l4f-dogs", {"token": "t", "with_discriminator": True}),
                     ("someone/far", {"with_discriminator": False, "revision": "v1"})]


@pytest.mark.parametrize("content", [
    "{", "[]", "{}", '{"schema_version": 2, "classes": {}}', '{"schema_version": 1, "classes": []}',
    '{"schema_version": 1, "classes": {"a": {}}}',
    '{"schema_version": 1, "classes": {"a": {"title": "", "licence": "", "resolution": 32, "folder": ".."}}}',
    '{"schema_version": 1, "classes": {"a": {"title": "", "licence": "", "resolution": 3.5, "folder": "a"}}}'])
def test_a_damaged_catalogue_is_told(places, content):
    (places / "weights/catalogue.json").write_text(content)
    with pytest.raises(UserError, match="catalogue.json is damaged"):
        catalogue.classes()


def test_without_a_catalogue_there_are_the_users_own(places):
    (places / "weights/catalogue.json").unlink()
    assert catalogue.classes() == []


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("LABELS4FREE_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert catalogue.models_folder() == tmp_path / "cache/labels4free/models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert catalogue.cache_folder() == tmp_path / "home/.cache/labels4free"


def test_the_command_lists_them(capsys, places):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["--json"])) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in listed] == ["absent", "far", "shipped"]
    assert listed[2]["installed"] is True and listed[2]["resolution"] == 32
    assert command.run(parser.parse_args([])) == 0
    text = capsys.readouterr().out
    assert "shipped" in text and "not installed" in text and str(places / "models") in text


def test_the_shipped_catalogue_is_sound_and_read_without_torch():
    root = Path(__file__).parents[1]
    code = ("import sys; from l4f_plugin.checkpoints.catalogue import classes\n"
            "names = [entry.name for entry in classes()]\n"
            "assert 'avatar' in names, names\n"
            "assert not {'torch', 'huggingface_hub', 'gradio'} & set(sys.modules), 'too much was imported'")
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
