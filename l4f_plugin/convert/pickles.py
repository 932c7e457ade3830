"""Reads pickles without running them: Python's own unpickler, which is given nothing to run.

Every pickle is gone through twice. The first pass walks its opcodes with the tables of `pickletools`, builds nothing,
and refuses the file by the first name outside the vocabulary, by an opcode that weights have no use for, or by what
it would cost. It writes a copy, in which long byte strings are left out (they stay in the file as `FileBytes`),
dictionaries are such that check their keys, and sets are lists. The second pass gives that copy to an `Unpickler`
which knows the names of the vocabulary and no others.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from ..errors import UserError, printable

MAXIMUM_LINE = 4096
MAXIMUM_INTEGER_BITS = 4096
LONGEST_KEY, LONGEST_TUPLE_KEY = 1 << 14, 1 << 10  # characters: equal keys are compared through to their end
MAXIMUM_KEY_PARTS, MAXIMUM_KEY_BITS = 16, 64
_LOOKED_THROUGH = 1 << 20
_MODULE_MARKS, _PERSISTENT_MARKS = (b"_modules", b"_buffers"), (b"_reconstruct_persistent_obj",)
_FAULTS = (
    pickle.UnpicklingError, ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError, MemoryError,
    RecursionError,
)  # fmt: skip

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LINES = {"STRING": 1, "PERSID": 1, "GLOBAL": 2, "INST": 2}
_LENGTH_BYTES = {"BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
_STRINGS = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_COPIED = _STRINGS | _PUTS | _GETS | {
    "PROTO", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT",
    "BINFLOAT", "SHORT_BINBYTES", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND",
    "APPENDS", "SETITEM", "SETITEMS", "MARK", "POP", "POP_MARK", "DUP", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "BUILD", "PERSID", "BINPERSID", "STOP",
}  # fmt: skip
_TABLE = b"cl4f\ntable\n)R"
_REPLACED = {
    "FRAME": b"",
    "NEWOBJ": b"R",
    "EMPTY_DICT": _TABLE,
    "DICT": b"1" + _TABLE,
    "EMPTY_SET": b"]",
    "ADDITEMS": b"e",
    "FROZENSET": b"l",
}
_KNOWN = _COPIED | _REPLACED.keys() | _LENGTH_BYTES.keys()


@dataclass
class Allowance:
    """What may still be spent on a file: opcodes, and bytes other than those that stay in it.

    A pickle and the pickles within it share one, so that nesting gains nothing. A call may be made again and again
    with what was written once, so each costs what it is handed: an item, or 128 characters, as much as an opcode.
    `number_keys` are the numbers that may still become keys: whoever writes the file can choose them so that each
    collides with all the others, which takes quadratic time.
    """

    steps: int = 600_000
    description_bytes: int = 1 << 26
    number_keys: int = 4096

    def spend(self, steps: int = 0, description_bytes: int = 0) -> None:
        self.steps -= steps
        self.description_bytes -= description_bytes
        if self.steps < 0:
            raise ValueError("it holds more steps than weights need")
        if self.description_bytes < 0:
            raise ValueError("it holds a longer description than weights need")


class Inert:
    """A value that a pickle may hold. Its state is nothing that a pickle could set."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"it sets the state of a {type(self).__name__}")


class Record(Inert):
    """What stands for an object of a class that we know by name but never build."""

    def __init__(self, name: str, state: Any = None):
        self.name, self.state = name, state

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Table(dict, Inert):
    """A dictionary from a pickle. Keys are short plain values: hashing nested tuples can take exponential time.

    Numbers as keys beyond those that the allowance grants are left out with their values: nothing that is read here
    is kept under a number.
    """

    def __init__(self, allowance: Allowance, pairs: Iterable[tuple[Any, Any]] = ()):
        super().__init__()
        self.allowance = allowance
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if _holds_number(key):
            self.allowance.number_keys -= 1
            if self.allowance.number_keys < 0:
                return
        super().__setitem__(key, value)

    def __setstate__(self, state: Any) -> None:
        """What torch hangs on the dictionaries of tensors (`_metadata`) is not needed."""


def _holds_number(key: Any) -> bool:
    """Whether a key is a number or has one among its parts. Raises `ValueError` for a key that is no plain value."""
    parts, longest = (key, LONGEST_TUPLE_KEY) if isinstance(key, tuple) else ((key,), LONGEST_KEY)
    plain = all(part is None or isinstance(part, (str, int, float, bytes)) for part in parts)
    if len(parts) > MAXIMUM_KEY_PARTS or not plain:
        raise ValueError("a dictionary has a key that is no plain value")
    if sum(len(part) for part in parts if isinstance(part, (str, bytes))) > longest:
        raise ValueError("a dictionary has a longer key than weights need")
    if any(isinstance(part, int) and part.bit_length() > MAXIMUM_KEY_BITS for part in parts):
        raise ValueError(f"a dictionary has a number of more than {MAXIMUM_KEY_BITS} bits as a key")
    return any(isinstance(part, (int, float)) for part in parts)


