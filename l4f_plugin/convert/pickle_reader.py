"""Reads pickles without running them.

Python's own unpickler calls whatever a pickle names. This reader walks the opcodes itself: a name
stands for an entry of a fixed vocabulary or the file is refused, and the only calls it makes are to
the builders of that vocabulary, which check their arguments and build inert values. A first walk
collects every name before anything is built, so a refusal can say which one it was.

Opcodes: PEP 3154 and `pickle_opcodes`, whose allowance bounds memory and time: no opcode copies, numbers
are short, keys of dictionaries and members of sets are short plain values (hashing nested tuples can take
exponential time), and memo positions may not run ahead. Numbers as keys beyond those that the allowance grants are
left out with their values: nothing that is read here is kept under a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..errors import UserError, printable
from .pickle_opcodes import GETS, PUTS, STRINGS, Allowance, PickleStream, names_in, opcodes

MAXIMUM_DIMENSIONS = 16
MAXIMUM_KEY_PARTS = 16
MAXIMUM_KEY_BITS = 64
LONGEST_KEY, LONGEST_TUPLE_KEY = 1 << 14, 1 << 10  # characters: equal ones are compared through to their end
_VALUES = STRINGS | {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MARK = object()
_LOOKED_THROUGH = 1 << 20
_MODULE_MARKS, _PERSISTENT_MARKS = (b"_modules", b"_buffers"), (b"_reconstruct_persistent_obj",)


@dataclass
class Record:
    """What stands for an object of a class that we know by name but never build."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def set_state(self, state: Any) -> None:
        """Keeps what the pickle would have handed to `__setstate__`."""
        self.state = state


@dataclass(frozen=True)
class Builder:
    """A vocabulary entry that a pickle may call: `function` checks its arguments (`ValueError`).

    `fills` is `dict`, `set` or `frozenset` where what `function` returns, pairs or members, is to become one.
    """

    name: str
    function: Callable[..., Any] = field(repr=False)
    fills: type | None = None


def record_builder(name: str) -> Builder:
    """The entry for a class whose objects become a `Record`."""
    return Builder(name, lambda *arguments: Record(name, arguments))


def read_pickle(
    file: BinaryIO,
    limit: int,
    vocabulary: Mapping[str, Any],
    label: str,
    persistent_load: Callable[[Any], Any] | None = None,
    allowance: Allowance | None = None,
) -> Any:
    """Reads one pickle from `file` (at its position, at most `limit` bytes) into inert values.

    `vocabulary` maps "module.name" to what the name stands for: a `Builder`, or a constant that may
    be named but not called. `persistent_load` resolves persistent ids, `allowance` is shared by pickles of one
    file. Long byte strings are `FileBytes`, to be read while the file is open. On return the file stands
    behind the pickle. Raises `UserError` naming `label` for everything that cannot be read.
    """
    start, allowance = file.tell(), allowance or Allowance()
    try:
        for name in names_in(PickleStream(file, limit, allowance)):
            if name not in vocabulary:
                raise _refusal(name, label, file, start, limit)
        file.seek(start)
        return _Machine(PickleStream(file, limit, allowance), vocabulary, persistent_load).run()
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise UserError(
            f"{label} cannot be read as weights ({printable(error, 160)}); fetch it again or get another copy."
        ) from error


def _refusal(name: str, label: str, file: BinaryIO, start: int, limit: int) -> UserError:
    file.seek(start)
    content = file.read(min(limit, _LOOKED_THROUGH))
    if all(mark in content for mark in _MODULE_MARKS) and not any(mark in content for mark in _PERSISTENT_MARKS):
        return UserError(
            f"{label} holds a whole pickled module, which names {printable(name)}, and nothing in it "
            "was run; in the program that made it, save its state_dict() with torch.save and choose that."
        )
    return UserError(
        f"{label} was refused and nothing in it was run: it names {printable(name)}, "
        "which weights have no use for; get the file from its author."
    )


