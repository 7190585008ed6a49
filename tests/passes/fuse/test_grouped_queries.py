"""Attention whose query heads share key heads, in checked mode, against JAX in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

RNG = np.random.default_rng(2)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, order: str) -> jax.Array:
    """q [B, H, T, D], k and v [B, G, S, D]; H / G neighbouring heads share a key head, or (order
    "lhs") the same with keys as the left operand."""
    k, v = (jnp.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    if order == "lhs":
        scores = jnp.einsum("bhsd,bhtd->bhst", k, q)
        weights = jax.nn.softmax(scores, axis=2)
        return jnp.einsum("bhsd,bhst->bhdt", v, weights)
    scores = jnp.einsum("bhtd,bhsd->bhts", q, k) * 0.125
    scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool), 1), scores, -1e9)
    return jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(scores, axis=-1), v)


@pytest.mark.parametrize("order", ["rhs", "lhs"])
@pytest.mark.parametrize("batch, heads, keys, tokens, length", [
    (1, 8, 2, 1, 40), (2, 6, 3, 1, 9), (1, 8, 2, 128, 128), (2, 4, 1, 33, 33), (1, 4, 4, 5, 7),
])  # fmt: skip
def test_attention(batch: int, heads: int, keys: int, tokens: int, length: int, order: str) -> None:
    q = RNG.standard_normal((batch, heads, tokens, 64)).astype(np.float32)
    k, v = RNG.standard_normal((2, batch, keys, length, 64)).astype(np.float32)
    lowered = jax.jit(attention, static_argnums=3).lower(q, k, v, order)
    (found,) = axonc.compile(lowered).run(q, k, v, checked=True)
    with jax.enable_x64(True):
        wide = [x.astype(np.float64) for x in (q, k, v)]
        expected = np.asarray(attention(*wide, order))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_keys_are_not_copied_for_the_heads_that_share_them() -> None:
    shape = jax.ShapeDtypeStruct((1, 8, 128, 64), np.float32)
    shared = jax.ShapeDtypeStruct((1, 2, 128, 64), np.float32)
    lowered = jax.jit(attention, static_argnums=3).lower(shape, shared, shared, "rhs")
    timeline = axonc.compile(lowered).machine().timeline()
    written = timeline.hbm_bytes - timeline.hbm_read_bytes
    assert written < 8 * 128 * 64 * 4 + 1024  # the result, and a line of the mask
