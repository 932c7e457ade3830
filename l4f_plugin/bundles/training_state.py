"""Checkpoints of a training run: one safetensors file, no pickle, replaced in one step.

A state is a flat dictionary of tensors plus metadata that JSON can hold. `flatten_state` brings any
nest of dictionaries, lists and tuples (the `state_dict` of an optimiser, random states) into that
form and `unflatten_state` back, exactly: integer keys, tuples and float bits survive.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from .files import write_atomically
from .tensor_files import open_tensors, save_tensors

FORMAT = "labels4free-training-state"
VERSION = 1


def save_training_state(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes a training state, in one step. Raises `UserError` where the system refuses.

    `tensors` may lie on any device and have any dtype that safetensors knows (random states are uint8); `metadata`
    holds what JSON can.
    """
    header = {"format": FORMAT, "version": str(VERSION), "metadata": json.dumps(dict(metadata))}
    write_atomically(Path(path), lambda target: save_tensors(tensors, target, header))


def load_training_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save_training_state` wrote, tensors on the CPU. Raises `UserError` for another, damaged or later file."""
    path = Path(path)
    with open_tensors(path) as file:
        header = file.metadata() or {}
        # Copies: a mapped file cannot be replaced on Windows while a tensor still points into it.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if header.get("format") != FORMAT or not header.get("version", "").isdecimal():
        raise UserError(f"{path} is not a training state of this program; name the run's own file.")
    if int(header["version"]) > VERSION:
        raise UserError(f"{path} was made by a newer version of Labels4Free; update it and try again.")
    try:
        metadata = json.loads(header["metadata"])
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} holds no readable metadata; start the run anew.") from error
    return tensors, metadata


def flatten_state(state: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Splits a nested state into numbered tensors and a structure that JSON can hold.

    `state` may nest dictionaries (keys: str, int), lists, tuples, tensors, str, int, float, bool and
    None; anything else raises `TypeError`.
    """
    tensors: dict[str, torch.Tensor] = {}

    def flat(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            name = str(len(tensors))
            tensors[name] = value
            return {"tensor": name}
        if isinstance(value, Mapping) and all(type(key) in (str, int) for key in value):
            return {"dict": [[key, flat(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"tuple" if isinstance(value, tuple) else "list": list(map(flat, value))}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"a {type(value).__name__} or its keys cannot be stored in a training state")

    return tensors, flat(state)


def unflatten_state(tensors: Mapping[str, torch.Tensor], structure: Any) -> Any:
    """Puts together what `flatten_state` took apart. Raises `UserError` where a part is missing."""
    if not isinstance(structure, dict):
        return structure
    if len(structure) != 1:
        raise UserError("The training state is damaged; start the run anew or take an older state.")
    kind, content = next(iter(structure.items()))
    if kind == "tensor" and content in tensors:
        return tensors[content]
    if kind == "dict":
        return {key: unflatten_state(tensors, item) for key, item in content}
    if kind in ("list", "tuple"):
        items = [unflatten_state(tensors, item) for item in content]
        return tuple(items) if kind == "tuple" else items
    raise UserError("The training state lacks a part it names; start the run anew or take an older state.")
