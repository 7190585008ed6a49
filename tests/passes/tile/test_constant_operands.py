"""Operations on floats of which one operand is a constant, as IEEE 754 and numpy in float64 have
them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import axonc

CONSTANTS = (2.5, -2.5, -0.0, -0.5, 1.0, -1.0, 3e9, -3e9, np.inf, -np.inf, np.nan)

VALUES = np.array(
    [
        [0.0, -0.0, 1, -1, 0.5],
        [-0.5, 2.5, -3, 1e6, -1e6],
        [3e9, -3e9, 1e-30, -1e-30, 7],
        [np.inf, -np.inf, np.nan, 3, -3],
    ],
    np.float32,
)

OPERATIONS = {
    "multiply": (jax.lax.mul, np.multiply),
    "divide": (jax.lax.div, np.divide),
    "maximum": (jax.lax.max, np.maximum),
    "minimum": (jax.lax.min, np.minimum),
    "remainder": (jax.lax.rem, np.fmod),
    "atan2": (jax.lax.atan2, np.arctan2),
    "power": (jax.lax.pow, np.power),
}
"""By name, of JAX and of numpy. What is added to or subtracted from +0 is in other tests."""


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_constants_keep_their_bits(name: str, is_first: bool) -> None:
    operation, exact = OPERATIONS[name]

    def all_of_them(x: jax.Array) -> list[jax.Array]:
        numbers = [np.full_like(VALUES, c) for c in CONSTANTS]
        return [operation(c, x) if is_first else operation(x, c) for c in numbers]

    results = axonc.compile(jax.jit(all_of_them).lower(VALUES)).run(VALUES, checked=True)
    for number, found in zip(CONSTANTS, results, strict=True):
        operands = (np.full_like(VALUES, number), VALUES)
        with np.errstate(all="ignore"):
            wanted = exact(*(o.astype(np.float64) for o in operands[:: 1 if is_first else -1]))
            wanted = wanted.astype(np.float32)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-38, err_msg=str(number))
        zeros = (wanted == 0) & (found == 0)
        if name not in ("maximum", "minimum"):  # numpy takes either zero
            np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(wanted[zeros]))
