"""Slices and updates, at places known only at run time, of tensors that repeat their elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, i: x.at[i].add(1.5),
    "add of one": lambda x, i: x.at[i[0]].add(1.5),
    "set": lambda x, i: x.at[i].set(0.5),
    "set the last dim": lambda x, i: x.at[..., i].set(0.5),
    "update": lambda x, i: jax.lax.dynamic_update_slice(
        x, jnp.ones((2,) * x.ndim), (i[1],) * x.ndim
    ),
    "slice": lambda x, i: jax.lax.dynamic_slice(x, (i[0],) * x.ndim, (2,) * x.ndim),
    "slice of one": lambda x, i: jax.lax.dynamic_index_in_dim(x, i[1], 0),
    "take": lambda x, i: x[i],
    "take the last dim": lambda x, i: x[..., i],
}
SOURCES = {
    "scalar": ((), (3,), ()),
    "scalar into a matrix": ((), (4, 5), ()),
    "rows": ((5,), (4, 5), (1,)),
    "columns": ((4,), (4, 5), (0,)),
    "many rows": ((200,), (150, 200), (1,)),
    "many columns": ((150,), (150, 200), (0,)),
}
"""Shape, broadcast shape and dims."""


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_places_in_a_broadcast(source: str, operation: str) -> None:
    shape, wide, dims = SOURCES[source]

    def program(x: jax.Array, i: jax.Array) -> jax.Array:
        return OPERATIONS[operation](jax.lax.broadcast_in_dim(x, wide, dims), i)

    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    i = np.array([0, 1, 1], np.int32)
    (found,) = axonc.compile(jax.jit(program).lower(x, i)).run(x, i, checked=True)
    np.testing.assert_array_equal(found, jax.jit(program)(x, i))
