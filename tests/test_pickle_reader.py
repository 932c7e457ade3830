"""The restricted reader: reads real checkpoints of every layout, refuses all else by name, runs nothing."""

import argparse
import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path

import hostile_files
import pytest
import torch
from hostile_files import call, named, number, pack, text
from sentences import refusal
from shell import ended, start

from l4f_plugin.convert.checkpoint_files import open_checkpoint
from l4f_plugin.convert.pickles import Record, read_pickle
from l4f_plugin.convert.stored_tensors import VOCABULARY, StoredTensor

GOLDENS = Path(__file__).parent / "data" / "goldens"


def materialise(value):
    if isinstance(value, StoredTensor):
        return value.read()
    if isinstance(value, dict):
        return {key: materialise(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(materialise(item) for item in value)
    return value


def read(path):
    with open_checkpoint(path) as root:
        return materialise(root)


def assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        assert_same(list(ours.values()), list(theirs.values()))
    elif isinstance(theirs, (list, tuple)):
        for left, right in zip(ours, theirs, strict=True):
            assert_same(left, right)
    elif isinstance(theirs, argparse.Namespace):
        assert isinstance(ours, Record) and ours.name == "argparse.Namespace" and ours.state == vars(theirs)
    else:
        assert ours == theirs


def training_checkpoint():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 5, 5)).sum().backward()
    optimiser.step()
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "g": torch.nn.DataParallel(model).state_dict(),
        "g_optim": optimiser.state_dict(),
        "args": argparse.Namespace(size=256, lr=2e-4, ckpt=None, betas=(0.0, 0.99), big=2**70, name="é"),
        "ada_aug_p": 0.25,
        "views": [base[1:, ::2], base.t(), base[2, 3]],
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "kinds": [torch.ones(3, dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.int64, torch.bool)],
    }


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_training_checkpoint_of_either_layout_is_read_exactly(tmp_path, archive, protocol):
    state = training_checkpoint()
    torch.save(state, tmp_path / "c.pt", _use_new_zipfile_serialization=archive, pickle_protocol=protocol)
    assert_same(read(tmp_path / "c.pt"), state)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_survive_every_protocol(protocol):
    value = {"a": [1, -1, 2**40, 1.5, None, True, "ü\n", (1, (2,), ()), {}], 3: collections.OrderedDict(x=1)}
    data = pickle.dumps(value, protocol)
    assert read_pickle(io.BytesIO(data), len(data), VOCABULARY, "it") == value


