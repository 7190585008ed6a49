"""Operations on wide tiles, cut into pieces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.diagnostics import CapacityError


@pytest.mark.parametrize("shape", [(129, 256), (130, 257), (131, 400), (3, 5000)])
def test_cutting_ends_where_a_tile_reaches_far_along_several_dims(shape: tuple[int, int]) -> None:
    """Its longest dim is less than a piece, and half of its reach: all of that dim is no piece. It
    fits in the end, or it is said that it does not."""

    def pooled(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(
            x, jnp.float32(0), jax.lax.add, (3, 2), (1, 1), ((1, 0), (0, 1))
        )

    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        executable = axonc.compile(jax.jit(pooled).lower(x), auto_cast="all")
    except CapacityError:
        return
    (found,) = executable.run(x, checked=True)
    np.testing.assert_allclose(found, np.asarray(pooled(x)), atol=0.1)
