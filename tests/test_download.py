"""Classes from a Hub on the loopback: fetched, checked, converted, found again, removed. See `hub_server`."""

import hashlib
import os
from pathlib import Path

import huggingface_hub
import pytest
import torch
from bundles import saved, tiny_bundle
from hub_server import TENSORFLOW, catalogue_entry, environment, stored, write_catalogue
from sentences import refusal
from shell import assert_refused, ended, start, start_l4f

from l4f_plugin.bundles import catalogue, licences, records
from l4f_plugin.bundles.bundle import load_bundle, save_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.hub import removal
from l4f_plugin.hub.download import resolve
from l4f_plugin.hub.repository import Source, cached
from l4f_plugin.jobs import CancelToken
from l4f_plugin.networks import AlphaNetwork
from l4f_plugin.pipeline import Labels4FreePipeline

ROSINALITY = Path(__file__).parent / "data/goldens/l4f_256_generator.pt"
DOGS = "someone/l4f-dogs"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The folder of a bundle with all networks."""
    return saved(tmp_path_factory.mktemp("bundle") / "dogs", title="Dogs")


@pytest.fixture
def hub(loopback_hub, tmp_path, bundle):
    """A Hub with a bundle and two published checkpoints, which a user's catalogue names "faces" and "things"."""
    loopback_hub.put_folder(DOGS, bundle)
    faces, things = ROSINALITY.read_bytes(), TENSORFLOW.read_bytes()
    loopback_hub.put("someone/checkpoints", {"a/faces.pt": faces, "things.pkl": things})
    said = {"licence": "NC", "terms": "not for sale", "source": "made by somebody"}
    write_catalogue(
        tmp_path,
        things=catalogue_entry(things, "things.pkl", truncation_psi=0.4, alpha_threshold=0.8),
        faces=catalogue_entry(faces, "a/faces.pt", resolution=256, crop=[0, 256, 32, 224], **said),
    )
    return loopback_hub


def fetched(home: Path) -> list[Path]:
    """What lies in huggingface_hub's cache, but for its locks and notes."""
    files = [path for path in (home / "hf").rglob("*") if path.is_file()]
    return [path for path in files if path.suffix not in (".lock", ".TAG")]


# Bundles


def test_a_bundle_by_its_id(hub, bundle, tmp_path):
    calls = []
    folder = resolve(DOGS, progress=lambda *call: calls.append(call))
    assert torch.equal(load_bundle(folder).generator.synthesis.constant, tiny_bundle().generator.synthesis.constant)
    assert (folder / "README.md").read_bytes() == (bundle / "README.md").read_bytes()
    assert not (folder / "discriminator.safetensors").exists()  # only training needs it
    size = (bundle / "generator.safetensors").stat().st_size
    assert (size, size, "Downloading generator.safetensors") in calls
    assert tmp_path / "hf/hub" in folder.parents
    hub.requests.clear()  # the second use asks nobody
    assert resolve(DOGS) == folder and Labels4FreePipeline.from_pretrained(DOGS, device="cpu").resolution == 32
    assert catalogue.look_up(DOGS).installed and hub.requests == []


def test_what_was_fetched_is_listed_verified_and_removed(hub, tmp_path):
    resolve(DOGS)
    entry = catalogue.look_up(DOGS)
    assert entry.verified and entry.masks and entry.title == "Dogs"
    assert entry.revision == hub.repositories[DOGS].commit
    assert catalogue.verify(DOGS) == Path(entry.location)
    removed = removal.remove(DOGS)
    assert removed.bytes == entry.bytes_on_disk
    assert DOGS not in [item.name for item in catalogue.classes()]
    assert fetched(tmp_path) == []
    assert resolve(DOGS)  # and can be had again


def test_the_discriminator_comes_when_it_is_wanted(hub):
    resolve(DOGS)
    hub.requests.clear()
    assert load_bundle(resolve(DOGS, with_discriminator=True), with_discriminator=True).discriminator is not None
    assert [request.path.rpartition("/")[2] for request in stored(hub)] == ["discriminator.safetensors"]


def test_the_cache_is_huggingface_hubs_own(hub):
    """What we fetch its client finds, without fetching a weight; what it fetched we find, without asking."""
    folder = resolve(DOGS, with_discriminator=True)
    hub.requests.clear()
    theirs = huggingface_hub.snapshot_download(DOGS)
    assert Path(theirs) == folder and not stored(hub)
    removal.remove(DOGS)
    huggingface_hub.snapshot_download(DOGS)
    hub.requests.clear()
    assert resolve(DOGS) == folder and hub.requests == []


