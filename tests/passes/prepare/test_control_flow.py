"""Loops and branches of JAX programs, as instruction streams, against XLA."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc
from axonc.backends.program import TensorKind

X = np.linspace(-1, 1, 4 * 32, dtype=np.float32).reshape(4, 32)
STACKED = np.random.default_rng(5).normal(scale=0.2, size=(3, 32, 32)).astype(np.float32)


def nested(x: jax.Array) -> jax.Array:
    def row(i: int, c: jax.Array) -> jax.Array:
        return lax.fori_loop(0, i + 1, lambda j, d: d * 0.5 + j, c)

    return lax.fori_loop(0, 3, row, x)


def step(carry: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    carry = jnp.tanh(carry @ w)
    return carry, carry.sum(0)


def branch_in_loop(x: jax.Array) -> jax.Array:
    def body(i: int, c: jax.Array) -> jax.Array:
        return lax.cond(i % 2 == 0, jnp.sin, lambda y: y * 2 + i, c)

    return lax.fori_loop(0, 5, body, x)


PROGRAMS: dict[str, tuple[Callable[..., object], tuple[np.ndarray, ...]]] = {
    "scan": (lambda x, w: lax.scan(step, x, w), (X, STACKED)),
    "scan backwards": (lambda x, w: lax.scan(step, x, w, reverse=True), (X, STACKED)),
    "nested loops": (nested, (X,)),
    "no iteration": (lambda x: lax.fori_loop(3, 3, lambda i, c: c + i, x) + 1, (X,)),
    "a loop by steps": (
        lambda x: lax.while_loop(
            lambda c: c[0] > -5, lambda c: (c[0] - 2, c[1] * 0.9 + c[0]), (7, x)
        ),
        (X,),
    ),
    "a branch in a loop": (branch_in_loop, (X,)),
    "map": (lambda x: lax.map(lambda row: row / (1 + jnp.abs(row).sum()), x), (X,)),
}


def assert_as_xla(function: Callable[..., object], arguments: tuple[np.ndarray, ...]) -> None:
    executable = axonc.compile(jax.jit(function).lower(*arguments))
    expected = jax.tree.leaves(jax.jit(function)(*arguments))
    for found, wanted in zip(executable.run(*arguments, checked=True), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_loops(name: str) -> None:
    assert_as_xla(*PROGRAMS[name])


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 3])
def test_branches_by_number(number: int) -> None:
    def chosen(x: jax.Array, k: jax.Array) -> jax.Array:
        branches = [lambda y: (y, y.max()), lambda y: (y * 2, 0.5), lambda y: (jnp.sin(y), 1.5)]
        return lax.switch(k, branches, x)

    assert_as_xla(chosen, (X, np.int32(number)))


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_not_taken_does_not_matter(sign: int) -> None:
    """The logarithm of the negative numbers is NaN, that of 0 an infinity."""
    x = np.array([[0.0, 1.0, 2.0]], np.float32) * sign
    assert_as_xla(lambda x: lax.cond(x[0, 1] > 0, jnp.sqrt, jnp.log1p, x), (x,))


def test_the_weights_of_scanned_layers_are_read_where_they_lie() -> None:
    def looped(x: jax.Array, w: jax.Array) -> jax.Array:
        for i in range(len(w)):
            x = step(x, w[i])[0]
        return x

    read = []
    for function in (looped, lambda x, w: lax.scan(step, x, w)[0]):
        executable = axonc.compile(jax.jit(function).lower(X, STACKED), weights={"w": STACKED})
        (weight,) = {t.source for t in executable.compiled.tensors(TensorKind.WEIGHT)}
        assert weight == "w"
        read.append(executable.profile().hbm_bytes_read)
    assert read[0] == read[1] < STACKED.nbytes + 2 * X.nbytes


Layers = tuple[jax.Array, jax.Array]


def cached_layer(x: jax.Array, layer: Layers, at: jax.Array) -> Layers:
    """A row of x [2, 8] goes into the layer's cache [2, 6, 8] at `at`; all rows are read."""
    w, cache = layer
    x = jnp.tanh(x @ w)
    cache = lax.dynamic_update_slice(cache, x[:, None], (0, at, 0))
    return x + cache.sum(1), cache


@pytest.mark.parametrize("reverse", [False, True])
def test_the_stacked_cache_of_scanned_layers_is_updated_in_place(reverse: bool) -> None:
    def step(caches: jax.Array, w: jax.Array, x: jax.Array, at: jax.Array) -> Layers:
        return lax.scan(
            lambda c, layer: cached_layer(c, layer, at), x, (w, caches), reverse=reverse
        )

    rng = np.random.default_rng(8)
    w = rng.normal(scale=0.4, size=(3, 8, 8)).astype(np.float32)
    caches = rng.normal(size=(3, 2, 6, 8)).astype(np.float32)
    x = rng.normal(size=(2, 8)).astype(np.float32)
    lowered = jax.jit(step, donate_argnums=0).lower(caches, w, x, np.int32(0))
    executable = axonc.compile(lowered)
    assert {t.alias for t in executable.compiled.tensors(TensorKind.OUTPUT)} == {"", "caches"}
    session = executable.session({"caches": caches}, checked=True)
    for at in (1, 5, 0, 9):
        expected, caches = map(np.asarray, step(caches, w, x, at))
        np.testing.assert_allclose(session.run(w, x, np.int32(at))[0], expected, atol=1e-5)
    np.testing.assert_allclose(session.state()["caches"], caches, atol=1e-5)


def test_updates_of_other_parts_are_stacked() -> None:
    """Layer i is made from cache i + 1: no update of the tensor itself."""

    def step(caches: jax.Array, x: jax.Array, at: jax.Array) -> jax.Array:
        def layer(i: int, made: jax.Array) -> jax.Array:
            part = lax.dynamic_index_in_dim(caches, (i + 1) % 3, keepdims=False)
            part = lax.dynamic_update_slice(part, x * (i + 1), (at, 0))
            return lax.dynamic_update_index_in_dim(made, part, i, 0)

        return lax.fori_loop(0, 3, layer, jnp.zeros_like(caches))

    rng = np.random.default_rng(9)
    caches = rng.normal(size=(3, 5, 4)).astype(np.float32)
    assert_as_xla(step, (caches, caches[0, :1], np.int32(2)))
