"""Numbers at which functions are hard: limits of formats and ranges, ties, special values."""

from __future__ import annotations

import itertools

import numpy as np

MODERATE = [
    *(0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -3.25, 0.1, -0.1, 1e-3, -1e-3),
    *(7.0, -7.0, 10.0, 1e2, -1e2, 0.999999, 1.000001, 2.0, 4.0, 0.25, 12345.678),
]
"""Numbers whose pairs have ordinary results."""

EDGES = [
    *MODERATE,
    *(-0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e-10, 1e30, -1e30, 3.4e38, -3.4e38),
    *(1.2e-38, 2.0**-64, 2.0**64, 2.0**-60, 2.0**60, 88.0, 89.0, -88.0, -104.0, -17.0),
    *(2.0**23, 2.0**23 + 1, 2.0**22 + 0.5, -(2.0**22) - 0.5, 2.0**24, 2.0**31, -(2.0**31)),
    *(3e9, -3e9, 0.49999997, -0.49999997, 0.24999, 0.25001, 6.2831855, 3.1415927, -3.1415927),
]


def all_pairs(values: list[float], dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays [1, n * n]: every value with every value."""
    pairs = np.array(list(itertools.product(values, values)), dtype)
    return pairs[:, 0].reshape(1, -1), pairs[:, 1].reshape(1, -1)