def test_force_fetches_what_is_new_and_mends_what_is_damaged(hub, tmp_path, bundle):
    first = resolve(DOGS)
    blob = (first / "generator.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert "its sha256 differs" in refusal(catalogue.verify, DOGS)
    assert resolve(DOGS, force_download=True) == first and catalogue.verify(DOGS)
    hub.put_folder(DOGS, saved(tmp_path / "new", seed=7, title="Other dogs"))
    assert resolve(DOGS) == first
    second = resolve(DOGS, force_download=True)
    assert second != first and resolve(DOGS) == second and catalogue.look_up(DOGS).title == "Other dogs"


def test_a_revision_of_its_own(hub, tmp_path):
    commit = hub.repositories[DOGS].commit
    own = saved(tmp_path / "models/someone--l4f-dogs", seed=7)
    assert resolve(DOGS) == own
    assert resolve(DOGS, revision=commit).name == commit
    assert "no such revision" in refusal(resolve, DOGS, revision="v9")
    assert "is no revision" in refusal(resolve, DOGS, revision="../../..")


def test_a_bundle_whose_licence_restricts_use(hub, tmp_path):
    hub.put_folder("someone/nc", saved(tmp_path / "nc", licence="CC-BY-NC-4.0"))
    with pytest.raises(licences.NotAccepted, match="l4f download someone/nc --accept-licence"):
        resolve("someone/nc")
    assert not stored(hub)
    resolve("someone/nc", accept_licence=True)
    removal.remove("someone/nc")
    resolve("someone/nc")  # once is enough


def test_what_is_no_bundle_is_told(hub):
    hub.put("someone/else", {"config.json": b"{}"})
    assert "'schema_version' is missing" in refusal(resolve, "someone/else")
    hub.put("someone/else", {"model.bin": b"x"})
    assert "lacks a file that is needed" in refusal(resolve, "someone/else")
    del hub.repositories[DOGS].files["README.md"]  # a model card is not
    assert load_bundle(resolve(DOGS))


# Published checkpoints


def test_a_checkpoint_becomes_a_bundle_once(hub, tmp_path):
    with pytest.raises(licences.NotAccepted, match="faces is under NC: not for sale"):
        resolve("faces")
    assert hub.requests == []
    calls, size = [], ROSINALITY.stat().st_size
    folder = resolve("faces", accept_licence=True, progress=lambda *call: calls.append(call))
    assert folder == tmp_path / "models/faces"
    messages = dict.fromkeys(message for _, _, message in calls)
    assert list(messages) == ["Downloading faces.pt", "Checking faces.pt", "Converting faces.pt"]
    assert (size, size, "Downloading faces.pt") in calls
    hub.requests.clear()
    assert resolve("faces") == folder and hub.requests == []
    config = read_config(folder)
    digest, commit = hashlib.sha256(ROSINALITY.read_bytes()).hexdigest(), hub.repositories["someone/checkpoints"].commit
    assert (config.name, config.licence, config.crop) == ("faces", "NC", (0, 256, 32, 224))
    assert config.source == f"made by somebody; a/faces.pt of someone/checkpoints at {commit}, sha256 {digest}"
    [sample] = Labels4FreePipeline.from_pretrained("faces", device="cpu").generate([1])
    assert sample.image.shape == (256, 192, 3)


def test_what_a_killed_removal_leaves_goes_when_the_class_comes_back(hub, tmp_path, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    resolve("things")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(removal, "delete", killed)
        removal.remove("things")
    hidden = [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
    assert len(hidden) == 1 and not catalogue.look_up("things").installed
    os.utime(hidden[0], (0, 0))  # another program may still be at a young one
    assert [path for path in resolve("things").parent.iterdir() if path.is_dir()] == [tmp_path / "models/things"]


@pytest.mark.parametrize("apart", [False, True])
def test_nvidias_layout(hub, monkeypatch, apart):
    if apart:
        monkeypatch.setattr("l4f_plugin.convert.child_process.LARGE_BYTES", 1)
    folder = resolve("things")
    assert (read_config(folder).truncation_psi, read_config(folder).alpha_threshold) == (0.4, 0.8)
    entry = catalogue.look_up("things")
    assert entry.installed and entry.verified and not entry.masks
    assert load_bundle(folder, with_discriminator=True).discriminator is not None


@pytest.mark.parametrize("said", [None, "variable", "argument"])
def test_the_original_is_dropped_or_kept_as_set(hub, tmp_path, monkeypatch, said):
    if said == "variable":
        monkeypatch.setenv("LABELS4FREE_KEEP_ORIGINALS", "1")
    resolve("things", keep_original=said == "argument")
    kept = cached(Source("someone/checkpoints"), "things.pkl")
    assert (kept is not None) == (said is not None)
    assert bool(fetched(tmp_path)) == (said is not None)
    if said:
        removal.remove("things")
        assert cached(Source("someone/checkpoints"), "things.pkl") is None


def test_an_original_that_was_there_is_used_and_stays(hub):
    theirs = huggingface_hub.hf_hub_download("someone/checkpoints", "things.pkl")
    hub.requests.clear()
    resolve("things")
    assert hub.requests == [] and Path(theirs).is_file()


def test_no_partial_bundle_is_ever_to_be_seen(hub, tmp_path):
    seen = []
    resolve("things", progress=lambda *_: seen.append(catalogue.look_up("things").installed))
    assert seen and not any(seen)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [".things.lock", "catalogue.json", "things"]


def test_a_folder_with_other_files_is_left_alone(hub, tmp_path):
    (tmp_path / "models/things").mkdir()
    (tmp_path / "models/things/thesis.txt").write_text("mine")
    assert "holds other files and was left alone" in refusal(resolve, "things")
    assert (tmp_path / "models/things/thesis.txt").read_text() == "mine" and hub.requests == []


def test_force_never_costs_learned_masks(hub, tmp_path):
    resolve("things")
    resolve("things", force_download=True)
    bundle = load_bundle(tmp_path / "models/things")
    bundle.alpha = AlphaNetwork(bundle.generator.config.feature_channels)
    save_bundle(bundle, tmp_path / "models/things")
    with pytest.raises(UserError, match="has masks .* would be lost"):
        resolve("things", force_download=True)


def test_the_catalogue_may_be_wrong_about_the_size_of_pictures(hub, tmp_path):
    write_catalogue(tmp_path, things=catalogue_entry(TENSORFLOW.read_bytes(), "things.pkl", resolution=64))
    assert "a generator of 32 px where the catalogue says 64" in refusal(resolve, "things")
    assert not (tmp_path / "models/things").exists()


# Without the Hub


def test_offline_says_what_to_put_where(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "models/things.pkl"
    assert refusal(resolve, "things") == (
        f"things.pkl is not on this computer and HF_HUB_OFFLINE is set; go online, or get things.pkl from "
        f"{hub.address}/someone/checkpoints on another computer and put it at {place}."
    )
    place.write_bytes(TENSORFLOW.read_bytes()[:-1] + b"?")
    assert "is not things.pkl as it was published" in refusal(resolve, "things")
    place.write_bytes(TENSORFLOW.read_bytes())
    assert load_bundle(resolve("things")) and place.is_file() and hub.requests == []


def test_nothing_is_fetched_that_may_not_be(hub):
    for name in (DOGS, "things"):
        assert "nothing may be fetched" in refusal(resolve, name, local_files_only=True)
    assert hub.requests == []


def test_nobody_answers(hub):
    hub.__exit__()
    with pytest.raises(UserError, match="could not be fetched .*; check the connection .*, or get things.pkl from"):
        resolve("things")


# Whoever asks


@pytest.mark.parametrize("access", ["private", "gated"])
def test_private_and_gated_repositories_want_the_token_which_stays_with_the_hub(hub, bundle, monkeypatch, access):
    hub.put_folder(DOGS, bundle, **{access: True})
    expected = {"private": "check the name, or log in", "gated": "accept its terms on its page of the Hub, then log in"}
    assert expected[access] in refusal(resolve, DOGS)
    assert "replace a token that has expired" in refusal(resolve, DOGS, token="hf_wrong")
    hub.requests.clear()
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert resolve(DOGS)
    files = stored(hub)
    assert files and all(request.host.startswith("localhost") and request.token is None for request in files)
    assert {request.token for request in hub.requests if "storage" not in request.path} == {hub.token}


# Cancelled, and at once


def test_cancel_and_go_on(hub):
    token, size = CancelToken(), TENSORFLOW.stat().st_size

    def progress(done, total, message):
        if done > size // 2:
            token.cancel()

    with pytest.raises(Cancelled):
        resolve("things", progress=progress, cancel=token)
    assert not catalogue.look_up("things").installed
    hub.requests.clear()
    resolve("things")
    [request] = stored(hub)
    assert request.position > size // 2


@pytest.mark.parametrize("name", [DOGS, "things"])
def test_ten_processes_at_once_end_with_one_good_bundle(hub, tmp_path, name):
    code = f"from l4f_plugin.hub.download import resolve; print(resolve({name!r}))"
    processes = [start(code, env=environment(hub, tmp_path)) for _ in range(10)]
    answers = list(map(ended, processes))
    assert {answer.code for answer in answers} == {0}, answers
    [folder] = {answer.out.strip() for answer in answers}
    assert load_bundle(Path(folder))
    paths = [request.path for request in stored(hub)]
    assert len(paths) == len(set(paths)), "something was downloaded twice"


def test_the_environment_is_honoured(hub, tmp_path):
    """HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE as a shell sets them."""
    hub.repositories[DOGS].private = True

    def download(**more):
        return ended(start_l4f("download", DOGS, env=environment(hub, tmp_path, **more)))

    assert "HF_HUB_OFFLINE is set" in download(HF_HUB_OFFLINE="1").err and hub.requests == []
    assert_refused(download(), "The Hub has no repository someone/l4f-dogs")
    done = download(HF_TOKEN=hub.token)
    assert done.code == 0 and str(tmp_path / "hf/hub") in done.out, done.err
    assert "Downloading generator.safetensors" in done.err
    assert download(HF_HUB_OFFLINE="1").out == done.out


def test_a_terminal_sees_a_bar(hub, tmp_path):
    pty = pytest.importorskip("pty", reason="this system has no terminals to open")
    ours, theirs = pty.openpty()
    with start_l4f("download", DOGS, env=environment(hub, tmp_path), stderr=theirs):
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:
            pass  # how a closed terminal ends on Linux
    os.close(ours)
    assert b"Downloading generator.safetensors: 100%" in seen


def test_a_record_that_cannot_be_written_is_no_failure(hub, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert load_bundle(resolve("things")) and not records.recall("things")
