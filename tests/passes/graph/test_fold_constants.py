"""Identities that hold for all values: signs of zero, from JAX to the machine."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "x - 0": lambda x: x - 0.0,
    "x - (-0)": lambda x: x - (-0.0),
    "0 - x": lambda x: 0.0 - x,
    "-0 - x": lambda x: -0.0 - x,
    "-x": lambda x: -x,
    "x + 0": lambda x: x + 0.0,
    "x + (-0)": lambda x: x + (-0.0),
    "x * 1": lambda x: x * 1.0,
    "x / 1": lambda x: x / 1.0,
    "x * -1": lambda x: x * -1.0,
    "max(x, 0)": lambda x: jnp.maximum(x, 0.0),
    "max(x, -0)": lambda x: jnp.maximum(x, -0.0),
    "min(x, 0)": lambda x: jnp.minimum(x, 0.0),
    "min(x, inf)": lambda x: jnp.minimum(x, jnp.inf),
    "max(x, -inf)": lambda x: jnp.maximum(x, -jnp.inf),
}
OF_TIES = {"max(x, 0)": [1, 1], "max(x, -0)": [1, -1], "min(x, 0)": [1, -1]}
"""Where IEEE 754 orders zeros, which XLA on a CPU may not do."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_identities_keep_the_sign_of_zero(name: str) -> None:
    x = np.array([0.0, -0.0], np.float32)
    (found,) = axonc.compile(jax.jit(FUNCTIONS[name]).lower(x)).run(x, checked=True)
    signs = np.copysign(1, found)
    expected = OF_TIES.get(name)
    if expected is None:
        with jax.disable_jit():
            expected = np.copysign(1, np.asarray(FUNCTIONS[name](x)))
    assert not found.any()
    np.testing.assert_array_equal(signs, expected)