@dataclass(frozen=True)
class Builder(Inert):
    """A name that a pickle may call: `function` checks its arguments (`ValueError`) and returns an inert value.

    With `makes_table`, the pairs that it returns become a dictionary.
    """

    name: str
    function: Callable[..., Any] = field(repr=False)
    makes_table: bool = False
    allowance: Allowance | None = field(default=None, repr=False)

    def __call__(self, *arguments: Any) -> Any:
        for argument in arguments:
            if isinstance(argument, (list, tuple, dict, str, bytes)):
                self.allowance.spend(len(argument) // (128 if isinstance(argument, (str, bytes)) else 1))
        try:
            value = self.function(*arguments)
        except TypeError as error:
            raise ValueError(f"it calls {self.name} in an unknown way") from error
        return Table(self.allowance, value) if self.makes_table else value


def record_builder(name: str) -> Builder:
    return Builder(name, lambda *arguments: Record(name))


@dataclass(frozen=True, eq=False)
class FileBytes(Inert):
    """A byte string that is still in the file: `length` bytes from `offset`."""

    file: BinaryIO = field(repr=False)
    offset: int
    length: int

    @classmethod
    def of(cls, content: Any) -> FileBytes:
        """Byte strings from a file or from memory as one thing. Raises `ValueError` for anything else."""
        if isinstance(content, bytes):
            return cls(io.BytesIO(content), 0, len(content))
        if not isinstance(content, FileBytes):
            raise ValueError("something else stands where bytes belong")
        return content

    def read(self) -> bytearray:
        """The bytes, in memory of their own."""
        content = bytearray(self.length)
        self.file.seek(self.offset)
        if self.file.readinto(content) != self.length:
            raise ValueError("it is cut short")
        return content


def read_pickle(
    file: BinaryIO,
    end: int,
    vocabulary: Mapping[str, Any],
    label: str,
    persistent_load: Callable[[Any], Any] | None = None,
    allowance: Allowance | None = None,
) -> Any:
    """Reads one pickle from where `file` stands, which must end before the position `end`, into inert values.

    These are `Table`, lists, tuples, plain values and what the vocabulary builds. Long byte strings are `FileBytes`, to
    be read while the file is open. The file stands behind the pickle. Raises `UserError`, naming `label`, for
    everything that cannot be read.

    Args:
        vocabulary: "module.name" to what the name stands for: a `Builder`, or a constant that may be named but not
            called. Neither may be something that a pickle could call or change.
        persistent_load: resolves persistent ids; without it, a pickle may have none.
        allowance: shared by the pickles of one file.
    """
    start, allowance = file.tell(), allowance or Allowance()
    try:
        content, held = _checked_copy(_Window(file, end, allowance), vocabulary, persistent_load is not None)
        return _Unpickler(content, {**vocabulary, **held}, persistent_load, allowance).load()
    except _Refused as error:
        file.seek(start)
        raise _refusal(str(error), label, file.read(min(end - start, _LOOKED_THROUGH))) from None
    except _FAULTS as error:
        if allowance.steps == Allowance.steps:
            raise UserError(f"{label} is neither a PyTorch checkpoint nor a pickle; choose another file.") from error
        in_python = isinstance(error, (TypeError, AttributeError))  # words of the unpickler
        reason = "it calls or fills what cannot be called or filled" if in_python else printable(error, 160)
        raise UserError(f"{label} cannot be read as weights ({reason}); fetch it again or get another copy.") from error


def _refusal(name: str, label: str, content: bytes) -> UserError:
    if all(mark in content for mark in _MODULE_MARKS) and not any(mark in content for mark in _PERSISTENT_MARKS):
        return UserError(
            f"{label} holds a whole pickled module, which names {printable(name)}, and nothing in it "
            "was run; in the program that made it, save its state_dict() with torch.save and choose that."
        )
    return UserError(
        f"{label} was refused and nothing in it was run: it names {printable(name)}, "
        "which weights have no use for; get the file from its author."
    )


class _Window:
    """A pickle's part of a file, as the decoders of `pickletools` read it.

    Never asks the file for more bytes than the part holds. `taken` are the bytes read since it was last emptied.
    """

    def __init__(self, file: BinaryIO, end: int, allowance: Allowance):
        self.file, self.end, self.allowance, self.taken = file, end, allowance, b""

    def read(self, count: int) -> bytes:
        self._check(count)
        return self._take(self.file.read(count))

    def readline(self) -> bytes:
        line = self.file.readline(max(0, min(MAXIMUM_LINE, self.end - self.file.tell())))
        if line[-1:] != b"\n":
            raise ValueError("it ends in the middle of a line or has a longer one than weights need")
        return self._take(line)

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

    def _take(self, content: bytes) -> bytes:
        self.allowance.spend(description_bytes=len(content))
        self.taken += content
        return content


class _Refused(Exception):
    """A name outside the vocabulary."""


def _checked_copy(window: _Window, vocabulary: Mapping[str, Any], persistent: bool) -> tuple[bytes, dict[str, Any]]:
    """The first pass: a pickle for the second one, and what its names stand for beside those of the vocabulary.

    Raises `_Refused`, and `ValueError` for what no pickle of weights holds. Names must be written out as two strings
    right before their use, as every pickler does.
    """
    parts: list[bytes] = []
    names: dict[str, Any] = {"l4f.table": Builder("dictionary", tuple, makes_table=True)}
    memo: dict[int, str | None] = {}
    recent: list[str | None] = [None, None]  # the strings last put on the stack, or None for other values
    name = ""
    while name != "STOP":
        before = name
        name, argument, written = _next_opcode(window)
        if name in _LENGTH_BYTES:
            names[f"l4f.{len(names)}"] = argument
            written = b"cl4f\n%d\n" % (len(names) - 1)
        parts.append(written)
        if name in ("FRAME", "PROTO"):
            name = before
            continue
        if name == "MEMOIZE" or name in _PUTS:
            place = len(memo) if name == "MEMOIZE" else argument
            if not 0 <= place < len(parts):
                raise ValueError("a memo position runs ahead")
            memo[place] = recent[1]
            continue
        if name in _GETS and argument not in memo:
            raise ValueError("it recalls a value that it never stored")
        if name in ("PERSID", "BINPERSID") and not persistent:
            raise ValueError("it refers to data outside itself")
        found = argument if name in ("GLOBAL", "INST") else None
        if name == "STACK_GLOBAL":
            if None in recent:
                raise ValueError("it hides a name that it uses")
            found = ".".join(recent)
        if found is not None and found not in vocabulary:
            raise _Refused(found)
        if name not in _KNOWN or (name == "DICT" and before != "MARK"):  # picklers fill it afterwards
            raise ValueError(f"it uses the pickle step {name}")
        recent = [recent[1], argument if name in _STRINGS else memo[argument] if name in _GETS else None]
    return b"".join(parts), names


def _next_opcode(window: _Window) -> tuple[str, Any, bytes]:
    """The next opcode's name and argument, and what is written for it."""
    window.taken = b""
    opcode = _OPCODES.get(window.read(1))
    if opcode is None:
        raise ValueError("it holds a step that no pickle has")
    name, argument = opcode.name, None
    if name in _LENGTH_BYTES:
        argument = window.step_over(_LENGTH_BYTES[name])
    elif name in _LINES:  # `pickletools` would undo escapes, and warn about those it does not know
        argument = ".".join(window.readline()[:-1].decode("utf-8") for _ in range(_LINES[name]))
    elif opcode.arg is not None:
        argument = opcode.arg.reader(window)
    window.allowance.spend(steps=1)
    if isinstance(argument, int) and argument.bit_length() > MAXIMUM_INTEGER_BITS:
        raise ValueError("it holds a number larger than any that weights need")
    if name == "PROTO" and argument > 5:
        raise ValueError("it is of an unknown pickle protocol")
    if name == "STRING":
        argument = argument[1:-1]
        return name, argument, b"X%s%s" % (len(argument.encode()).to_bytes(4, "little"), argument.encode())
    return name, argument, _REPLACED.get(name, window.taken)


class _Unpickler(pickle.Unpickler):
    """The second pass. It finds `names` and nothing else."""

    def __init__(self, content: bytes, names: Mapping[str, Any], persistent: Any, allowance: Allowance):
        super().__init__(io.BytesIO(content), encoding="latin-1")
        self.names, self.persistent, self.allowance = names, persistent, allowance

    def find_class(self, module: str, name: str) -> Any:
        found = self.names[f"{module}.{name}"]
        return replace(found, allowance=self.allowance) if isinstance(found, Builder) else found

    def persistent_load(self, identity: Any) -> Any:
        return self.persistent(identity)
