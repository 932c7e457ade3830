"""A corpus of hostile checkpoints: pairs of the file's content and words that its refusal must hold.

Whatever would be run makes a file `ran` in the working folder.
"""

import builtins
import importlib
import io
import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import nvidia_files
import torch
from bundles import tiny_bundle

CANARY = "ran"
TOUCH = f"touch {CANARY}"
PYTHON = f"__import__('pathlib').Path({CANARY!r}).touch()"
Corpus = dict[str, tuple[bytes, str]]
P2, P4 = b"\x80\x02", b"\x80\x04"
"""How pickles of these protocols begin."""
MODULE = "torch_utils.persistence._reconstruct_persistent_obj"


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


# --- a small assembler


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def named(name: str) -> bytes:
    module, _, rest = name.rpartition(".")
    return f"c{module}\n{rest}\n".encode()


def pack(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def listed(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def table(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def call(name: str, *arguments: bytes) -> bytes:
    return named(name) + pack(*arguments) + b"R"


def network(state: bytes) -> bytes:
    return named("dnnlib.tflib.network.Network") + b")\x81" + state + b"b"


def tensorflow(**state: bytes) -> bytes:
    """A TensorFlow pickle whose three networks have this state."""
    return P2 + network(table(state)) * 3 + b"\x87."


def module(state: bytes) -> bytes:
    described = table({"class_name": text("Generator"), "state": state, "module_src": text(PYTHON)})
    return call(MODULE, described)


def pytorch(generator: bytes) -> bytes:
    return P2 + table({"G_ema": generator}) + b"."


def array(kind: str, shape: bytes, content: bytes, state: bytes | None = None) -> bytes:
    """A NumPy array with any numbers one likes."""
    order = pack(number(3), text("<"), b"N", b"N", b"N", number(-1), number(-1), number(0))
    dtype = call("numpy.dtype", text(kind), b"\x89", b"\x88") + (state or order) + b"b"
    start = call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), pack(number(0)), data(b"b"))
    return start + pack(number(1), shape, dtype, b"\x89", content) + b"b"


def with_variable(value: bytes, name: bytes | None = None) -> bytes:
    """A TensorFlow pickle with one variable of its own in each network."""
    pair = pack(name or text("x"), value)
    return tensorflow(static_kwargs=table({}), components=table({}), variables=listed(pair))


EASY_DICT = named("dnnlib.util.EasyDict")


def doubled(value: bytes, times: int = 60) -> bytes:
    """A tuple of twice a tuple of twice ... `value`: a few bytes that stand for 2**times."""
    return value + b"2\x86" * times


# --- the corpus

FUNCTIONS = {
    "system": Call(os.system, TOUCH),
    "eval": Call(builtins.eval, PYTHON),
    "exec": Call(builtins.exec, PYTHON),
    "Popen": Call(subprocess.Popen, ["touch", CANARY]),
    "__import__": Call(builtins.__import__, "antigravity"),
    "import_module": Call(importlib.import_module, "antigravity"),
    "getattr": Call(getattr, "x", "upper"),
    "loads": Call(pickle.loads, pickle.dumps(Call(os.system, TOUCH))),
    "load": Call(torch.load, CANARY),
    "check_output": Call(subprocess.check_output, ["touch", CANARY]),
}
NAMES = [
    "runpy.run_path", "pty.spawn", "marshal.loads", "types.CodeType", "types.FunctionType", "ctypes.CDLL",
    "functools.partial", "operator.attrgetter", "operator.methodcaller", "shutil.rmtree", "builtins.open",
    "builtins.compile", "builtins.type", "builtins.object.__reduce__", "timeit.timeit", "cProfile.run", "numpy.load",
    "numpy.memmap", "torch.hub.load", "torch.jit.load", "webbrowser.open", "socket.socket",
    "dnnlib.util.EasyDict.__class__", "dnnlib.util.open_url", "torch_utils.persistence._src_to_module",
]  # fmt: skip


def functions_at_every_protocol() -> Corpus:
    corpus: Corpus = {}
    for name, target in FUNCTIONS.items():
        for protocol in range(6):
            root = {"G_ema": [1, 2], "more": target}
            corpus[f"{name}, protocol {protocol}"] = (pickle.dumps(root, protocol), f".{name}, which")
    return corpus


def functions_by_name() -> Corpus:
    corpus: Corpus = {}
    for name in NAMES:
        module_name, _, rest = name.rpartition(".")
        stacked = text(module_name) + text(rest) + b"\x93"
        corpus[f"{name} on the stack"] = (P4 + stacked + pack(text(TOUCH)) + b"R.", f"names {name}, which")
        corpus[f"{name} in a line"] = (P2 + call(name, text(TOUCH)) + b".", f"names {name}, which")
    return corpus


def places_in_real_files() -> Corpus:
    """One call of os.system in every place that something reads."""
    bundle, target = tiny_bundle(), FUNCTIONS["system"]

    def tensorflow_root():
        return nvidia_files.tensorflow_root(bundle.generator, bundle.discriminator)

    roots: dict[str, Any] = {}
    for place in ("a setting", "a variable", "a component", "the state of a network"):
        roots[place] = tensorflow_root()
    roots["a setting"][2].static_kwargs["architecture"] = target
    roots["a variable"][2].variables[0] = ("lod", target)
    roots["a component"][2].components["mapping"] = target
    roots["the state of a network"][2].__dict__["version"] = Call(dict, state=target)
    for place in ("an attribute", "a module", "a buffer of another network"):
        roots[place] = nvidia_files.pytorch_root(bundle.generator, None)
    roots["an attribute"]["G_ema"].mapping.num_layers = target
    roots["a module"]["G_ema"].__dict__["_modules"]["mapping"] = target
    roots["a buffer of another network"]["augment_pipe"].__dict__["_buffers"]["p"] = target
    roots["an array of objects"] = {"G_ema": np.array([target, 1], dtype=object)}
    roots["an object that sets its state"] = {"G_ema": Call(nvidia_files.EasyDict, state={"x": target})}
    corpus: Corpus = {}
    for place, root in roots.items():
        path = nvidia_files.write(root, Path("hostile.pkl"))
        corpus[f"os.system in {place}"] = (path.read_bytes(), "")
        path.unlink()
    return corpus


def inner_pickles() -> Corpus:
    corpus: Corpus = {}
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    load = "torch.storage._load_from_bytes"

    def nested(content: bytes) -> bytes:
        return P2 + call(load, data(content)) + b"."

    for protocol in range(6):
        inner = pickle.dumps(FUNCTIONS["system"], protocol)
        corpus[f"inner call, protocol {protocol}"] = (nested(magic + inner), ".system, which")
        corpus[f"inner call first, protocol {protocol}"] = (nested(inner), ".system, which")
    deep = magic + call(load, data(magic + pickle.dumps(FUNCTIONS["system"], 2))) + b"."
    corpus["inner pickle in an inner pickle"] = (nested(deep), f"names {load}, which")
    buffer = io.BytesIO()
    torch.save(torch.zeros(4)._typed_storage(), buffer, _use_new_zipfile_serialization=False)
    good = buffer.getvalue()
    corpus["inner pickle of a number"] = (nested(magic + b"K\x01.]."), "storage holds something else")
    corpus["inner pickle cut short"] = (nested(good[:-8]), "cut short")
    corpus["inner pickle that is text"] = (P2 + call(load, text("x")) + b".", "where bytes belong")
    corpus["inner pickle without arguments"] = (P2 + call(load) + b".", "in an unknown way")
    again = call(load, b"h\x00") + b"0"
    often = P2 + data(good) + b"q\x00" + again * 100_000 + b"N."
    corpus["the same inner pickle a hundred thousand times"] = (often, "more steps")
    places = (number(0), pack(number(1 << 40)), pack(number(0)), b"\x89", table({}))
    tensor = call("torch._utils._rebuild_tensor_v2", call(load, data(good)), *places)
    corpus["a tensor larger than its storage"] = (pytorch(tensor), "beyond its storage")
    return corpus


def numpy_tricks() -> Corpus:
    objects = pack(number(3), text("|"), b"N", b"N", b"N", number(-1), number(-1), number(63))
    scalar, inner = "numpy.core.multiarray.scalar", pickle.dumps(FUNCTIONS["system"], 2)
    dtype = call("numpy.dtype", text("f4"), b"\x89", b"\x88")
    fields = pack(number(3), text("<"), b"N", pack(text("a")), b"}", number(4), number(1), number(0))
    reconstruct, from_buffer = "numpy.core.multiarray._reconstruct", "numpy._core.numeric._frombuffer"
    cases = {
        "array of objects": (array("O8", pack(number(1)), listed(data(inner)), objects), "than plain numbers"),
        "scalar of an object": (call(scalar, call("numpy.dtype", text("O8")), data(inner)), "than plain numbers"),
        "scalar of the wrong size": (call(scalar, dtype, b"C\x02ab"), "not of the size it claims"),
        "structured array": (array("f4", pack(number(1)), data(bytes(4)), fields), "array of structures"),
        "array of a terabyte": (array("f4", pack(number(1 << 38)), data(bytes(4))), "not of the size it claims"),
        "array of negative size": (array("f4", pack(number(-1), number(-1)), data(bytes(4))), "than sizes"),
        "array of very many axes": (array("f4", pack(*[number(1)] * 99), data(bytes(4))), "no short list"),
        "array whose product overflows": (array("f4", pack(*[number(1 << 61)] * 9), data(bytes(4))), "size it claims"),
        "array filled with a list": (array("f4", pack(number(1)), listed(number(1))), "where bytes belong"),
        "array without a type": (call(from_buffer, data(bytes(4)), b"N", pack(number(1)), text("C")), "has no type"),
        "array of another class": (call(reconstruct, EASY_DICT, b")", b"N"), "unknown kind"),
        "array that was never filled": (call(reconstruct, named("numpy.ndarray"), b")", b"N"), ""),
        "type of a billion laughs": (call("numpy.dtype", doubled(b")")), "than plain numbers"),
        "shape of a billion laughs": (array("f4", doubled(number(1)), data(bytes(4))), "than sizes"),
    }
    return {name: (with_variable(value), expected) for name, (value, expected) in cases.items()}


def opcodes() -> Corpus:
    short_os, short_system = b"\x8c\x02os", b"\x8c\x06system"
    os_of_bytes = call("_codecs.encode", text("os"), text("latin1"))
    state_of_bytes = data(bytes(4)) + b"N}" + text("length") + number(1 << 60) + b"s\x86b."
    megabyte = struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)
    cases: Corpus = {
        "INST": (f"(S'{TOUCH}'\nios\nsystem\n.".encode(), "names os.system"),
        "OBJ": (f"(cos\nsystem\nS'{TOUCH}'\no.".encode(), "names os.system"),
        "OBJ of a known name": (b"(cdnnlib.util\nEasyDict\no.", "step OBJ"),
        "INST of a known name": (b"(idnnlib.util\nEasyDict\n.", "step INST"),
        "NEWOBJ_EX": (P4 + EASY_DICT + b")}\x92.", "step NEWOBJ_EX"),
        "EXT1": (b"\x80\x02\x82\x01.", "step EXT1"),
        "EXT2": (b"\x80\x02\x83\x01\x01.", "step EXT2"),
        "EXT4": (b"\x80\x02\x84\x01\x01\x01\x01.", "step EXT4"),
        "NEXT_BUFFER": (b"\x80\x05\x97.", "step NEXT_BUFFER"),
        "persistent id": (P2 + pack(text("module")) + b"Q.", "outside itself"),
        "persistent id in a line": (b"Pstorage\n.", "outside itself"),
        "a name computed from bytes": (P4 + os_of_bytes + short_system + b"\x93)R.", "hides a name"),
        "a name through the memo": (P4 + short_system + b"\x94" + short_os + b"h\x00\x93)R.", "names os.system"),
        "a name by way of a tuple": (P4 + short_os + short_system + b"\x86\x93.", "hides a name"),
        "a name moved by dup and pop": (P4 + short_os + short_system + b"20\x93)R.", "hides a name"),
        "a memo written over": (P4 + short_system + b"q\x00" + short_os + b"q\x00h\x00h\x00\x93)R.", "names os.os"),
        "a memo far ahead": (b"\x80\x02Nr\xff\xff\xff\x7f.", "runs ahead"),
        "a memo that is not there": (b"\x80\x02h\x05.", "never stored"),
        "a negative memo": (b"Np-5\n.", "runs ahead"),
        "a dictionary filled at once": (b"(S'a'\nNd.", "step DICT"),
        "an unfilled dictionary": (b"\x80\x02}(" + text("k") + b"u.", "cannot be read"),
        "append to a number": (b"\x80\x02K\x01K\x02a.", "fills"),
        "a pop of nothing": (b"\x80\x020.", "cannot be read"),
        "no mark": (b"\x80\x02t.", "cannot be read"),
        "an empty stack": (b"\x80\x02.", "cannot be read"),
        "a negative length": (b"\x80\x02T\xff\xff\xff\xffx.", "cannot be read"),
        "bad text": (b"\x80\x02X\x02\x00\x00\x00\xff\xff.", "cannot be read"),
        "control characters in a name": (b"cos\x1b[31m\nsys\x07tem\n.", "names os?[31m.sys?tem"),
        "a name of another language": ("cosé\nsystem\n.".encode(), "names osé.system"),
        "state for a class": (P2 + EASY_DICT + b"}" + text("function") + b"Nsb.", "state of a Builder"),
        "state for bytes in the file": (P2 + state_of_bytes, "state of a FileBytes"),
        "state for a list": (b"\x80\x02]}b.", "fills"),
        "a call of a constant": (P2 + named("numpy.ndarray") + b")R.", "it calls"),
        "a call of a call": (P2 + call("dnnlib.util.EasyDict") + b")R.", "it calls"),
        "a class with arguments": (P2 + call("dnnlib.util.EasyDict", text("x")) + b".", "unknown way"),
        "an object without a state": (pytorch(call(MODULE, b"}")), "without a class"),
        "bytes in another encoding": (P2 + call("_codecs.encode", text("x"), text("rot13")) + b".", "unknown encoding"),
        "protocol 9": (b"\x80\x09N.", "unknown pickle protocol"),
        "no such step": (b"\x80\x02N\xff.", "no pickle has"),
        "text that is no pickle": (b"<!DOCTYPE html><title>Not found</title>", "a web page"),
        "an empty file": (b"", "is empty"),
        "a byte string of 4 EiB": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "larger than"),
        "a byte array of 1 PiB": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"x.", "larger than"),
        "a text of 1 PiB": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 50) + b"x.", "larger than"),
        "a frame of 1 PiB": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"N.", "no generator"),
        "a number of a megabyte": (b"\x80\x02\x8b" + megabyte + b".", "larger than any"),
        "a number of a million digits": (b"I" + b"9" * 1_000_000 + b"\n.", ""),
    }
    return cases