class _Machine:
    """The pickle stack machine, reduced to values that cannot do anything."""

    def __init__(
        self, stream: PickleStream, vocabulary: Mapping[str, Any], persistent_load: Callable[[Any], Any] | None
    ):
        self.stream = stream
        self.vocabulary = vocabulary
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for name, argument in opcodes(self.stream):
            if name == "STOP":
                return self.pop()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name == "MEMOIZE" or name in PUTS:
                self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.top()
            elif name in GETS:
                if argument not in self.memo:
                    raise ValueError("it recalls a value that it never stored")
                self.stack.append(self.memo[argument])
            else:
                step = getattr(self, f"do_{name.lower()}", None)
                if step is None:
                    raise ValueError(f"it uses the pickle step {name}")
                step(argument)
        raise ValueError("it has no end")

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("its stack runs empty")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise ValueError("a mark is missing")

    def of_type(self, kind: type) -> Any:
        value = self.top()
        if not isinstance(value, kind):
            raise ValueError(f"a {kind.__name__} is missing where one is filled")
        return value

    def do_proto(self, argument: int) -> None:
        if argument > 5:
            raise ValueError("it is of an unknown pickle protocol")

    def do_frame(self, argument: int) -> None:
        """Frames only help reading ahead."""

    def do_mark(self, argument: None) -> None:
        self.stack.append(_MARK)

    def do_pop(self, argument: None) -> None:
        if not self.stack:
            raise ValueError("its stack runs empty")
        self.stack.pop()

    def do_pop_mark(self, argument: None) -> None:
        self.pop_to_mark()

    def do_dup(self, argument: None) -> None:
        self.stack.append(self.top())

    def do_empty_list(self, argument: None) -> None:
        self.stack.append([])

    def do_empty_dict(self, argument: None) -> None:
        self.stack.append({})

    def do_empty_set(self, argument: None) -> None:
        self.stack.append(set())

    def do_list(self, argument: None) -> None:
        self.stack.append(self.pop_to_mark())

    def do_append(self, argument: None) -> None:
        item = self.pop()
        self.of_type(list).append(item)

    def do_appends(self, argument: None) -> None:
        items = self.pop_to_mark()
        self.of_type(list).extend(items)

    def do_tuple(self, argument: None) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def do_tuple1(self, argument: None) -> None:
        self.small_tuple(1)

    def do_tuple2(self, argument: None) -> None:
        self.small_tuple(2)

    def do_tuple3(self, argument: None) -> None:
        self.small_tuple(3)

    def small_tuple(self, count: int) -> None:
        self.stack.append(tuple(reversed([self.pop() for _ in range(count)])))

    def do_dict(self, argument: None) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self.fill(items)

    def takes(self, key: Any) -> bool:
        """Whether a dictionary or a set gets this key. Raises `ValueError` for one that is no plain value."""
        return not holds_number(key) or self.stream.allowance.takes_number_key()

    def do_setitem(self, argument: None) -> None:
        value, key = self.pop(), self.pop()
        self.fill([key, value])

    def do_setitems(self, argument: None) -> None:
        self.fill(self.pop_to_mark())

    def fill(self, items: list[Any]) -> None:
        target = self.of_type(dict)
        if len(items) % 2:
            raise ValueError("a dictionary has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if self.takes(key):
                target[key] = value

    def do_additems(self, argument: None) -> None:
        items = self.pop_to_mark()
        self.of_type(set).update(filter(self.takes, items))

    def do_frozenset(self, argument: None) -> None:
        self.stack.append(self.filled(frozenset, self.pop_to_mark()))

    def filled(self, kind: type, items: Iterable[Any]) -> Any:
        """A dictionary of pairs, or a set or frozen set of members."""
        if kind is dict:
            return {key: value for key, value in items if self.takes(key)}
        return kind(filter(self.takes, items))

    def do_global(self, argument: str) -> None:
        self.stack.append(self.vocabulary[argument])

    def do_stack_global(self, argument: None) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.vocabulary[f"{module}.{name}"])

    def do_reduce(self, argument: None) -> None:
        arguments, builder = self.pop(), self.pop()
        if not isinstance(builder, Builder) or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is not to be called")
        self.stream.allowance.spend_on_call(arguments)
        try:
            value = builder.function(*arguments)
            self.stack.append(value if builder.fills is None else self.filled(builder.fills, value))
        except TypeError as error:
            raise ValueError(f"it calls {builder.name} in an unknown way") from error

    do_newobj = do_reduce

    def do_build(self, argument: None) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Record):
            target.set_state(state)
        elif not isinstance(target, dict):  # a dictionary's attributes (torch's _metadata) are not needed
            raise ValueError(f"it sets the state of a {type(target).__name__}")

    def do_persid(self, argument: str) -> None:
        self.load_persistent(argument)

    def do_binpersid(self, argument: None) -> None:
        self.load_persistent(self.pop())

    def load_persistent(self, identity: Any) -> None:
        if self.persistent_load is None:
            raise ValueError("it refers to data outside itself")
        self.stack.append(self.persistent_load(identity))


def holds_number(key: Any) -> bool:
    """Whether a dictionary key or set member is a number or has one among its parts.

    Raises `ValueError` for a key that is neither a short plain value nor a flat tuple of such.
    """
    parts, longest = (key, LONGEST_TUPLE_KEY) if isinstance(key, tuple) else ((key,), LONGEST_KEY)
    if len(parts) > MAXIMUM_KEY_PARTS or not all(
        part is None or isinstance(part, (str, int, float, bytes)) for part in parts
    ):
        raise ValueError("a dictionary has a key that is no plain value")
    if sum(len(part) for part in parts if isinstance(part, (str, bytes))) > longest:
        raise ValueError("a dictionary has a longer key than weights need")
    numbers = [part for part in parts if isinstance(part, (int, float))]
    if any(isinstance(part, int) and part.bit_length() > MAXIMUM_KEY_BITS for part in numbers):
        raise ValueError(f"a dictionary has a number of more than {MAXIMUM_KEY_BITS} bits as a key")
    return bool(numbers)


def integers(values: Any) -> tuple[int, ...]:
    """A short list of sizes as a tuple. Raises `ValueError` for anything else."""
    if not isinstance(values, (tuple, list)) or len(values) > MAXIMUM_DIMENSIONS:
        raise ValueError("a tensor's shape is no short list")
    if not all(isinstance(value, int) and 0 <= value < 1 << 62 for value in values):
        raise ValueError("a tensor's shape holds something else than sizes")
    return tuple(values)
