"""Pickles of NVIDIA's StyleGAN2 programs (TensorFlow and PyTorch), read without running anything in them.

Such a file names classes of those programs and carries their source text, which is left as text. Tensors of
the PyTorch programs are whole torch checkpoints in a byte string each: these go through the reader again,
with what is left of the allowance and without the names of this module, so that nothing nests further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from .pickle_opcodes import Allowance, FileBytes
from .pickle_reader import Builder, Record, read_pickle
from .torch_files import TORCH_VOCABULARY, Storage, read_stream

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
NETWORK = "dnnlib.tflib.network.Network"


@dataclass
class PersistentObject:
    """An object of the PyTorch programs: the name of its class and what it held."""

    class_name: str
    state: dict[Any, Any]


def read_nvidia_pickle(file: BinaryIO, end: int, label: str, allowance: Allowance) -> Any:
    """The object in a pickle from the file's position up to `end`: see `checkpoint_files.open_checkpoint`.

    TensorFlow's networks are `Record`s named `NETWORK`, PyTorch's modules `PersistentObject`s. Raises
    `UserError`.
    """

    def storage(content: Any) -> Storage:
        inner, position = FileBytes.of(content), file.tell()
        inner.file.seek(inner.offset)
        root = read_stream(inner.file, inner.offset + inner.length, label, allowance)
        file.seek(position)
        if not isinstance(root, Storage):
            raise ValueError("a storage holds something else")
        return root

    vocabulary = {**_VOCABULARY, "torch.storage._load_from_bytes": Builder("_load_from_bytes", storage)}
    return read_pickle(file, end - file.tell(), vocabulary, label, allowance=allowance)


def _persistent_object(description: Any) -> PersistentObject:
    described = description if isinstance(description, dict) else {}
    name, state = described.get("class_name"), described.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise ValueError("it rebuilds an object without a class or a state")
    return PersistentObject(name, state)


_VOCABULARY: dict[str, Any] = {
    **TORCH_VOCABULARY,
    NETWORK: Builder("Network", lambda: Record(NETWORK)),
    PERSISTENT: Builder("_reconstruct_persistent_obj", _persistent_object),
    "dnnlib.util.EasyDict": Builder("EasyDict", lambda: (), dict),
}
