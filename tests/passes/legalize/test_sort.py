"""Sorts, and what is made of them, as instruction streams, against JAX and numpy."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc

INF, NAN = np.inf, np.nan


def values(*shape: int, dtype: str = "float32") -> np.ndarray:
    """With ties: few different numbers."""
    return np.random.default_rng(sum(shape)).integers(-5, 6, shape).astype(dtype)


def check(function: Callable[..., object], *arrays: np.ndarray, **options: object) -> None:
    executable = axonc.compile(jax.jit(function).lower(*arrays), **options)
    expected = jax.tree.leaves(jax.jit(function)(*arrays))
    for found, wanted in zip(executable.run(*arrays, checked=True), expected, strict=True):
        np.testing.assert_array_equal(found, np.asarray(wanted))


@pytest.mark.parametrize("shape, axis", [((5,), 0), ((3, 40), 1), ((40, 3), 0), ((2, 6, 3), 1)])
def test_sort_along_a_dim(shape: tuple[int, ...], axis: int) -> None:
    check(lambda x: (jnp.sort(x, axis), jnp.argsort(x, axis)), values(*shape))


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8", "bool"])
def test_types(dtype: str) -> None:
    check(lambda x: (jnp.sort(x), jnp.argsort(x, descending=True)), values(4, 17, dtype=dtype))


def test_infinities_and_nan() -> None:
    x = np.array([[1, NAN, -INF, 0, INF, -2], [INF, NAN, NAN, 3, -INF, 3]], np.float32)
    check(lambda x: (jnp.sort(x), jnp.argsort(x)), x, exact_transposes=True)


def test_zeros_by_the_total_order() -> None:
    """top_k compares by the total order: +0 is larger than -0."""
    x = np.array([[-0.0, 0.0, -1.0, 0.0, -0.0]], np.float32)
    (numbers, places) = axonc.compile(jax.jit(lambda x: lax.top_k(x, 5)).lower(x)).run(
        x, checked=True
    )
    np.testing.assert_array_equal(numbers, [[0, 0, 0, 0, -1]])
    np.testing.assert_array_equal(places, [[1, 3, 0, 4, 2]])


def test_large_integers_are_told_apart() -> None:
    x = np.array([2**30 + 1, 2**30, -(2**31), 2**31 - 1, 2**30 + 2], np.int32)
    check(lambda x: (jnp.sort(x), jnp.argsort(x)), x)


def test_several_keys() -> None:
    keys = values(30, dtype="int32"), values(30), np.arange(30, dtype=np.int32)
    check(lambda *k: lax.sort(k, num_keys=2), *keys)


def test_the_experts_of_tokens() -> None:
    """Routing: the best 2 of 8 for each of 130 tokens, and their weights."""

    def route(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        best, expert = lax.top_k(x, 2)
        return best, expert

    check(route, np.random.default_rng(1).standard_normal((130, 8)).astype(np.float32))


def test_median_and_a_search() -> None:
    x = np.random.default_rng(2).standard_normal((3, 21)).astype(np.float32)
    check(lambda x: jnp.median(x, 1), x)
    check(lambda x, v: jnp.searchsorted(x, v), np.sort(x[0]), x[1])


def test_long_dims_are_refused() -> None:
    lowered = jax.jit(jnp.sort).lower(np.zeros(50_000, np.float32))
    with pytest.raises(axonc.UnsupportedOpError, match="sort of 50000 elements, 1 times"):
        axonc.compile(lowered)