def very_wide() -> bytes:
    """A generator of rosinality's of which the shapes alone ask for many gigabytes."""
    wide, content = torch.zeros(1, 8192, 1, 1, 1), io.BytesIO()
    state = {f"convs.{place}.conv.weight": wide for place in range(6)} | {"conv1.conv.weight": wide}
    state |= {f"style.{layer}.weight": torch.zeros(8192, 1) for layer in range(1, 9)} | {"input.input": wide}
    torch.save({"g_ema": state | {f"to_rgbs.{place}.bias": wide for place in range(3)}}, content)
    return content.getvalue()


def bombs() -> Corpus:
    """Few bytes that unfold to very many, or never end, for whoever walks through them."""
    laughs = doubled(text("ha"))
    labels, classes = table({"label_size": laughs}), table({"class_name": laughs, "state": b"}"})
    modules = module(table({"_modules": table({})}))
    for _ in range(40):
        modules += b"q\x010" + module(table({"_modules": table({"a": b"h\x01", "b": b"h\x01"})}))
    looped = b"}q\x00" + text("_modules") + table({"a": module(b"h\x00")}) + b"s"
    long_names = module(table({}))
    for _ in range(40):
        long_names += b"q\x010" + module(table({"_modules": table({"x" * 10_000: b"h\x01"})}))
    new = named("dnnlib.tflib.network.Network") + b")\x81"
    empty = network(table({"static_kwargs": table({}), "variables": b"]"}))
    settings = {
        "static_kwargs": table({"architecture": laughs, "resample_kernel": laughs, "conv_clamp": laughs}),
        "components": table(dict.fromkeys(("mapping", "synthesis"), empty)),
        "variables": b"]",
    }
    return {
        "very wide layers": (very_wide(), "style.1.bias is missing"),
        "billion laughs": (P2 + laughs + b".", "no generator"),
        "billion laughs as settings": (tensorflow(**settings), "of another kind"),
        "billion laughs as labels": (tensorflow(**settings | {"static_kwargs": labels}), "conditional"),
        "billion laughs as a key": (b"\x80\x02}" + laughs + b"Ns.", "no plain value"),
        "billion laughs in a set": (b"\x80\x04\x8f(" + laughs + b"\x90.", "no generator"),
        "billion laughs in a set by name": (P2 + call("builtins.set", listed(laughs)) + b".", "no generator"),
        "billion laughs in a frozen set": (b"\x80\x04(" + laughs + b"\x91.", "no generator"),
        "frozen sets of frozen sets": (b"\x80\x04(\x91" + b"q\x000(h\x00K\x01\x91" * 60 + b".", "no generator"),
        "billion laughs as a variable's name": (with_variable(number(1), laughs), "named arrays"),
        "billion laughs as a class": (pytorch(call(MODULE, classes)), "without a class"),
        "a tree of modules that doubles": (b"\x80\x02}" + text("G_ema") + modules + b"s.", "StyleGAN2 does not"),
        "a module within itself": (pytorch(module(looped)), "StyleGAN2 does not"),
        "modules with long names": (b"\x80\x02}" + text("G_ema") + long_names + b"s.", "StyleGAN2 does not"),
        "a list within itself": (b"\x80\x02]q\x00h\x00a.", "no generator"),
        "fifty thousand lists": (P2 + b"]" * 50_000 + b"a" * 49_999 + b".", "no generator"),
        "a hundred thousand lists without an end": (P2 + b"]" * 100_000, "ends in the middle"),
        "networks twenty thousand deep": (P2 + new * 20_000 + b"N" + b"b" * 20_000 + b".", "no generator"),
    }