def as_archive(content: bytes, path: Path, extra: dict | None = None, compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", content)
        for name, data in (extra or {}).items():
            archive.writestr(f"a/{name}", data)
    return path


CALLS = hostile_files.functions_at_every_protocol()
TORCH = {
    "a call of a constant": b"ctorch\nFloatStorage\n)R.",
    "a call with a list": b"ccollections\nOrderedDict\n]R.",
    "a state for a class": b"ccollections\nOrderedDict\nN}X\x08\x00\x00\x00functionNs\x86b.",
    "a state for a number type": b"ctorch\nfloat32\nN}X\x01\x00\x00\x00xNs\x86b.",
    "a tensor without storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)))N}tR.",
    "a module as persistent id": b"X\x06\x00\x00\x00module\x85Q.",
    "a persistent id in text": b"Pstorage\n.",
    "our own marks": b"cl4f\ntable\n)R.",
    "a million steps": b"N0" * 500_000 + b".",
    "half a million nested lists without an end": b"]" * 500_000,
}
HOSTILE = {name: content for name, (content, _) in hostile_files.opcodes().items()} | TORCH


@pytest.mark.parametrize("name", [*CALLS, *HOSTILE])
def test_hostile_pickles_in_an_archive_are_refused_in_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, expected = CALLS[name] if name in CALLS else (HOSTILE[name], "")
    path = as_archive(content, tmp_path / "bad.pt")
    if name == "a frame of 1 PiB":  # frames only help reading ahead
        assert read(path) is None
        return
    assert expected in refusal(read, path) and not (tmp_path / "ran").exists()


def test_deep_nesting_and_cycles_do_no_harm(tmp_path):
    for content in (b"]" * 200_000 + b"a" * 199_999 + b".", b"\x80\x02]q\x00h\x00a."):
        with open_checkpoint(as_archive(content, tmp_path / "deep.pt")) as root:
            assert isinstance(root, list) and isinstance(root[0], list)


def tensor_pickle(elements, offset, shape, stride, key="0") -> bytes:
    """A pickle of one tensor with any numbers one likes."""

    def value(item):
        return text(item) if isinstance(item, str) else number(item)

    storage = pack(text("storage"), named("torch.FloatStorage"), text(key), text("cpu"), number(elements)) + b"Q"
    parts = [number(offset), pack(*map(value, shape)), pack(*map(value, stride)), b"\x89", b"}"]
    return b"\x80\x02" + call("torch._utils._rebuild_tensor_v2", storage, *parts) + b"."


def test_a_hand_made_tensor_is_read(tmp_path):
    content = tensor_pickle(4, 1, (3,), (1,))
    path = as_archive(content, tmp_path / "t.pt", {"data/0": struct.pack("<4f", 1, 2, 3, 4)})
    assert read(path).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("elements", "offset", "shape", "stride", "size"),
    [
        (4, 2, (3,), (1,), 16),  # reaches beyond the end
        (4, 0, (2, 2), (1, 3), 16),  # stride beyond the end
        (1, 0, (2**40,), (0,), 4),  # would unfold to a terabyte
        (1, 0, (2**31, 2**31, 2**31), (0, 0, 0), 4),
        (4, -1, (2,), (1,), 16),
        (4, 3, (2,), (-1,), 16),
        (4, 0, (2,), (1, 1), 16),
        (4, 0, (1,) * 40, (1,) * 40, 16),
        (4, 0, ("2",), (1,), 16),
        (2**40, 0, (4,), (1,), 16),  # claims more than the member holds
        (-4, 0, (4,), (1,), 16),
        (3, 0, (3,), (1,), 16),  # claims less
        (4, 0, (4,), (1,), None),  # the member is missing
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(tmp_path, elements, offset, shape, stride, size):
    extra = {} if size is None else {"data/0": bytes(size)}
    assert refusal(read, as_archive(tensor_pickle(elements, offset, shape, stride), tmp_path / "t.pt", extra))


def test_a_storage_key_cannot_leave_its_folder(tmp_path):
    path = as_archive(tensor_pickle(2, 0, (2,), (1,), key="../data.pkl"), tmp_path / "t.pt")
    assert "storage is missing" in refusal(read, path)


def test_a_compressed_archive_is_refused(tmp_path):
    bomb = b"\x80\x04" + b"\x8c\x01x" * 200_000 + b"."
    assert "compressed" in refusal(read, as_archive(bomb, tmp_path / "bomb.pt", compression=zipfile.ZIP_DEFLATED))


def test_an_oversized_description_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("l4f_plugin.convert.checkpoint_files.MAXIMUM_PICKLE_BYTES", 1000)
    assert "larger description" in refusal(read, as_archive(b"N" * 2000 + b".", tmp_path / "t.pt"))


def test_other_files_are_refused(tmp_path):
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    for content in (b"", b"PK", b"PK\x03\x04", b"not weights at all", b"\x80", magic):
        (tmp_path / "x.pt").write_bytes(content)
        assert refusal(read, tmp_path / "x.pt")


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "stream"])
def test_a_file_cut_anywhere_is_refused(tmp_path, archive):
    path = tmp_path / "c.pt"
    torch.save({"a": torch.arange(100.0), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:cut])
        assert refusal(read, path)


def test_a_flipped_bit_in_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    whole = bytearray(path.read_bytes())
    position = whole.find(bytes(4000))
    whole[position + 100] ^= 1
    path.write_bytes(whole)
    assert "damaged" in refusal(read, path)


def test_the_reader_finds_nothing_by_itself(tmp_path):
    """What would import modules or run a file's code is never asked, and nothing outside the vocabulary is found."""
    code = """
        import builtins, pickle, torch, sys
        from l4f_plugin.convert.checkpoint_files import open_checkpoint
        def never(*a, **k): raise SystemExit("something was looked up")
        pickle.load = pickle.loads = torch.load = builtins.__import__ = never
        sys.addaudithook(lambda event, _: never() if event in ("pickle.find_class", "import", "exec") else None)
        with open_checkpoint(sys.argv[1]) as root: print(sorted(root))
    """
    said = ended(start(code, GOLDENS / "l4f_256_alpha_training.pt"))
    assert "bg_extractor" in said.out, said.err
