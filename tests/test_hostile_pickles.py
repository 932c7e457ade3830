"""Hostile checkpoints: refused in words, never run, in bounded memory, by the library and by the command line.

One process with little memory to spare converts the whole corpus; a fuzzer changes bytes of good files. The long
form of the fuzzer runs for L4F_FUZZ_SECONDS seconds.
"""

import functools
import io
import json
import os
import time
from argparse import Namespace
from pathlib import Path

import hostile_files
import nvidia_files
import pytest
import torch
from bundles import tiny_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from shell import ended, start
from test_conversion import tiny

from l4f_plugin.convert.conversion import read_published
from l4f_plugin.errors import UserError

MEMORY = 700 << 20
LARGE_ARRAY = "an array of 3 GiB"
FUZZ_SECONDS = float(os.environ.get("L4F_FUZZ_SECONDS", "0"))

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


class Outcomes:
    """The corpus, and what became of each file."""

    def __init__(self, folder: Path):
        self.folder = folder
        bundle = tiny_bundle()
        before = os.getcwd()
        os.chdir(folder)
        try:
            self.corpus = hostile_files.corpus()
            good = nvidia_files.tensorflow_root(bundle.generator, bundle.discriminator)
            nvidia_files.write(good, folder / "good.pkl")
        finally:
            os.chdir(before)
        for number, (content, _) in enumerate(self.corpus.values()):
            (folder / f"{number:03}.hostile").write_bytes(content)
        self._write_large(folder / f"{len(self.corpus):03}.hostile")
        self.corpus[LARGE_ARRAY] = (b"", "")
        done = ended(start(CONVERT_ALL, folder, MEMORY, cwd=folder))
        assert done.code == 0, done.err[-2000:]
        answers = json.loads(done.out.splitlines()[-1])
        self.by_name = dict(zip(self.corpus, (answers[key] for key in sorted(answers)), strict=True))

    @staticmethod
    def _write_large(path: Path) -> None:
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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return Outcomes(tmp_path_factory.mktemp("hostile"))


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [name for part in hostile_files.BY_NAME for name in part()] + [LARGE_ARRAY])


def check(outcomes: Outcomes, case: str) -> None:
    message, code, said, written = outcomes.by_name[case]
    assert message is not None, "it was converted"
    assert outcomes.corpus[case][1] in message
    assert message.isprintable() and message.endswith(".") and len(message) < 600
    assert code == 2 and said.splitlines()[-1] == f"l4f: {message}"
    assert not written


def test_each_is_refused_in_one_sentence_by_library_and_command(outcomes, case):
    check(outcomes, case)


def test_calls_hidden_in_real_files_and_cut_files_are_refused(outcomes):
    rest = [name for name in outcomes.corpus if " in " in name or " cut " in name or "without its end" in name]
    assert len(rest) > 30
    for name in rest:
        check(outcomes, name)


def test_nothing_was_run(outcomes):
    assert len(outcomes.by_name) > 150
    found = {path.name for path in outcomes.folder.iterdir() if path.suffix != ".hostile"}
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


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(sample=st.integers(0, 7), changes=CHANGES)
def test_changed_files_end_in_a_sentence_or_in_networks(tmp_path, monkeypatch, sample, changes):
    monkeypatch.chdir(tmp_path)
    survives(changed(samples()[sample], changes), tmp_path / "fuzzed.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["fuzzed.pkl"]


@pytest.mark.skipif(not FUZZ_SECONDS, reason="set L4F_FUZZ_SECONDS for the long form")
def test_changed_files_for_a_long_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    end, seed, tried = time.monotonic() + FUZZ_SECONDS, int(os.environ.get("L4F_FUZZ_SEED", "1")), 0
    samples()

    @settings(max_examples=1000, database=None, derandomize=False, suppress_health_check=list(HealthCheck))
    @given(sample=st.integers(0, 7), changes=CHANGES)
    def once(sample, changes):
        nonlocal tried
        if time.monotonic() < end:
            tried += 1
            survives(changed(samples()[sample], changes), tmp_path / "fuzzed.pkl")

    while time.monotonic() < end:
        with_seed(seed)(once)()
        seed += 1
    assert [path.name for path in tmp_path.iterdir()] == ["fuzzed.pkl"]
    print(f"{tried} files in {FUZZ_SECONDS:.0f} s")