def collisions() -> Corpus:
    """Keys that all land on one place of Python's hash tables, which takes quadratic time; and work asked for again
    and again with what was written once."""
    modulus = (1 << 61) - 1  # hash(n) is n modulo this
    wide = [digits(place * modulus) for place in range(20_000)]
    near = [number(place << 44) for place in range(20_000)]  # equal in the bits that are looked at first
    floats = [b"G" + struct.pack(">d", float(place << 44)) for place in range(20_000)]
    tuples = [number(first) + number(second) + b"\x86" for first, second in equal_tuples(20_000)]
    made = "collections.OrderedDict"
    cases: Corpus = {
        "a key of more than 64 bits": (b"\x80\x02}" + digits(1 << 64) + b"Ns.", "64 bits"),
        "a negative key of more than 64 bits": (b"\x80\x02}" + digits(-1 << 64) + b"Ns.", "64 bits"),
        "a key of more than 64 bits in a tuple": (b"\x80\x02}" + digits(1 << 64) + b"\x85Ns.", "64 bits"),
        "a very long key": (b"\x80\x02}" + text("x" * 20_000) + b"Ns.", "a longer key"),
    }
    for name, keys in (("wide", wide), ("near", near), ("real", floats), ("tuple", tuples)):
        expected = "64 bits" if name == "wide" else "no generator"
        pairs, members = b"".join(key + b"N" for key in keys), b"".join(keys)
        one_by_one = b"".join(key + b"Ns" for key in keys)
        made_of = call(made, listed(*(key + b"N\x86" for key in keys)))
        cases |= {
            f"colliding {name} keys": (b"\x80\x02}(" + pairs + b"u.", expected),
            f"colliding {name} keys one by one": (P2 + b"}" + one_by_one + b".", expected),
            f"colliding {name} pairs by name": (P2 + made_of + b".", expected),
            # sets become lists
            f"colliding {name} members": (b"\x80\x04\x8f(" + members + b"\x90.", "no generator"),
            f"colliding {name} members, frozen": (b"\x80\x04(" + members + b"\x91.", "no generator"),
            f"colliding {name} members by name": (P2 + call("builtins.set", listed(*keys)) + b".", "no generator"),
        }
    table_of = P2 + named(made) + b"q\x01" + listed(*(text(str(place)) + b"N\x86" for place in range(30_000)))
    again = b"0h\x01h\x02R"
    cases["the same table again and again"] = (table_of + b"\x85q\x020" + b"N" + again * 50_000 + b".", "more steps")
    encoded = named("_codecs.encode") + b"q\x01" + pack(text("x" * 1_000_000), text("latin1")) + b"q\x020N"
    cases["the same text again and again"] = (P2 + encoded + again * 50_000 + b".", "more steps")
    return cases


