"""Hostile checkpoints: refused in words, never run, in bounded memory, by the library and by the command line.

One process with little memory to spare converts the whole corpus; a fuzzer changes bytes of good files, as often as
L4F_FUZZ_EXAMPLES says.
"""

import functools
import io
import json
import os
from argparse import Namespace
from pathlib import Path

import hostile_files
import nvidia_files
import torch
from bundles import tiny_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell import ended, start
from test_conversion import tiny

from l4f_plugin.convert.conversion import read_published
from l4f_plugin.errors import UserError

MEMORY = 700 << 20
USUAL = 200
EXAMPLES = int(os.environ.get("L4F_FUZZ_EXAMPLES", USUAL))

CONVERT_ALL = """
import contextlib, io, json, sys
from pathlib import Path
import torch
from l4f_plugin import cli
from l4f_plugin.convert.conversion import convert
from l4f_plugin.errors import UserError

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
good, bundle = folder / "good.pkl", folder / "good"
convert(good, bundle)  # whatever is imported late is imported now
if sys.platform == "linux":
    import resource
    status = Path("/proc/self/status").read_text()
    used = int(status.split("VmSize:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
outcomes = {}
for source in sorted(folder.glob("*.hostile")):
    target = source.with_suffix(".bundle")
    try:
        convert(source, target)
        library = None
    except UserError as error:
        library = str(error)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.main(["convert", str(source), str(target)])
    outcomes[source.stem] = [library, code, said.getvalue(), target.exists()]
print(json.dumps(outcomes))
"""


def write_large(path: Path) -> None:
    """A generator whose constant alone is 3 GiB of zeros, which take no room on most disks."""
    size = 3 << 30
    shape = hostile_files.pack(*map(hostile_files.number, (1, size // 64, 4, 4)))
    whole = hostile_files.with_variable(hostile_files.array("f4", shape, b"SPLIT"))
    with open(path, "wb") as file:
        first, *rest = whole.split(b"SPLIT")
        for piece in rest:
            file.write(first + b"\x8e" + size.to_bytes(8, "little"))
            file.seek(size, os.SEEK_CUR)
            first = piece
        file.write(first)


def test_each_is_refused_in_one_sentence_by_library_and_command_and_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus, bundle = hostile_files.corpus(), tiny_bundle()
    nvidia_files.write(nvidia_files.tensorflow_root(bundle.generator, bundle.discriminator), tmp_path / "good.pkl")
    for number, (content, _) in enumerate(corpus.values()):
        (tmp_path / f"{number:03}.hostile").write_bytes(content)
    write_large(tmp_path / f"{len(corpus):03}.hostile")
    corpus["an array of 3 GiB"] = (b"", "")
    done = ended(start(CONVERT_ALL, tmp_path, MEMORY, cwd=tmp_path))
    assert done.code == 0, done.err[-2000:]
    outcomes = json.loads(done.out.splitlines()[-1])
    assert len(outcomes) == len(corpus) > 250
    for (name, (_, words)), key in zip(corpus.items(), sorted(outcomes), strict=True):
        message, code, said, written = outcomes[key]
        assert message is not None and not written, f"{name} was converted"
        assert words in message, name
        assert message.isprintable() and message.endswith(".") and len(message) < 600, name
        assert code == 2 and said.splitlines()[-1] == f"l4f: {message}", name
    found = {path.name for path in tmp_path.iterdir() if path.suffix != ".hostile"}
    assert found == {"good.pkl", "good"}


# --- fuzzing


@functools.cache
def samples() -> list[bytes]:
    """Good files of all layouts and several protocols, small enough to change many times."""
    bundle, path, found = tiny_bundle(), Path("sample.pkl"), []
    for root in (nvidia_files.tensorflow_root, nvidia_files.pytorch_root):
        for protocol in (2, 4, 5):
            made = nvidia_files.write(root(bundle.generator, bundle.discriminator), path, protocol)
            found.append(made.read_bytes())
            path.unlink()
    for archive in (True, False):
        content = io.BytesIO()
        torch.save(tiny() | {"args": Namespace(x=[1, (2, "three")])}, content, _use_new_zipfile_serialization=archive)
        found.append(content.getvalue())
    return found


PIECES = [bytes([code]) for code in range(256)] + [
    *(b"cos\nsystem\n", b"\x8c\x02os\x8c\x06system\x93", b"h\x00", b"q\x00", b"2\x86" * 50, b"(", b")R", b"}b", b"]a")
]
PLACES, HOW = st.integers(0, 2**32), st.sampled_from(["put", "insert", "cut", "copy"])
CHANGES = st.lists(st.tuples(PLACES, HOW, st.sampled_from(PIECES), PLACES), min_size=1, max_size=8)


def changed(content: bytes, changes: list[tuple[int, str, bytes, int]]) -> bytes:
    result = bytearray(content)
    for place, kind, piece, other in changes:
        place, other = place % len(result), other % len(result)
        if kind == "put":
            result[place : place + len(piece)] = piece
        elif kind == "insert":
            result[place:place] = piece
        elif kind == "cut":
            del result[place : place + 1 + other % 64]
        else:
            result[place : place + 32] = result[other : other + 32]
    return bytes(result)


def survives(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        bundle = read_published(path)
    except UserError as error:
        assert str(error).isprintable() and str(error).endswith(".")
    else:
        assert bundle.generator.config.resolution >= 32


@settings(max_examples=EXAMPLES, derandomize=EXAMPLES == USUAL, suppress_health_check=list(HealthCheck))
@given(sample=st.integers(0, 7), changes=CHANGES)
def test_changed_files_end_in_a_sentence_or_in_networks(tmp_path, monkeypatch, sample, changes):
    monkeypatch.chdir(tmp_path)
    survives(changed(samples()[sample], changes), tmp_path / "fuzzed.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["fuzzed.pkl"]
