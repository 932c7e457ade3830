"""Data sets of the Hub as pictures to train with, from the loopback Hub."""

import io
import zipfile

import pytest
from pixels import encoded, noise
from sentences import refusal

from l4f_plugin.errors import Cancelled
from l4f_plugin.hub import data_sets
from l4f_plugin.jobs import CancelToken
from l4f_plugin.training.picture_survey import place_of, survey


def png(seed: int) -> bytes:
    return encoded(noise(40, 40, 3, seed=seed))


@pytest.fixture
def hub(loopback_hub):
    files = {f"train/{kind}/{number}.png": png(number) for number, kind in enumerate(["one", "one", "two"])}
    loopback_hub.put("someone/pictures", files | {"README.md": b"# hers", "train/metadata.csv": b"file_name"})
    return loopback_hub


def test_a_data_set_of_folders_is_fetched_once_and_looked_at(hub):
    told = []
    folder = place_of("someone/pictures", lambda done, total, message: told.append((done, total)))
    assert survey(folder).usable == 3 and told == [(0, 3), (1, 3), (2, 3)]
    assert not list(folder.rglob("README.md"))
    before = sum(request.method == "GET" and "resolve" in request.path for request in hub.requests)
    assert place_of("someone/pictures") == folder
    assert sum(request.method == "GET" and "resolve" in request.path for request in hub.requests) == before


def test_a_data_set_that_is_one_archive_is_read_as_it_is(hub):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.png", png(number))
    hub.put("someone/packed", {"all.zip": packed.getvalue()})
    place = place_of("someone/packed")
    assert place.name == "all.zip" and survey(place).usable == 4


def test_what_cannot_be_used_is_said_before_anything_is_fetched(hub, monkeypatch):
    hub.put("someone/parquet", {"data/train.parquet": b"PAR1"})
    assert "Parquet" in refusal(place_of, "someone/parquet")
    assert "nobody/nothing" in refusal(place_of, "nobody/nothing")
    cancelled = CancelToken()
    cancelled.cancel()
    with pytest.raises(Cancelled):
        place_of("someone/pictures", cancel=cancelled)
    monkeypatch.setattr(data_sets, "MOST_FILES", 2)
    assert "holds more than 2 pictures" in refusal(place_of, "someone/pictures")
    assert not any("resolve" in request.path for request in hub.requests)


def test_a_folder_here_goes_before_a_data_set_of_that_name(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone/pictures").mkdir(parents=True)
    assert place_of("someone/pictures") == tmp_path / "someone/pictures"
    assert place_of("no such/folder here") == tmp_path / "no such/folder here"
    assert not hub.requests
