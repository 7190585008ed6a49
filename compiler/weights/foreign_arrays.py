"""Arrays of other libraries as numpy arrays in their own type: whatever speaks `__array__` or
DLPack, and torch tensors of types numpy has no name for. Nothing is imported for it.
"""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

# torch dtypes numpy has no name for: the integer type of the same width to view them as.
_VIEW_AS: dict[str, tuple[str, np.dtype]] = {
    "bfloat16": ("int16", np.dtype(ml_dtypes.bfloat16)),
    "float8_e4m3fn": ("uint8", np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8_e5m2": ("uint8", np.dtype(ml_dtypes.float8_e5m2)),
    "float8_e4m3fnuz": ("uint8", np.dtype(ml_dtypes.float8_e4m3fnuz)),
    "float8_e5m2fnuz": ("uint8", np.dtype(ml_dtypes.float8_e5m2fnuz)),
    "float8_e8m0fnu": ("uint8", np.dtype(ml_dtypes.float8_e8m0fnu)),
}


def as_array(value: object) -> np.ndarray:
    """`value` as an array, without a copy where that is possible.

    Raises:
        TypeError, ValueError, RuntimeError, BufferError: it is none; as its library says it.
    """
    if isinstance(value, np.ndarray):
        return value
    if _is_tensor(value):
        return array_of_tensor(value)
    if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)  # type: ignore[arg-type]
    return np.asarray(value)


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def array_of_tensor(tensor: Any) -> np.ndarray:
    """The memory of a torch tensor on the CPU (a copy of another device's), without its gradient;
    bf16 and f8 through their bits."""
    held = tensor.detach().cpu().resolve_conj().resolve_neg()
    name = str(held.dtype).removeprefix("torch.")
    if name not in _VIEW_AS:
        return np.asarray(held.numpy())
    bits, dtype = _VIEW_AS[name]
    integers = held.contiguous().view(getattr(sys.modules["torch"], bits))
    return np.asarray(integers.numpy()).view(dtype)
