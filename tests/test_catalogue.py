"""The list of classes, how a name becomes a folder, and a user's own catalogue."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import saved
from sentences import refusal

from l4f_plugin.architecture import GeneratorConfig, published_channels
from l4f_plugin.bundles import catalogue, licences, records
from l4f_plugin.errors import UserError
from l4f_plugin.hub.download import resolve

NVIDIA = {  # bytes and sha256 of what NVIDIA published
    "ffhq": (381673535, "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d", 1024),
    "horse": (357418027, "cbc73372c7d82d095913ca8b4b9f170560777175bd7c3b8a75dd55d70807f32b", 256),
    "cat": (357418027, "08940fd616cfaf6bc7b0286b5d1a0b3f70febb26e136d64716c8d3f5e9bd3883", 256),
    "car": (364027523, "e1618eee2b3ce87c4a3849442f7850ef12a478556bff035c8e09ee7e23b3794c", 512),
}
ENTRY = {"title": "T", "resolution": 32, "licence": "CC0-1.0"}


def catalogue_of(classes: object) -> str:
    return json.dumps({"schema_version": 1, "classes": classes})


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A weights folder with a shipped class, an absent one and two on the Hub; an empty models folder."""
    weights = tmp_path / "weights"
    saved(weights / "shipped")
    pinned = {"repository": "someone/pickles", "file": "a/b.pkl", "bytes": 5, "sha256": "0" * 64}
    table = {
        "shipped": {**ENTRY, "folder": "shipped"},
        "absent": {**ENTRY, "folder": "absent"},
        "far": {**ENTRY, "repository": "someone/far", "revision": "v1"},
        "foreign": {**ENTRY, **pinned, "terms": "not for sale", "licence_url": "https://example.org/licence"},
    }
    (weights / "catalogue.json").write_text(catalogue_of(table))
    monkeypatch.setattr(catalogue, "WEIGHTS_FOLDER", weights)
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own_catalogue(places, **table):
    (places / "models").mkdir(exist_ok=True)
    (places / "models/catalogue.json").write_text(catalogue_of(table))


# The list


def test_every_class_says_whether_it_is_there_and_what_a_person_wants_to_know(places):
    classes = {item.name: item for item in catalogue.classes()}
    assert {name: item.installed for name, item in classes.items()} == {
        "absent": False, "far": False, "foreign": False, "shipped": True
    }  # fmt: skip
    assert list(classes) == sorted(classes) and classes["far"].location == "hub: someone/far"
    shipped, foreign, folder = classes["shipped"], classes["foreign"], places / "weights/shipped"
    assert shipped.shipped and shipped.location == str(folder)
    assert shipped.bytes_on_disk == sum(path.stat().st_size for path in folder.iterdir())
    assert shipped.masks and not shipped.verified and shipped.terms is None and shipped.memory_bytes > 0
    assert not foreign.masks and foreign.download_bytes == 5 and foreign.bytes_on_disk == 0
    assert foreign.terms == "CC0-1.0: not for sale (https://example.org/licence)"


def test_bundles_put_into_the_models_folder_are_found(places):
    saved(places / "models/dogs", title="Dogs")
    (places / "models/no bundle").mkdir()
    (places / "models/file").touch()
    dogs = catalogue.look_up("dogs")
    assert (dogs.title, dogs.installed, dogs.resolution) == ("Dogs", True, 32)
    assert resolve("dogs") == places / "models/dogs"
    assert len(catalogue.classes()) == 5


def test_a_bundle_of_the_user_stands_before_a_shipped_one_and_for_a_repository(places):
    saved(places / "models/shipped", title="Mine")
    assert catalogue.look_up("shipped").title == "Mine" and not catalogue.look_up("shipped").shipped
    assert resolve("shipped") == places / "models/shipped"
    saved(places / "models/someone--l4f-dogs")
    assert resolve("Someone/l4f-dogs") == places / "models/someone--l4f-dogs"


def test_a_damaged_bundle_is_listed_with_its_problem(places):
    (places / "models/broken").mkdir(parents=True)
    (places / "models/broken/config.json").write_text("{")
    assert not catalogue.look_up("broken").installed and "not JSON" in catalogue.look_up("broken").problem


def test_verified_means_untouched_since_and_one_folder_only(places):
    folder = saved(places / "models/shipped")
    records.remember("shipped", folder)
    assert catalogue.look_up("shipped").verified and not records.recall("shipped", places / "weights/shipped")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config + " ")
    assert not catalogue.look_up("shipped").verified
    records.remember("shipped", folder)
    (places / "cache/labels4free/records/shipped.json").write_text("[[[")
    assert not records.recall("shipped") and not catalogue.look_up("shipped").verified


# From a name to a folder


def test_a_folder_in_the_working_directory_hides_no_class(places):
    assert resolve("shipped") == places / "weights/shipped"
    saved(places / "shipped")
    assert resolve("shipped") == places / "weights/shipped"
    assert resolve("./shipped") == resolve(places / "shipped") == places / "shipped"
    assert catalogue.verify("shipped") == places / "weights/shipped" and catalogue.look_up("shipped").verified
    assert catalogue.verify("./shipped") == catalogue.verify(Path("shipped")) == Path("shipped")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("absent", "weights of absent are missing"),
        ("nothing", "the classes are: absent, far, foreign, shipped"),
        *((name, "is no class") for name in ("", "../shipped", "/nowhere", "a/b/c", "a\nb", Path("someone/far"))),
        ("weights/catalogue.json", "l4f convert"),
    ],
)
def test_what_cannot_be_resolved(name, expected):
    assert expected in refusal(resolve, name)


