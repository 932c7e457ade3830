"""W+ codes as safetensors files: one tensor `w_plus`, and the seed of its noise maps among the notes.

Such files come from anywhere: size, names, type and shape are looked at before a number is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ..errors import UserError
from .files import write_atomically
from .tensor_files import read_metadata, save_tensors

TENSOR = "w_plus"
MAXIMUM_BYTES = 4 << 20
_FLOATS = {"F16", "BF16", "F32", "F64"}


def save_w_plus(path: Path, codes: np.ndarray, notes: Mapping[str, str]) -> None:
    """Writes codes float32 `[num_styles, style_dim]`, in one step. Raises `UserError` where the system refuses."""
    write_atomically(path, lambda target: save_tensors({TENSOR: torch.from_numpy(codes)}, target, notes))


def read_w_plus(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Codes `[num_styles, style_dim]`, or one batch `[1, num_styles, style_dim]` of them, as float32; and the notes.

    Raises `UserError` for a file that is missing, too large, damaged or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file; check the path of the W+ codes.")
    if path.stat().st_size > MAXIMUM_BYTES:
        raise UserError(f"{path.name} is too large to hold W+ codes; save them with `l4f generate --save-w-plus`.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            if list(file.keys()) != [TENSOR]:
                raise UserError(f"{path.name} does not hold W+ codes alone; save them with "
                                "`l4f generate --save-w-plus`.")
            stored = file.get_slice(TENSOR)
            shape, kind = stored.get_shape(), stored.get_dtype()
            if kind not in _FLOATS or len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
                raise UserError(f"{path.name} holds {kind} {list(shape)} instead of one set of W+ codes "
                                "[num_styles, style_dim].")
            codes = file.get_tensor(TENSOR).float().reshape(shape[-2:]).numpy()
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(f"{path.name} is damaged or not a safetensors file; save the W+ codes again.") from error
    return codes, read_metadata(path)
