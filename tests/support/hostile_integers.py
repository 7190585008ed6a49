"""64-bit integers at which 32-bit arithmetic, floats and signs go wrong; and exact results by
Python's integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

HOSTILE = (
    0, 1, -1, 2, -2, 7, -7, 1000, 65535, 65536, -65536, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1,
    2**32 - 1, 2**32, 2**32 + 1, -(2**32), 2**40, 2**48 + 1, 2**53 + 1, -(2**53 + 1), 2**62,
    2**63 - 1, -(2**63), -(2**63) + 1, 123456789012345, -98765432109876,
)  # fmt: skip


def hostile_pairs() -> tuple[np.ndarray, np.ndarray]:
    """All pairs of them, int64."""
    a, b = np.meshgrid(np.array(HOSTILE, np.int64), np.array(HOSTILE, np.int64))
    return a.reshape(-1).copy(), b.reshape(-1).copy()


def exactly(function: Callable[..., int], *arrays: np.ndarray) -> np.ndarray:
    """`function` of Python integers, element by element, wrapped to the type of the arrays."""
    dtype = arrays[0].dtype
    found = [
        function(*numbers) % 2**64 for numbers in zip(*(a.tolist() for a in arrays), strict=True)
    ]
    return np.array(found, np.uint64).view(dtype)


def quotient(a: int, b: int) -> int:
    """Towards zero; all bits set for a zero divisor."""
    if b == 0:
        return -1
    size = abs(a) // abs(b)
    return size if (a < 0) == (b < 0) else -size


def remainder(a: int, b: int) -> int:
    """With the sign of a; a for a zero divisor."""
    if b == 0:
        return a
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def shifted_left(a: int, b: int) -> int:
    return a << b if 0 <= b < 64 else 0


def shifted_right(a: int, b: int) -> int:
    return a >> min(b, 64) if b >= 0 else (-1 if a < 0 else 0)


def shifted_logically(a: int, b: int) -> int:
    return (a % 2**64) >> b if 0 <= b < 64 else 0
