"""Files that people have: what is no checkpoint says what it is, style codes of other projectors are read."""

import collections
import datetime
import gzip
import io
import os
import pickle
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from alike import assert_same_weights
from bundles import saved as bundle_at
from bundles import tiny_bundle
from safetensors.torch import save
from sentences import refusal
from test_conversion import tiny

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.convert import checkpoint_files
from l4f_plugin.convert.checkpoint_files import open_checkpoint
from l4f_plugin.convert.conversion import read_published
from l4f_plugin.errors import UserError
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.provenance import WPlus


class Own(torch.nn.Module):
    """A module without any of torch's own within."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))


def saved(value, **options) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


def scripted() -> bytes:
    content = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), content)
    return content.getvalue()


def arrays(write, *values, **named) -> bytes:
    content = io.BytesIO()
    write(content, *values, **named)
    return content.getvalue()


def zipped(compression=zipfile.ZIP_DEFLATED, encrypted: bool = False) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("model.pt", b"x" * 1000)
    packed = bytearray(content.getvalue())
    if encrypted:  # the flag in the local header and in the directory at the end
        packed[6] |= 1
        packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


LINEAR = torch.nn.Linear(2, 2)
KINDS = {
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n", "git lfs pull"),
    "a git-annex pointer": (b"/annex/objects/SHA256E-s123--abc.pkl\n", "git annex get"),
    "a git-annex link as a file": (b"../../.git/annex/objects/Xx/1q/a.pkl", "git annex get"),
    "a page": (b"<!DOCTYPE html><html><title>Sign in</title></html>", "a web page"),
    "a page with a mark and a prologue": (b'\xef\xbb\xbf\n<?xml version="1.0"?>\n<HTML>', "a web page"),
    "a server's JSON": (b'{"error":"Repository not found"}', "a JSON text"),
    "a server's XML": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "an XML text"),
    "a server's word": (b"Entry not found", "is a text"),
    "a server's sentence": (b"Access to model x/y is restricted. You must be authenticated.", "is a text"),
    "nothing": (b"", "is empty"),
    "zeros": (bytes(5000), "filled with zeros"),
    "TorchScript": (scripted(), "TorchScript"),
    "a module": (saved(LINEAR), "whole pickled module"),
    "a module of the old layout": (saved(LINEAR, _use_new_zipfile_serialization=False), "whole pickled module"),
    "a module of one's own": (saved({"g_ema": Own()}), "whole pickled module"),
    "a packed file": (gzip.compress(b"x" * 100), "packed with gzip"),
    "a ZIP file": (zipped(), "unpack it"),
    "an encrypted ZIP file": (zipped(encrypted=True), "an encrypted ZIP file"),
    "style codes": (arrays(np.savez, w=np.zeros((1, 2, 3))), "style codes"),
    "compressed style codes": (arrays(np.savez_compressed, w=np.zeros((1, 2, 3))), "style codes"),
    "one array": (arrays(np.save, np.zeros(3)), "style codes"),
    "Stable Diffusion": (save({"model.diffusion_model.a": torch.zeros(1)}), "a Stable Diffusion checkpoint"),
    "Stable Diffusion as .ckpt": (saved({"state_dict": {"model.diffusion_model.a": torch.zeros(1)}}),
                                  "a Stable Diffusion checkpoint"),
    "a LoRA": (save({"lora_unet_down.weight": torch.zeros(1)}), "a LoRA"),
    "another network": (save({"x": torch.zeros(1)}), "another network"),
    "codes of ours": (save({"w_plus": torch.zeros(1)}), "--w-plus"),
    "a file of a bundle": (save({"projections.0.weight": torch.zeros(1)}), "give the folder"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(100), "a GGUF model"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x051.13", "an ONNX model"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "a picture"),
    "a download cut short": (saved({"a": torch.zeros(1000)})[:3000], "cut short"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_checkpoint_says_what_it_is(tmp_path, name):
    content, words = KINDS[name]
    (tmp_path / "file.pkl").write_bytes(content)
    assert words in refusal(read_published, tmp_path / "file.pkl")


def test_weights_of_a_bundle_may_be_pointers_too(tmp_path):
    bundle_at(tmp_path / "class")
    (tmp_path / "class/generator.safetensors").write_bytes(KINDS["a Git LFS pointer"][0])
    assert "git lfs pull" in refusal(load_bundle, tmp_path / "class")


EXTRAS = {
    "best": np.float64(0.25),
    "step": np.int64(7),
    "seen": np.uint32(9),
    "name": np.str_("run"),
    "flag": np.bool_(True),
    "random": np.random.get_state(),
    "array": np.arange(6, dtype=np.uint16).reshape(2, 3),
    "counts": collections.Counter("abca"),
    "losses": collections.defaultdict(list, d=[1.0]),
    "nested": collections.defaultdict(collections.OrderedDict),
    "last": collections.deque([1, 2], maxlen=5),
    "kinds": {1, 2},
    "fixed": frozenset("ab"),
    "complex": 1 + 2j,
    "bytes": b"\x00\xff",
    "buffer": bytearray(b"ab"),
    "when": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    "took": datetime.timedelta(1),
    "where": Path("a/b"),
    "share": Fraction(1, 3),
    "range": range(3),
    "history": {step: 0.5 for step in range(20_000)},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "stream"])
def test_harmless_extras_do_no_harm(tmp_path, protocol, archive):
    state = tiny()
    torch.save(state | EXTRAS, tmp_path / "c.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    torch.save(state, tmp_path / "plain.pt")
    assert_same_weights(*(read_published(tmp_path / f"{name}.pt").generator for name in ("c", "plain")))
    with open_checkpoint(tmp_path / "c.pt") as root:
        assert (root["best"], root["step"], root["seen"], root["name"]) == (0.25, 7, 9, "run")
        assert root["counts"] == {"a": 2, "b": 1, "c": 1} and root["losses"] == {"d": [1.0]}
        assert root["last"] == [1, 2] and root["kinds"] == [1, 2] and sorted(root["fixed"]) == ["a", "b"]


# --- style codes


@pytest.fixture(scope="module")
def pipeline():
    return Labels4FreePipeline(tiny_bundle(), "cpu")


CODES = np.random.default_rng(0).normal(size=(8, 7)).astype(np.float32)
TENSOR = torch.from_numpy(CODES)
NOISE = [torch.randn(1, 1, 4, 4)]
READ = {
    "projected_w.npz": arrays(np.savez, w=CODES[None]),
    "compressed.npz": arrays(np.savez_compressed, w=CODES[None]),
    "named.npz": arrays(np.savez, latent=CODES, noise=np.zeros(3)),
    "alone.npz": arrays(np.savez, CODES),
    "w.npy": arrays(np.save, CODES[None]),
    "table.npy": arrays(np.save, CODES.astype(np.float64)),
    "fortran.npy": arrays(np.save, np.asfortranarray(CODES)),
    "tensor.pt": saved(TENSOR[None]),
    "half.pt": saved({"latent": TENSOR.double()}),
    "rosinality.pt": saved({"photo.png": {"img": torch.zeros(3, 9, 9), "latent": TENSOR, "noise": NOISE}}),
    "old rosinality.pt": saved({"noises": NOISE, "photo.png": {"img": torch.zeros(3, 9, 9), "latent": TENSOR}},
                               _use_new_zipfile_serialization=False),
    "an array.pt": saved({"w": CODES}),
    "without an ending": arrays(np.savez, w=CODES[None]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_codes_of_other_projectors_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(READ[name])
    found = WPlus.load(tmp_path / name)
    assert found.noise_seed is None and found.codes.dtype == np.float32
    np.testing.assert_allclose(found.codes, CODES, atol=0)


@pytest.mark.parametrize("content", [arrays(np.save, CODES[:1]), saved({"a.png": {"latent": TENSOR[0]}})])
def test_one_style_serves_all_layers(tmp_path, pipeline, content):
    (tmp_path / "w").write_bytes(content)
    drawn, wanted = pipeline.segment(WPlus.load(tmp_path / "w")), pipeline.segment(WPlus(np.repeat(CODES[:1], 8, 0)))
    assert np.array_equal(drawn.image, wanted.image) and drawn.w_plus.codes.shape == (8, 7)


def test_codes_of_another_class_are_refused_in_a_sentence(tmp_path, pipeline):
    (tmp_path / "w.npz").write_bytes(arrays(np.savez, w=np.zeros((1, 18, 512), np.float32)))
    with pytest.raises(UserError, match=r"\[18, 512\] and tiny takes \[8, 7\]"):
        pipeline.segment(WPlus.load(tmp_path / "w.npz"))


class Touch:
    def __reduce__(self):
        return os.system, ("touch ran",)


def lying_header() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1099511627776, 7), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)


def bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", arrays(np.save, np.zeros((1 << 23,), np.float32)))
    return content.getvalue()


REFUSED = {
    "objects.npy": (arrays(np.save, np.array([Touch()], object), allow_pickle=True), "damaged"),
    "objects.npz": (arrays(np.savez, w=np.array([Touch()], object)), "damaged"),
    "call.pt": (pickle.dumps({"w": Touch()}), "system, which"),
    "call in a ZIP.pt": (saved({"w": Touch()}), "system, which"),
    "numbers.npy": (arrays(np.save, np.zeros((8, 7), np.int32)), "int32"),
    "lies.npy": (lying_header(), "damaged"),
    "cut.npy": (READ["w.npy"][:-9], "damaged"),
    "bomb.npz": (bomb(), "too large"),
    "three.npy": (arrays(np.save, np.zeros((3, 8, 7), np.float32)), "codes of 3 pictures"),
    "two.pt": (saved({name: {"latent": TENSOR} for name in ("a.png", "b.png")}), r"2 pictures \(a.png, b.png\)"),
    "several.npz": (arrays(np.savez, x=CODES, y=CODES), "several arrays"),
    "weights.pt": (saved({"g_ema": {"input.input": TENSOR}}), "holds no W\\+ codes"),
    "pointer.npz": (KINDS["a Git LFS pointer"][0], "git lfs pull"),
    "page.npy": (KINDS["a page"][0], "web page"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_of_codes_are_refused_in_a_sentence_and_run_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, words = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    told = refusal(WPlus.load, tmp_path / name)
    assert re.search(words, told) and str(tmp_path) not in told
    assert not (tmp_path / "ran").exists()


# --- what is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "lost link"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind):
    bundle_at(tmp_path / "class")
    words = {"pipe": "a pipe", "device": "a device", "folder": "a folder", "lost link": "a link"}[kind]

    def put(path: Path) -> Path:
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero" if kind == "device" else tmp_path / "nowhere")
        return path

    for read in (read_published, WPlus.load):
        assert words in refusal(read, put(tmp_path / read.__name__))
    for name, expected in (("README.md", None), ("generator.safetensors", words), ("config.json", words)):
        put(tmp_path / "class" / name)
        if expected is None:
            assert load_bundle(tmp_path / "class").model_card is None
        else:
            assert expected in refusal(load_bundle, tmp_path / "class") or kind == "lost link"


def test_a_disk_that_fails_is_named_and_not_the_file(tmp_path, monkeypatch):
    torch.save(tiny(), tmp_path / "c.pt")

    class Failing(io.FileIO):
        def readinto(self, buffer):
            if self.tell() > 1000:
                raise OSError(5, "Input/output error")
            return super().readinto(buffer)

    monkeypatch.setattr(checkpoint_files, "open_plain", lambda path: io.BufferedReader(Failing(path), 512))
    assert "Input/output error" in refusal(read_published, tmp_path / "c.pt")
