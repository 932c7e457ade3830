"""The steps of a pickle, one by one. Nothing is built here, and what reading costs is bounded.

The table of opcodes and the decoders of their arguments are the standard library's `pickletools`, which
holds no stack machine. Only the long byte strings, which hold the numbers of large arrays, are stepped over:
they stay in the file as `FileBytes` until somebody wants them.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAXIMUM_STEPS = 1_000_000
MAXIMUM_DESCRIPTION_BYTES = 1 << 27
MAXIMUM_LINE = 4096
MAXIMUM_INTEGER_BITS = 4096
MAXIMUM_HANDED_BYTES = 1 << 26
MAXIMUM_NUMBER_KEYS = 4096
STRINGS = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LINES = {"STRING": 1, "PERSID": 1, "GLOBAL": 2, "INST": 2}
_LENGTH_BYTES = {"BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}


@dataclass
class Allowance:
    """What may still be spent on a file: steps, and bytes other than those stepped over.

    A pickle and the pickles within it share one, so that nesting gains nothing. Every pickle is walked twice
    (names first), which is counted. A call may be made again and again with what was written once, so each costs what
    it is handed: an item as much as a step. `number_keys` are the numbers that may still become keys: whoever
    writes the file can choose them so that each collides with all the others, which takes quadratic time.
    """

    steps: int = MAXIMUM_STEPS
    description_bytes: int = MAXIMUM_DESCRIPTION_BYTES
    handed_bytes: int = MAXIMUM_HANDED_BYTES
    number_keys: int = MAXIMUM_NUMBER_KEYS

    def spend(self, steps: int, count: int) -> None:
        self.steps -= steps
        self.description_bytes -= count
        if self.steps < 0:
            raise ValueError("it holds more steps than weights need")
        if self.description_bytes < 0:
            raise ValueError("it holds a longer description than weights need")

    def spend_on_call(self, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            if isinstance(argument, (list, tuple, dict, set, frozenset)):
                self.spend(len(argument), 0)
            elif isinstance(argument, (str, bytes)):
                self.handed_bytes -= len(argument)
        if self.handed_bytes < 0:
            raise ValueError("it asks for more work than weights need")

    def takes_number_key(self) -> bool:
        """Whether one more number may become a key."""
        self.number_keys -= 1
        return self.number_keys >= 0


@dataclass(frozen=True, eq=False)
class FileBytes:
    """A byte string that is still in the file: `length` bytes from `offset`."""

    file: BinaryIO = field(repr=False)
    offset: int
    length: int

    @classmethod
    def of(cls, content: Any) -> FileBytes:
        """Byte strings from a file or from memory as one thing. Raises `ValueError` for anything else."""
        if isinstance(content, FileBytes):
            return content
        if not isinstance(content, bytes):
            raise ValueError("something else stands where bytes belong")
        return cls(io.BytesIO(content), 0, len(content))

    def read(self) -> bytearray:
        """The bytes, in memory of their own. The file stands where it stood before."""
        content = bytearray(self.length)
        position = self.file.tell()
        self.file.seek(self.offset)
        try:
            if self.file.readinto(content) != self.length:
                raise ValueError("it is cut short")
        finally:
            self.file.seek(position)
        return content


class PickleStream:
    """The window [tell, tell + limit) of a binary file, as the decoders of `pickletools` read it.

    Never asks the file for more bytes than the window holds, and lines are of bounded length.
    """

    def __init__(self, file: BinaryIO, limit: int, allowance: Allowance):
        self.file = file
        self.end = file.tell() + limit
        self.allowance = allowance

    def read(self, count: int) -> bytes:
        self._check(count)
        self.allowance.spend(0, count)
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(max(0, min(MAXIMUM_LINE, self.end - self.file.tell())))
        self.allowance.spend(0, len(line))
        return line

    def text_line(self) -> str:
        """A line as it is written: `pickletools` would undo escapes, and warn about those it does not know."""
        line = self.readline()
        if line[-1:] != b"\n":
            raise ValueError("it ends in the middle of a line or has a longer one than weights need")
        return line[:-1].decode("utf-8")

    def step_over(self, length_bytes: int) -> FileBytes:
        """Steps over a length of `length_bytes` bytes and as many bytes as it says."""
        length = int.from_bytes(self.read(length_bytes), "little")
        self._check(length)
        content = FileBytes(self.file, self.file.tell(), length)
        self.file.seek(content.offset + length)
        return content

    def _check(self, count: int) -> None:
        if not 0 <= count <= self.end - self.file.tell():
            raise ValueError("it ends in the middle of a value or is larger than a weight file's")


def opcodes(stream: PickleStream) -> Iterator[tuple[str, Any]]:
    """The (name, argument) pairs up to STOP. The argument of GLOBAL and INST is "module.name".

    Raises `ValueError` on more than a file may hold.
    """
    count, name = 0, ""
    while name != "STOP":
        code = stream.read(1)
        if code not in _OPCODES:
            raise ValueError("it holds a step that no pickle has")
        opcode = _OPCODES[code]
        name, argument = opcode.name, None
        if name in _LENGTH_BYTES:
            argument = stream.step_over(_LENGTH_BYTES[name])
        elif name in _LINES:
            argument = ".".join(stream.text_line() for _ in range(_LINES[name]))
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
        stream.allowance.spend(1, 0)
        if name in PUTS and not 0 <= argument <= count:
            raise ValueError("a memo position runs ahead")
        if isinstance(argument, int) and argument.bit_length() > MAXIMUM_INTEGER_BITS:
            raise ValueError("it holds a number larger than any that weights need")
        yield name, argument
        count += 1


def names_in(stream: PickleStream) -> Iterator[str]:
    """Every "module.name" that the pickle mentions, without building anything.

    A name that is not written out as two strings right before its use raises `ValueError`: no
    pickler writes such a thing.
    """
    memo: dict[int, str | None] = {}
    recent: list[str | None] = [None, None]
    for name, argument in opcodes(stream):
        if name in ("FRAME", "PROTO"):
            continue
        if name == "MEMOIZE" or name in PUTS:
            memo[len(memo) if name == "MEMOIZE" else argument] = recent[1]
            continue
        if name in ("GLOBAL", "INST"):
            yield argument
        elif name == "STACK_GLOBAL":
            if None in recent:
                raise ValueError("it hides a name that it uses")
            yield ".".join(part or "" for part in recent)
        known = argument if name in STRINGS else memo.get(argument) if name in GETS else None
        recent = [recent[1], known]
