"""A value that one consumer reads in a narrower type keeps its own precision for the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import axonc


def rounded(x: np.ndarray) -> jax.Array:
    return x.astype(jnp.bfloat16)


def test_float32_on_the_rows_of_a_bf16_copy_is_not_made_from_the_copy() -> None:
    """The softmax leaves columns on partitions, the dot wants a bf16 copy with rows on partitions,
    and then the maximum wants float32 with those same rows."""

    def program(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = jax.nn.softmax(x, axis=0)
        z = jax.lax.dot_general(
            rounded(s), rounded(w), (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
        )
        return z, jnp.max(s, axis=1)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 300)).astype(np.float32)
    w = rng.standard_normal((200, 64)).astype(np.float32)
    _, largest = axonc.compile(jax.jit(program).lower(x, w)).run(x, w, checked=True)
    e = np.exp(x.astype(np.float64) - x.max(0))
    np.testing.assert_allclose(largest, (e / e.sum(0)).max(1), rtol=1e-5)


def test_a_result_also_read_as_bf16_is_stored_as_float32() -> None:
    def program(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = jax.nn.softmax(x, axis=0)
        z = jax.lax.dot_general(
            rounded(s), rounded(w), (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
        )
        return z, s

    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 300)).astype(np.float32)
    w = rng.standard_normal((200, 64)).astype(np.float32)
    _, found = axonc.compile(jax.jit(program).lower(x, w)).run(x, w, checked=True)
    e = np.exp(x.astype(np.float64) - x.max(0))
    np.testing.assert_allclose(found, e / e.sum(0), rtol=1e-5)


def test_a_bf16_result_widened_afterwards_is_still_rounded() -> None:
    def program(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(rounded(x), axis=1).astype(jnp.float32)

    x = np.random.default_rng(0).standard_normal((130, 70)).astype(np.float32)
    (found,) = axonc.compile(jax.jit(program).lower(x)).run(x, checked=True)
    bits = found.view(np.uint32)
    assert not (bits & 0xFFFF).any(), "a bf16 number has no low mantissa bits"
