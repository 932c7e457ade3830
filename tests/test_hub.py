"""The Hub's three methods over local folders, and its errors in words. Nothing here uses the network."""

import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bundles import saved, tiny_bundle
from huggingface_hub import HfApi, ModelHubMixin, errors

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.hub.hub import HubMixin
from l4f_plugin.hub.hub_errors import hub_errors


class Pipeline(HubMixin):
    """As small as a class with the mixin can be; its arguments carry names that the config has too."""

    def __init__(self, bundle, device=None, title="unset", **options):
        self.bundle, self.device, self.title, self.options = bundle, device, title, options


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tmp_path / "models"))
    return saved(tmp_path / "tiny", card="# made by hand\n")


def same_generator(left, right) -> bool:
    return torch.equal(left.generator.synthesis.constant, right.generator.synthesis.constant)


def test_it_is_a_hub_mixin():
    assert issubclass(Pipeline, ModelHubMixin)
    theirs, ours = (inspect.signature(kind.from_pretrained).parameters for kind in (ModelHubMixin, HubMixin))
    removed = {"proxies", "resume_download", "model_kwargs"}
    assert set(theirs) - removed <= set(ours)
    for name in ("repo_id", "push_to_hub", "config", "model_card_kwargs"):
        assert name in inspect.signature(HubMixin.save_pretrained).parameters


@pytest.mark.parametrize("given", [str, Path])
def test_from_a_folder_with_options_for_the_class_and_back(folder, tmp_path, given):
    pipeline = Pipeline.from_pretrained(given(folder), device="cpu", noise="none")
    assert same_generator(pipeline.bundle, tiny_bundle())
    assert (pipeline.device, pipeline.options) == ("cpu", {"noise": "none"})
    assert pipeline.title == "unset"  # entries of config.json are not arguments
    assert pipeline.save_pretrained(tmp_path / "saved") is None
    assert same_generator(Pipeline.from_pretrained(tmp_path / "saved").bundle, pipeline.bundle)
    assert (tmp_path / "saved/README.md").read_text() == "# made by hand\n"


def test_push_to_hub_uploads_a_whole_bundle(folder, monkeypatch, tmp_path):
    uploaded = {}

    def upload_folder(self, *, repo_id, folder_path, **options):
        names = sorted(path.name for path in Path(folder_path).iterdir())
        uploaded.update(repo_id=repo_id, options=options, bundle=load_bundle(folder_path), names=names)
        return "https://example.org/commit"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **_: SimpleNamespace(repo_id=repo_id))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    pipeline = Pipeline.from_pretrained(folder)
    assert pipeline.push_to_hub("me/tiny", private=True) == "https://example.org/commit"
    networks = [f"{name}.safetensors" for name in ("alpha", "background", "generator")]
    assert uploaded["names"] == sorted(["README.md", "config.json", *networks])
    assert same_generator(uploaded["bundle"], pipeline.bundle)
    pipeline.save_pretrained(tmp_path / "named", push_to_hub=True, commit_message="hello")
    assert uploaded["repo_id"] == "named" and uploaded["options"]["commit_message"] == "hello"
    assert same_generator(load_bundle(tmp_path / "named"), pipeline.bundle)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("unknown", "may not be passed on"),
        ("NVIDIA Source Code License-NC", "must go along with tiny; use: l4f publish"),
    ],
)
def test_push_to_hub_passes_nothing_on_without_its_terms(folder, licence, expected):
    pipeline = Pipeline.from_pretrained(folder)
    pipeline.bundle.config = replace(pipeline.bundle.config, licence=licence)
    with pytest.raises(UserError, match=expected):
        pipeline.push_to_hub("me/tiny")


@pytest.mark.parametrize(
    ("error", "writing", "expected"),
    [
        (errors.LocalEntryNotFoundError("x"), False, "put its files at"),
        (errors.HFValidationError("x"), False, "OWNER/NAME"),
        (ConnectionError("Authorization: Bearer hf_secret"), True, "could not be uploaded"),
    ],
)
def test_other_failures_become_one_sentence(error, writing, expected):
    with pytest.raises(UserError, match=expected) as told, hub_errors("someone/dogs", writing=writing):
        raise error
    assert "hf_secret" not in str(told.value)


@pytest.mark.parametrize("error", [UserError("mine"), Cancelled(), ZeroDivisionError()])
def test_what_is_not_the_hubs_passes(error):
    with pytest.raises(type(error)) as caught, hub_errors("someone/dogs"):
        raise error
    assert caught.value is error
