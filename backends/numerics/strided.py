"""Strided views of arrays of any element type."""

from __future__ import annotations

import numpy as np


def as_strided(
    array: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], *, writeable: bool = True
) -> np.ndarray:
    """`array` seen with another shape and strides (in bytes), as numpy's function of this name.
    That one cannot name ml_dtypes' float8_e5m2, so types numpy has not are strided as bits."""
    bits = array.view(f"u{array.itemsize}") if not array.dtype.isbuiltin == 1 else array
    seen = np.lib.stride_tricks.as_strided(bits, shape, strides, writeable=writeable)
    return seen.view(array.dtype)