# Catalogue files


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"schema_version": 2, "classes": {}}', catalogue_of([]), catalogue_of({"a": 1})]
)
@pytest.mark.parametrize(("folder", "remedy"), [("weights", "fetch Labels4Free again"), ("models", "mend or remove")])
def test_a_damaged_catalogue_is_told(places, content, folder, remedy):
    (places / folder).mkdir(exist_ok=True)
    (places / folder / "catalogue.json").write_text(content)
    assert ("catalogue.json is damaged; " + remedy) in refusal(catalogue.classes)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"folder": "..", "repository": "a/b"},
        *({"folder": "a", "resolution": value} for value in (3.5, 48)),
        *({"folder": "a", "title": value} for value in ("", "two\nlines")),
        *({"folder": "a", "truncation_psi": value} for value in (7, "1")),
        *({"folder": "a", "crop": value} for value in ([0, 0, 0, 0], 5)),
        {"folder": "a", "terms": 5},
        {"folder": 3},
        {"repository": "nobody"},
        {"repository": "a/b", "revision": "../.."},
        *({"repository": "a/b", "file": value} for value in ("../b.pkl", "/b.pkl")),
        *({"repository": "a/b", "file": "b.pkl", **pin} for pin in ({"bytes": -1}, {"sha256": "zz"})),
    ],
)
def test_a_class_with_a_wrong_field_or_name_is_told(places, fields):
    own_catalogue(places, mine={**ENTRY, **fields})
    with pytest.raises(UserError, match="class mine is damaged: .*; mend it in .*models/catalogue.json"):
        catalogue.classes()
    own_catalogue(places, **{"../x": {**ENTRY, "folder": "a"}})
    assert "class '../x' is damaged: 'name' must hold" in refusal(catalogue.classes)


def test_a_users_catalogue_is_merged_over_ours(places):
    saved(places / "models/elsewhere/mine")
    own_catalogue(
        places,
        mine={**ENTRY, "title": "Mine", "folder": "elsewhere/mine"},
        foreign={"truncation_psi": 0.25},
        far={"repository": "me/near"},
    )
    known = catalogue.read_catalogue()
    assert resolve("mine") == places / "models/elsewhere/mine"
    assert known["foreign"].truncation_psi == 0.25 and known["foreign"].file == "a/b.pkl"
    # another repository takes nothing along that was said of the former one
    assert (known["far"].repository, known["far"].fetched_revision) == ("me/near", None)


def test_a_users_catalogue_may_lie_elsewhere(places, monkeypatch):
    (places / "mine.json").write_text(catalogue_of({"x": {**ENTRY, "folder": "x"}}))
    monkeypatch.setenv("LABELS4FREE_CATALOGUE", str(places / "mine.json"))
    assert catalogue.read_catalogue()["x"].folder == places / "x"


def test_without_a_catalogue_there_are_the_users_own(places):
    (places / "weights/catalogue.json").unlink()
    assert catalogue.classes() == []


# Licences


def test_a_licence_is_accepted_once_a_class(places):
    wanted = catalogue.look_up("foreign")
    with pytest.raises(licences.NotAccepted, match="foreign is under CC0-1.0: not for sale .* --accept-licence"):
        licences.demand(wanted)
    licences.demand(wanted, accepted=True)
    licences.demand(wanted)
    assert catalogue.look_up("foreign").terms is None
    assert not licences.is_accepted(replace(wanted, name="far"))
    assert not licences.is_accepted(replace(wanted, licence="another licence"))
    (places / "models/licences.json").write_text("[]")
    assert not licences.is_accepted(wanted)


RESTRICTED = ("CC-BY-NC-4.0", "NVIDIA Source Code License-NC", "Creative Commons NonCommercial", "non-commercial")


@pytest.mark.parametrize("name", [*RESTRICTED, "CC-BY-4.0", "Apache-2.0", "unknown", "NCSA"])
def test_names_of_licences_that_restrict_use(name):
    assert (licences.restriction(name) is not None) == (name in RESTRICTED)


# The shipped catalogue


def test_the_shipped_catalogue_pins_what_nvidia_published(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("LABELS4FREE_CATALOGUE", "/nowhere/catalogue.json")
    known = catalogue.read_catalogue()
    assert set(known) == {"avatar", "garments", *NVIDIA} and known["avatar"].folder.name == "avatar"
    for name, (size, digest, resolution) in NVIDIA.items():
        described = known[name]
        assert (described.download_bytes, described.sha256, described.resolution) == (size, digest, resolution)
        assert (described.repository, described.fetched_revision) == ("ZeqiangLai/StyleGAN2-pkl", "main")
        assert described.file == f"stylegan2/stylegan2-{name}-config-f.pkl"
        assert described.licence == "NVIDIA Source Code License-NC" and "non-commercial" in described.conditions
        assert not described.brings_masks and (described.truncation_psi, described.alpha_threshold) == (0.5, 0.9)
        assert described.crop == ((64, 448, 0, 512) if name == "car" else None)


def test_memory_is_of_the_right_size():
    channels = published_channels(1024)
    assert channels[4] == 512 and channels[64] == 512 and channels[1024] == 32 and len(channels) == 9
    weights = 4 * 30e6  # what every published 1024 px generator has, about
    features = 4 * 2 * sum(channels[size] * size**2 for size in (32, 64, 128, 256, 512, 1024))
    assert weights + features < GeneratorConfig(1024, channels).memory_bytes < weights + 3 * features


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    from l4f_plugin.bundles import folders

    monkeypatch.delenv("LABELS4FREE_MODELS")
    assert folders.models_folder() == tmp_path / "cache/labels4free/models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folders.cache_folder() == tmp_path / "home/.cache/labels4free"
