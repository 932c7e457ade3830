"""What a file is that is taken for a checkpoint and is none: told from its first bytes, in words for a person."""

import json
import re
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

START_BYTES = 4096
_LARGEST_HEADER = 1 << 24
_UNPACK = "unpack it and choose the checkpoint in it"
_WANTED = "a StyleGAN2 checkpoint"
_ANOTHER = f"choose {_WANTED}"
_PACKED = (
    (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!\x1a\x07", "RAR"), (b"\x04\x22\x4d\x18", "LZ4"),
)  # fmt: skip
_MARKS = (
    (b"GGUF", "a GGUF model, which has another architecture"), (b"ggml", "a GGML model, of another architecture"),
    (b"\x93NUMPY", "an array of NumPy, perhaps style codes, and no network"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, perhaps of Keras, which is not read"),
    (b"\x89PNG\r\n", "a picture"), (b"\xff\xd8\xff", "a picture"), (b"RIFF", "a picture or a sound"),
    (b"GIF8", "a picture"), (b"%PDF", "a PDF document"), (b"MZ", "a program"), (b"\x7fELF", "a program"),
)  # fmt: skip
# Tensors that tell a network by their names, in the order in which they are looked for.
_TENSORS = (
    ("model.diffusion_model.", "a Stable Diffusion checkpoint"), ("double_blocks.", "a Flux checkpoint"),
    ("lora_", "a LoRA"), (".lora_", "a LoRA"), ("first_stage_model.", "a VAE"), ("decoder.up", "a VAE"),
    ("down_blocks.", "a network of Stable Diffusion"), ("text_model.", "a text encoder"),
)  # fmt: skip


def foreign_kind(start: bytes, size: int, wanted: str = _WANTED) -> str | None:
    """What a file of `size` bytes is by its first ones and what to do, after "FILE is"; None for what may be weights.

    `wanted` is what should be chosen instead. ZIP files and safetensors are not looked into here.
    """
    another = f"choose {wanted}"
    if not size:
        return "empty; fetch it again"
    if not start.strip(b"\x00"):
        return "filled with zeros, as unfinished downloads are; fetch it again"
    for mark, name in _PACKED:
        if start.startswith(mark):
            return f"a file packed with {name}; {_UNPACK}"
    if start[257:262] == b"ustar":
        return f"a TAR archive; {_UNPACK}"
    for mark, words in _MARKS:
        if start.startswith(mark):
            return f"{words}; {another}"
    if start[:1] == b"\x08" and re.search(rb"onnx|pytorch|ir_version", start[:64]):
        return f"an ONNX model, which is not read; {another}"
    # Texts: pointers, pages, and what servers say in place of a file.
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    small = text[:512].lower()
    if text.startswith(b"version https://git-lfs"):
        return (
            "a Git LFS pointer, which only names the file; fetch the file itself with `git lfs pull`, or download "
            "it from the page where the repository is"
        )
    if re.match(rb"(\.\./)*(\.git)?/?annex/objects/", text):
        return "a git-annex pointer, which only names the file; fetch the file itself with `git annex get`"
    if re.match(rb"(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(!doctype html|html|head|body)", small, re.DOTALL):
        return (
            "a web page, perhaps one that asks to sign in or to confirm, and not the file; download the file in a "
            "browser and choose that"
        )
    if small.startswith((b"<?xml", b"<error")):
        return "an XML text, perhaps what a server said in place of the file; download the file again"
    # A pickle of protocol 0 may begin with a bracket too, but is no JSON and no line of words.
    if text[:1] in (b"{", b"[") and (b'"' in small or text[1:].lstrip()[:1] in (b"}", b"]")):
        return "a JSON text, perhaps what a server said in place of the file; download the file again"
    if re.match(rb"[A-Za-z0-9][\w ,:'-]* [\w .,:;/'\"!?()-]{4,}\s*(\n|$)", text[:200]):
        with suppress(UnicodeDecodeError):
            words = (start[:-4] if len(start) == START_BYTES else start).decode("utf-8")  # the last sign may be cut off
            if all(sign.isprintable() or sign in "\r\n\t" for sign in words):
                return "a text, perhaps what a server said in place of the file; download the file again"
    return None


def kind_of_safetensors(start: bytes, file: BinaryIO) -> str | None:
    """What a safetensors file with these first bytes is and what to do, after "FILE is"; None for another file."""
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or not 2 <= length <= _LARGEST_HEADER:
        return None
    file.seek(8)
    try:
        names = list(json.loads(file.read(length)))
    except (ValueError, RecursionError):
        return None
    if "w_plus" in names:
        return "a file of style codes and holds no network; give it to `l4f segment CLASS --w-plus FILE`"
    if any(name.startswith(("synthesis.convolutions.", "projections.")) for name in names):
        return "a file of a bundle; give the folder that holds it and its config.json"
    return kind_of_network(names) or f"a safetensors file of another network; {_ANOTHER}"


def kind_of_network(names: Iterable[str]) -> str | None:
    """What other model has tensors of these names and what to do, after "FILE is"; None where that is not known."""
    names = list(names)
    for mark, words in _TENSORS:
        if any(mark in name if mark[0] == "." else name.startswith(mark) for name in names):
            return f"{words}, another kind of model; {_ANOTHER}"
    return None


def kind_of_archive(members: list[zipfile.ZipInfo]) -> str | None:
    """What a ZIP file with these members is and what to do, after "FILE is"; None for what may be weights."""
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return (
            "a TorchScript program, not weights, and nothing in it was run; save the network's state_dict() with "
            "torch.save in the program that made it and choose that"
        )
    if names and all(name.endswith(".npy") for name in names):
        return f"a file of NumPy arrays (.npz), perhaps style codes, and no network; {_ANOTHER}"
    if "[Content_Types].xml" in names:
        return f"a document of an office program; {_ANOTHER}"
    if any(member.flag_bits & 1 for member in members):
        return f"an encrypted ZIP file; {_UNPACK}, with its password"
    if not any(name.endswith("/data.pkl") for name in names):
        return f"a ZIP file but no PyTorch checkpoint; {_UNPACK}"
    if any(member.compress_type or member.file_size != member.compress_size for member in members):
        return "a compressed ZIP file, which torch.save never writes; get another copy"
    return None
