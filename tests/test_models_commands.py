"""`l4f classes`, `download`, `verify`, `remove` and `learn-masks` as people and programs use them."""

import io
import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundles import OF_MASKS, saved, tiny_bundle
from hub_server import TENSORFLOW as CHECKPOINT
from hub_server import environment, offer_things
from models_page import maskless
from sentences import refusal
from shell import assert_refused, run, start

from l4f_plugin.bundles import catalogue
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.hub.download import resolve
from l4f_plugin.training import learning
from l4f_plugin.training.recipes import AlphaSettings

DOGS = "someone/l4f-dogs"
TINY = AlphaSettings(steps=6, batch_size=2, discriminator_channel_max=8, feature_dtype="float32", least_area_weight=1.0)


@pytest.fixture
def hub(loopback_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    offer_things(loopback_hub, tmp_path, licence="NC", terms="not for sale", licence_url="https://example.org/nc")
    loopback_hub.put_folder(DOGS, saved(tmp_path / "source", title="Dogs"))
    return loopback_hub


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_classes_tells_people_and_programs(hub, capsys, tmp_path):
    maskless(tmp_path)
    code, out, _ = run(capsys, "classes")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "things A class, 32 x 32 px, licence NC, no masks yet" in lines
    assert any(line.startswith("not installed, 3 MB to download, ") for line in lines)
    assert "asks you to accept NC: not for sale (https://example.org/nc)" in lines
    assert "learn masks with: l4f learn-masks plain" in lines
    assert any(line.startswith("installed, not verified, ") and "on disk" in line for line in lines)
    assert f"Bundles put into {tmp_path / 'models'} are found by their folder's name." in lines
    listed = {item["name"]: item for item in json.loads(run(capsys, "classes", "--json")[1])}
    assert listed["things"]["download_bytes"] == CHECKPOINT.stat().st_size and not listed["things"]["installed"]
    assert listed["plain"]["installed"] and listed["plain"]["masks"] is False
    assert set(listed["plain"]) >= {"memory_bytes", "bytes_on_disk", "revision", "verified", "licence", "location"}


def test_download_wants_the_licence_accepted(hub, capsys, tmp_path, monkeypatch):
    code, out, err = run(capsys, "download", "things")
    assert code == 2 and out == "" and hub.requests == []
    assert err == (
        "l4f: things is under NC: not for sale (https://example.org/nc); read that, and if you agree, "
        "accept it once with: l4f download things --accept-licence.\n"
    )
    code, out, err = run(capsys, "download", "things", "--accept-licence")
    assert (code, out) == (0, f"things is in {tmp_path / 'models/things'}\n")
    assert "Downloading things.pkl (3.4 MB)\n" in err and "Converting things.pkl\n" in err
    run(capsys, "remove", "things", "--yes")
    assert run(capsys, "download", "things")[0] == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("", 2)])
def test_download_asks_on_a_terminal(hub, capsys, monkeypatch, answer, code):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    got, _, err = run(capsys, "download", "things")
    assert got == code and "things is under NC: not for sale (https://example.org/nc). Do you accept that? [y/N]" in err
    assert catalogue.look_up("things").installed == (code == 0)


def test_download_answers_programs(hub, capsys):
    answer = run(capsys, "download", DOGS, "--json").data
    assert answer["class"]["verified"] and answer["class"]["name"] == DOGS
    assert load_bundle(Path(answer["folder"]))


def test_a_class_without_masks_draws_pictures(hub, capsys, tmp_path):
    maskless(tmp_path)
    code, out, err = run(capsys, "generate", "plain", "--seeds", "1", "--out", tmp_path / "out", "--device", "cpu")
    assert code == 0 and "has no masks yet; learn them with: l4f learn-masks" in err
    assert sorted(os.listdir(tmp_path / "out")) == ["seed0001.png", "seed0001_background.png"]


def test_verify(hub, no_shipped_class, capsys, tmp_path):
    assert run(capsys, "verify") == (0, "No class is installed; `l4f classes` lists what there is.\n", "")
    folder = maskless(tmp_path)
    assert run(capsys, "verify")[:2] == (0, "plain: verified\n")
    assert catalogue.look_up("plain").verified
    path = folder / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert not catalogue.look_up("plain").verified
    code, out, err = run(capsys, "verify", "plain")
    assert code == 2 and out == "" and err.startswith("l4f: plain: ") and "its sha256 differs" in err
    [result] = json.loads(run(capsys, "verify", "--json")[1])
    assert result["class"] == "plain" and not result["verified"] and "sha256" in result["problem"]
    assert "fetch it with: l4f download things" in run(capsys, "verify", "things")[2]
    assert "is not in the list of classes" in run(capsys, "verify", "nothing")[2]
    (folder / "config.json").write_text("{")
    assert "not JSON" in run(capsys, "verify")[2]
    assert run(capsys, "verify", tmp_path / "source")[0] == 0, "a folder by its path"


def test_remove_asks(hub, capsys, tmp_path, monkeypatch):
    folder = maskless(tmp_path)
    code, _, err = run(capsys, "remove", "plain")
    assert code == 2 and "if that is meant, add --yes" in err and folder.is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    code, _, err = run(capsys, "remove", "plain")
    assert code == 1 and "Nothing was deleted" in err and str(folder) in err and folder.is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert run(capsys, "remove", "plain")[0] == 0 and not folder.exists()
    assert not list((tmp_path / "models").glob("*.partial"))


