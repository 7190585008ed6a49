"""TensorE. The stationary matrix and PSUM accumulation are the executor's; here is the product."""

from __future__ import annotations

import numpy as np


def matmul(stationary: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """stationary [K, *M] and moving [K, *N], float32 -> [M, *N] float32: stationary.T @ moving.

    The operands are cast up from their storage types, so products of up to 12-bit significands are
    exact; float32 operands are used whole (four passes: machine.md#arithmetic). Sums are float32,
    in the order of the BLAS (the array's order is not published). NaN and infinity in a row pollute
    every result of it, also with an identity matrix (`is_transpose`), as on NeuronCore-v2.
    """
    rows = stationary.shape[0]
    product = stationary.reshape(rows, -1).T @ moving.reshape(rows, -1)
    return product.reshape(product.shape[0], *moving.shape[1:])
