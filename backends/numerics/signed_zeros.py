"""Functions of floats of which numpy leaves or loses the sign of a zero result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def sign(x: np.ndarray) -> np.ndarray:
    """-1, 0 or 1; -0 for -0 and NaN for NaN."""
    return np.where(x == 0, x, np.sign(x)).astype(x.dtype)


def maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The larger one; NaN if either is; +0 of zeros of both signs (IEEE 754-2019 maximum: assumed).

    numpy gives either of two zeros; where both are zeros, their sum is the one wanted."""
    return _with_equal_zeros(np.maximum(a, b), a, b, np.add)


def minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As `maximum`; -0 of zeros of both signs."""
    return _with_equal_zeros(np.minimum(a, b), a, b, lambda a, b: -(-a - b))


def _with_equal_zeros(
    result: np.ndarray, a: np.ndarray, b: np.ndarray, of_zeros: Callable[..., np.ndarray]
) -> np.ndarray:
    if result.dtype.kind in "biu":
        return result
    if (np.ndim(b) == 0 and b != 0) or (np.ndim(a) == 0 and a != 0) or np.all(result):
        return result
    both = (a == 0) & (b == 0)
    return np.where(both, of_zeros(a, b), result)
