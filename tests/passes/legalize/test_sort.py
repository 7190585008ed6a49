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


# ---- by the network ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((300,), 0), ((1024,), 0), ((4100,), 0), ((3, 700), 1), ((700, 3), 0), ((200, 90), 1),
     ((5, 260, 2), 1), ((130, 256), 1)],
)  # fmt: skip
def test_long_rows(shape: tuple[int, ...], axis: int) -> None:
    """Rows that are padded or not, on one partition or several, in one tile or more; with ties."""
    check(lambda x: (jnp.sort(x, axis), jnp.argsort(x, axis)), values(*shape))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "uint32", "int8", "bool"])
def test_types_of_long_rows(dtype: str) -> None:
    x = values(2, 400, dtype=dtype)
    check(lambda x: (jnp.sort(x), jnp.argsort(x, descending=True)), x)


def test_infinities_and_nan_in_long_rows() -> None:
    x = np.random.default_rng(3).choice([1, NAN, -INF, 0.0, -0.0, INF, -2], (3, 333))
    check(lambda x: (jnp.sort(x), jnp.argsort(x)), x.astype(np.float32))


def test_several_keys_of_long_rows() -> None:
    keys = values(300, dtype="int32"), values(300), np.arange(300, dtype=np.int32)[::-1].copy()
    check(lambda *k: lax.sort(k, num_keys=2), *keys)
    check(lambda *k: jnp.lexsort(k), *keys[:2])


def test_many_values_that_move_along() -> None:
    """More than are gathered afterwards."""
    x, y = values(520, 260), np.random.default_rng(4).standard_normal((520, 260)).astype(np.float32)
    check(lambda x, y: lax.sort((x, y), num_keys=1), x, y)


def test_a_computed_key() -> None:
    text = """
    func.func @main(%a: tensor<260xf32>, %b: tensor<260xi32>)
        -> (tensor<260xf32>, tensor<260xi32>) {
      %two = stablehlo.constant dense<2.0> : tensor<f32>
      %0:2 = "stablehlo.sort"(%a, %b) ({
      ^bb0(%x: tensor<f32>, %y: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>):
        %p = stablehlo.abs %x : tensor<f32>
        %q = stablehlo.abs %y : tensor<f32>
        %r = stablehlo.remainder %p, %two : tensor<f32>
        %s = stablehlo.remainder %q, %two : tensor<f32>
        %less = stablehlo.compare GT, %r, %s : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %less : tensor<i1>
      }) {dimension = 0 : i64, is_stable = true}
        : (tensor<260xf32>, tensor<260xi32>) -> (tensor<260xf32>, tensor<260xi32>)
      return %0#0, %0#1 : tensor<260xf32>, tensor<260xi32>
    }"""
    a, b = values(260), np.arange(260, dtype=np.int32)
    found = axonc.compile(text).run(a, b, checked=True)
    order = np.argsort(-(np.abs(a) % 2), kind="stable")
    np.testing.assert_array_equal(found[0], a[order])
    np.testing.assert_array_equal(found[1], b[order])


@pytest.mark.parametrize(
    ("shape", "k"), [((1, 5000), 50), ((3, 4096), 7), ((200, 600), 5), ((2, 1500), 1500)]
)
def test_the_largest_of_long_rows(shape: tuple[int, int], k: int) -> None:
    """With ties, of which the first come first."""
    check(lambda x: lax.top_k(x, k), values(*shape))


def test_zeros_in_long_rows_by_the_total_order() -> None:
    x = np.random.default_rng(5).choice(np.float32([0.0, -0.0]), (1, 4096))
    (numbers, places) = axonc.compile(jax.jit(lambda x: lax.top_k(x, 9)).lower(x)).run(
        x, checked=True
    )
    np.testing.assert_array_equal(places[0], np.flatnonzero(~np.signbit(x[0]))[:9])
    assert not np.signbit(numbers).any()


def test_a_nucleus_of_probabilities() -> None:
    """Top-p: tokens, the most probable first, up to a sum."""

    def nucleus(x: jax.Array) -> jax.Array:
        probable = jnp.sort(jax.nn.softmax(x), descending=True)
        kept = jnp.sum(jnp.cumsum(probable) < 0.9)
        return jnp.where(jax.nn.softmax(x) >= probable[kept], x, -INF)

    x = 4 * np.random.default_rng(6).standard_normal(1000).astype(np.float32)
    executable = axonc.compile(jax.jit(nucleus).lower(x))
    (found,) = executable.run(x, checked=True)
    np.testing.assert_array_equal(found, jax.jit(nucleus)(x))


def test_a_cast_program_sorts_what_it_is_given() -> None:
    """Casts change values before a sort, not what the sort compares, nor places."""
    x = values(700)
    (found,) = axonc.compile(jax.jit(jnp.argsort).lower(x), auto_cast="all").run(x, checked=True)
    np.testing.assert_array_equal(found, np.argsort(x, kind="stable"))


def test_rows_that_places_cannot_count_are_refused() -> None:
    text = """
    func.func @main(%a: tensor<16777217xf32>) -> tensor<16777217xf32> {
      %0 = "stablehlo.sort"(%a) ({
      ^bb0(%x: tensor<f32>, %y: tensor<f32>):
        %less = stablehlo.compare LT, %x, %y : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %less : tensor<i1>
      }) {dimension = 0 : i64} : (tensor<16777217xf32>) -> tensor<16777217xf32>
      return %0 : tensor<16777217xf32>
    }"""
    with pytest.raises(axonc.UnsupportedOpError, match="sort of 16777217 elements"):
        axonc.compile(text)