def digits(value: int) -> bytes:
    """A number of any size."""
    return b"\x8a" + bytes([size := value.bit_length() // 8 + 1]) + value.to_bytes(size, "little", signed=True)


def equal_tuples(count: int) -> list[tuple[int, int]]:
    """Pairs of numbers of one hash: Python's hash of a tuple (xxHash), solved for the second of them."""
    mask, first, second, fifth = (1 << 64) - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    undo_first, undo_second = pow(first, -1, 1 << 64), pow(second, -1, 1 << 64)
    wanted = 12345 * undo_first & mask
    wanted = (wanted >> 31 | wanted << 33) & mask
    pairs, place = [], 0
    while len(pairs) < count:
        place += 1
        turned = fifth + place * second & mask
        turned = (turned << 31 | turned >> 33) & mask
        other = (wanted - turned * first) * undo_second & mask
        if other < (1 << 61) - 1:
            pairs.append((place, other))
    return pairs


def cut_files() -> Corpus:
    bundle, corpus = tiny_bundle(), {}
    for layout, make in (("TensorFlow", nvidia_files.tensorflow_root), ("PyTorch", nvidia_files.pytorch_root)):
        path = nvidia_files.write(make(bundle.generator, bundle.discriminator), Path("whole.pkl"))
        content = path.read_bytes()
        path.unlink()
        for part in range(12):
            corpus[f"{layout} cut at {part}/12"] = (content[: len(content) * part // 12], "")
        corpus[f"{layout} without its end"] = (content[:-1], "ends in the middle")
    return corpus


def corpus() -> Corpus:
    """All of it. Writes and removes a file in the working folder."""
    calls = (functions_at_every_protocol, functions_by_name, places_in_real_files, inner_pickles)
    merged: Corpus = {}
    for part in [make() for make in (*calls, numpy_tricks, opcodes, bombs, collisions, cut_files)]:
        assert not merged.keys() & part.keys()
        merged.update(part)
    return merged