def test_remove_answers_programs(hub, capsys, tmp_path):
    folder = maskless(tmp_path)
    size = sum(path.stat().st_size for path in folder.iterdir())
    answer = run(capsys, "remove plain --yes --json").data
    assert answer == {"class": "plain", "bytes": size, "paths": [str(folder)]}


def test_remove_has_limits(hub, capsys, tmp_path, monkeypatch):
    saved(tmp_path / "weights/basic")
    entry = {"title": "B", "licence": "CC0-1.0", "resolution": 32, "folder": "basic"}
    (tmp_path / "weights/catalogue.json").write_text(json.dumps({"schema_version": 1, "classes": {"basic": entry}}))
    monkeypatch.setattr(catalogue, "WEIGHTS_FOLDER", tmp_path / "weights")
    assert "is a part of Labels4Free" in run(capsys, "remove", "basic", "--yes")[2]
    assert "Nothing of things is on this computer" in run(capsys, "remove", "things", "--yes")[2]
    (tmp_path / "models/things.pkl").write_bytes(b"mine")
    said = run(capsys, "remove", "things", "--yes")[2]
    assert f"but for {tmp_path / 'models/things.pkl'}, which you put there" in said
    for name in ("nothing", "..", "../source", tmp_path / "source"):
        assert "is not in the list of classes" in run(capsys, "remove", name, "--yes")[2]
    assert (tmp_path / "source").is_dir()


def generator_of(folder: Path) -> torch.Tensor:
    return load_bundle(folder).generator.synthesis.constant


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(learning, "mask_settings", lambda config, device: TINY)


A_TIME = r"(less than a|about \d+) minutes?"


def test_learn_masks(hub, capsys, tmp_path, quick):
    folder = maskless(tmp_path, truncation_psi=0.4, alpha_threshold=0.9)
    before = generator_of(folder)
    code, out, err = run(capsys, "learn-masks", "plain", "--device", "cpu")
    assert code == 0 and out == f"plain has masks now: {folder}\n", err
    assert re.search(f"Learning masks takes {A_TIME} on this device\\.", err)
    config = read_config(folder)
    assert "alpha.safetensors" in config.files and "background.safetensors" in config.files
    assert (config.truncation_psi, config.alpha_threshold) == (0.4, 0.5)
    assert "learned on this generator" in (folder / "README.md").read_text()
    assert torch.equal(before, generator_of(folder)) and catalogue.look_up("plain").verified
    assert list((tmp_path / "cache/labels4free/masks").glob("plain.*/*")) == []
    said = run(capsys, "learn-masks plain")
    assert_refused(said, "has masks already; learn them anew with: l4f learn-masks plain --again")
    assert run(capsys, "learn-masks", "plain", "--again", "--device", "cpu")[0] == 0


def test_how_long_it_would_take(hub, capsys, tmp_path, quick):
    folder = maskless(tmp_path)
    code, out, _ = run(capsys, "learn-masks", "plain", "--estimate", "--device", "cpu")
    assert code == 0 and re.fullmatch(f"Learning masks for plain takes {A_TIME} on this device\\.\n", out)
    assert json.loads(run(capsys, "learn-masks", "plain", "--estimate", "--json", "--device", "cpu")[1])["seconds"] > 0
    assert "alpha.safetensors" not in read_config(folder).files


def test_killed_learning_goes_on(hub, tmp_path):
    maskless(tmp_path)
    code = """
        import time; from l4f_plugin.training import learning, loop
        from test_models_commands import TINY
        save = loop.save
        def slow(trainer, folder):
            save(trainer, folder)
            if trainer.rounds: print("saved", flush=True); time.sleep(60)
        loop.save = slow
        learning.learn_masks("plain", device="cpu", settings=TINY, save_seconds=0, report=lambda m: None)
    """
    process = start(code, env=environment(hub, tmp_path))
    assert process.stdout.readline() == "saved\n", process.communicate()
    assert "by another program; wait for it" in refusal(learning.learn_masks, "plain", device="cpu", settings=TINY)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.communicate()
    said = []
    folder = learning.learn_masks("plain", device="cpu", settings=TINY, report=said.append)
    assert "Going on from step 1." in said and load_bundle(folder).alpha is not None


def test_a_class_that_is_not_the_users_gets_a_bundle_of_its_own(hub, capsys, tmp_path):
    hub.put_folder("someone/plain", saved(tmp_path / "plain", without=OF_MASKS))
    fetched = resolve("someone/plain")
    folder = learning.learn_masks("someone/plain", device="cpu", settings=TINY)
    assert folder == tmp_path / "models/someone--plain" == resolve("someone/plain")
    assert load_bundle(folder, with_discriminator=True).discriminator is not None
    assert "alpha.safetensors" not in read_config(fetched).files
    entry = catalogue.look_up("someone--plain")
    assert entry.masks and entry.revision == hub.repositories["someone/plain"].commit
    run(capsys, "remove", "someone/plain", "--yes")
    assert not folder.exists() and not fetched.exists()


def test_only_what_is_here_can_learn(hub, capsys, tmp_path):
    assert "fetch it with: l4f download things" in run(capsys, "learn-masks", "things")[2]
    assert "is not in the list of classes" in run(capsys, "learn-masks", "someone/unknown")[2]
    assert hub.requests == []


def test_the_recipe_fits_the_size_of_pictures():
    for resolution, batch in ((64, 16), (256, 16), (512, 8), (1024, 4)):
        config = tiny_bundle().config
        sides = {4 << step: 8 for step in range(resolution.bit_length() - 2)}
        config = replace(config, generator=replace(config.generator, resolution=resolution, channels=sides))
        assert learning.mask_settings(config, torch.device("cpu")).batch_size == batch
