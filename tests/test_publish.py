"""Publishing a class: what the licence allows, what the repository holds, and the way to the Hub."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from alike import assert_alike_samples
from bundles import saved
from hub_server import environment
from PIL import Image
from sentences import refusal
from shell import ended, run, start_l4f

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.errors import UserError
from l4f_plugin.hub.sharing.model_repository import Publication, prepare, publish
from l4f_plugin.hub.sharing.terms import ATTRIBUTION_FILE, LICENCE_FILE, Declared, terms_of
from l4f_plugin.hub.sharing.upload import upload
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.sample_sheet import draw_samples

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "l4f_plugin/hub/sharing/licence_texts"


def bundle_at(folder: Path, **made) -> Path:
    return saved(folder, **{"alpha_origin": "learned", **made})


def terms(folder: Path, **declared):
    return terms_of(read_config(folder), folder, Declared(**declared))


@pytest.fixture
def models(own_folders) -> Path:
    return own_folders


@pytest.fixture
def hub(models, upload_hub):
    return upload_hub


def card_of(folder: Path) -> tuple[set[str], str]:
    """The lines that the Hub reads, and all of it."""
    card = (folder / "README.md").read_text()
    return set(card.split("---\n")[1].splitlines()), card


def test_dry_run_loads_back_with_equal_outputs(models, capsys):
    source = bundle_at(models / "tiny", card="# Tiny things\n\nMade by hand.\n\n|judge|IoU|\n|---|---|\n|1|0.9|\n")
    command = ["publish", source, "me/l4f-tiny", "--dry-run", models / "out", "--json"]
    assert run(capsys, *command).data == {"repository": "me/l4f-tiny", "address": None, "folder": str(models / "out")}
    names = sorted(path.name for path in (models / "out").iterdir())
    networks = [f"{name}.safetensors" for name in ("alpha", "background", "generator")]
    assert names == sorted(["README.md", "config.json", "samples.png", *networks])
    loaded = [Labels4FreePipeline.from_pretrained(folder, device="cpu") for folder in (source, models / "out")]
    for left, right in zip(*(pipeline.generate([3, 4]) for pipeline in loaded), strict=True):
        assert_alike_samples(left, right)
    assert run(capsys, *command).code == 2  # the folder is not empty any more


def test_the_card_has_what_the_hub_reads_and_what_the_class_said(models):
    source = bundle_at(models / "tiny", card="---\nlicense: mit\n---\n\n# Tiny things\n\nMade by hand.\n")
    (models / "measured.md").write_text("## Measured\n\n|IoU|0.83|\n")
    prepare(source, "me/l4f-tiny", models / "out", Publication(measured=models / "measured.md", draw=draw_samples))
    front, card = card_of(models / "out")
    assert {"license: cc0-1.0", "library_name: labels4free-plugin", "- labels4free", "- image-segmentation"} <= front
    told = ["Made by hand.", "(samples.png)", "|IoU|0.83|", "l4f generate me/l4f-tiny", "random numbers"]
    told += ["under CC0-1.0", read_config(models / "out").files["generator.safetensors"].sha256]
    assert [words for words in told if words not in card] == []
    assert "license: mit" not in card
    with Image.open(models / "out/samples.png") as sheet:
        assert sheet.size == (8 * 36 - 4, 3 * 36 - 4) and len(sheet.getcolors(1 << 16)) > 8


def test_publishing_what_was_published_adds_nothing_twice(models):
    prepare(bundle_at(models / "tiny"), "me/first", models / "one", Publication(draw=draw_samples))
    prepare(models / "one", "me/second", models / "two", Publication(draw=draw_samples))
    first, second = ((models / name / "README.md").read_text() for name in ("one", "two"))
    assert second.count("## Provenance") == 1 and second.count("](samples.png)") == 1
    assert first.replace("me/first", "me/second") == second


@pytest.mark.parametrize(
    ("described", "text"),
    [
        ({"licence": "NVIDIA Source Code License-NC", "source": "StyleGAN2 by NVIDIA"}, "nvidia-stylegan2"),
        ({"licence": "NVIDIA Source Code License", "source": "NVIDIA's stylegan2-ada"}, "nvidia-stylegan2-ada"),
        ({"licence": "NVIDIA Source Code License", "source": "stylegan2-ada-pytorch"}, "nvidia-stylegan2-ada-pytorch"),
    ],
)
def test_nvidias_weights_carry_the_licence_and_the_tag(models, described, text):
    prepare(bundle_at(models / "tiny", **described), "me/l4f-tiny", models / "out")
    assert (models / "out" / LICENCE_FILE).read_bytes() == (TEXTS / f"{text}.txt").read_bytes()
    front, card = card_of(models / "out")
    assert {"license: other", f"license_link: {LICENCE_FILE}", "- non-commercial"} <= front
    assert "non-commercially only" in card


NVIDIAS, HORSES = "comes from weights by NVIDIA", "converted from stylegan2-horse-config-f.pkl"


@pytest.mark.parametrize(
    ("described", "declared", "sentence"),
    [
        ({"licence": "CC0-1.0", "source": "StyleGAN2 by NVIDIA"}, {}, NVIDIAS),
        ({"licence": "MIT", "source": HORSES}, {}, NVIDIAS),
        ({"licence": "unknown", "source": HORSES}, {"licence": "CC0-1.0"}, NVIDIAS),
        ({}, {"licence": "MIT"}, "is under CC0-1.0 already"),
        ({"licence": "CC-BY-4.0"}, {}, "asks for attribution"),
        ({"alpha_origin": "imported", "without": ("background",)}, {"own_masks": True}, "may not be passed on"),
        ({"alpha_origin": None, "without": ("background",)}, {}, "Nothing tells where the masks"),
    ],
)
def test_what_may_not_be_published_so_is_refused(models, described, declared, sentence):
    assert sentence in refusal(terms, bundle_at(models / "tiny", **described), **declared)


def test_unknown_licences_are_refused_until_declared(models):
    folder = bundle_at(models / "tiny", licence="unknown")
    with pytest.raises(UserError, match="licence of tiny is unknown.*--declare-licence"):
        prepare(folder, "me/l4f-tiny", models / "out")
    assert not (models / "out").exists()
    prepare(folder, "me/l4f-tiny", models / "out", Publication(Declared(licence="CC0-1.0")))
    assert read_config(models / "out").licence == "CC0-1.0"
    assert "license: cc0-1.0" in (models / "out/README.md").read_text()


def test_what_is_declared_counts(models):
    folder = bundle_at(models / "cats", licence="unknown", source=HORSES)
    assert terms(folder, licence="NVIDIA Source Code License-NC").restricted
    assert "non-commercial" in terms(bundle_at(models / "nc", licence="CC-BY-NC-4.0"), attribution="Jo").tags
    assert terms(bundle_at(models / "mine", alpha_origin=None, without=("background",)), own_masks=True)
    assert terms(bundle_at(models / "with", alpha_origin=None))  # a learned background came with them
    plain = bundle_at(models / "plain", licence="CC-BY-4.0")
    assert b"Jo" in terms(plain, attribution="Pictures by Jo").files[ATTRIBUTION_FILE]
    said = bundle_at(models / "said", card="# Tiny\n\nAttribution: pictures by Jo.\n", licence="CC-BY-SA-4.0")
    assert terms(said).licence == "CC-BY-SA-4.0"
    (plain / ATTRIBUTION_FILE).write_text("Pictures by Jo")
    prepare(plain, "me/tiny", models / "out")
    assert (models / "out" / ATTRIBUTION_FILE).read_text() == "Pictures by Jo"


def test_imported_masks_may_be_left_out(models):
    folder = bundle_at(models / "tiny", alpha_origin="imported", without=("background",))
    prepare(folder, "me/tiny", models / "out", Publication(Declared(without_masks=True)))
    assert not (models / "out/alpha.safetensors").exists()
    assert "image-segmentation" not in (models / "out/README.md").read_text()
    assert load_bundle(models / "out").alpha is None


def test_upload_makes_a_repository_and_one_commit(hub, models, monkeypatch, capsys):
    source = bundle_at(models / "tiny")
    said = run(capsys, "publish", source, "me/l4f-tiny --private")
    made = hub.repositories["me/l4f-tiny"]
    assert (made.kind, made.private, len(made.commits)) == ("model", True, 1)
    back = models / "back"
    back.mkdir()
    for name, content in made.files.items():
        (back / name).write_bytes(content)
    ours, theirs = (load_bundle(folder).generator.synthesis.constant for folder in (source, back))
    assert torch.equal(ours, theirs)
    assert said.code == 0 and f"{hub.address}/me/l4f-tiny" in said.out
    assert hub.token not in said.out + said.err


def test_an_update_takes_away_what_is_gone(hub, models):
    source = bundle_at(models / "tiny")
    publish(source, "me/l4f-tiny", Publication(draw=draw_samples))
    assert "alpha.safetensors" in hub.repositories["me/l4f-tiny"].files
    hub.repositories["me/l4f-tiny"].files["notes.md"] = b"by the owner"
    publish(source, "me/l4f-tiny", Publication(Declared(without_masks=True)))
    files = hub.repositories["me/l4f-tiny"].files
    assert "alpha.safetensors" not in files and {"notes.md", "generator.safetensors"} <= set(files)


def test_private_is_not_uploaded_to_a_public_repository(hub, models):
    source = bundle_at(models / "tiny")
    publish(source, "me/l4f-tiny", Publication(draw=draw_samples))
    commits = len(hub.repositories["me/l4f-tiny"].commits)
    assert "already and public" in refusal(publish, source, "me/l4f-tiny", Publication(private=True))
    assert len(hub.repositories["me/l4f-tiny"].commits) == commits


def test_refusals_are_one_sentence_without_the_token(hub, models, capsys):
    (models / "folder").mkdir()
    refusals = {401: "does not know who you are", 403: "does not let you write", 404: "no account or repository"}
    for status, expected in {**refusals, 429: "asked too often", 500: "trouble of its own"}.items():
        hub.refuse["/api/repos/create"] = status
        told = refusal(upload, models / "folder", "me/l4f-tiny")
        assert expected in told and hub.token not in told + "".join(capsys.readouterr())


@pytest.mark.parametrize("token", [{"HF_TOKEN": "hf_wrongwrongwrong"}, {"HF_TOKEN": ""}])
def test_a_wrong_or_missing_token_never_appears(hub, models, token):
    source = bundle_at(models / "tiny")
    env = environment(hub, models, HF_HUB_DISABLE_XET="1", **token)
    said = ended(start_l4f("publish", source, "me/l4f-tiny", env=env))
    assert said.code == 2 and "hf auth login" in said.err and "Traceback" not in said.err
    assert "hf_wrong" not in said.out + said.err and not hub.repositories


def test_names_that_are_none(models):
    source = bundle_at(models / "tiny")
    for name in ("tiny", "me/../x", "me/a/b", "", "https://example.org/me/x", "me/a--b"):
        assert "no name of a Hub repository" in refusal(publish, source, name)


def test_old_configs_have_no_origin_and_wrong_ones_are_refused(models):
    folder = bundle_at(models / "tiny")
    assert read_config(folder).alpha_origin == "learned"
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace(' "alpha_origin": "learned",\n', ""))
    assert read_config(folder).alpha_origin is None
    (folder / "config.json").write_text(text.replace('"learned"', '"found"'))
    assert "alpha_origin" in refusal(read_config, folder)
    with pytest.raises(UserError, match="alpha_origin"):
        replace(load_bundle(bundle_at(models / "other")).config, alpha_origin="found").to_json()
