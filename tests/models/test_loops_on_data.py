"""Loops and branches that depend on data, as branches of the sequencers, against XLA, in both
modes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc

X = np.linspace(0.1, 1, 4 * 8, dtype=np.float32).reshape(4, 8)
W = np.random.default_rng(3).normal(scale=0.4, size=(8, 8)).astype(np.float32)

Function = Callable[..., object]


def assert_as_xla(function: Function, *arguments: object, rtol: float = 1e-5) -> axonc.Executable:
    executable = axonc.compile(jax.jit(function, keep_unused=True).lower(*arguments))
    expected = jax.tree.leaves(jax.jit(function)(*arguments))
    for checked in (True, False):
        results = executable.run(*arguments, checked=checked)
        for found, wanted in zip(results, expected, strict=True):
            assert found.dtype == wanted.dtype
            np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-6)
    return executable


def counted(n: jax.Array, begin: object, step: Callable[[jax.Array, object], object]) -> object:
    return lax.fori_loop(0, n, step, begin)


def newton(a: jax.Array) -> jax.Array:
    return lax.while_loop(
        lambda y: jnp.any(jnp.abs(y * y - a) > 1e-4), lambda y: 0.5 * (y + a / y), jnp.ones_like(a)
    )


def power_iteration(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    def step(s: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        v = a @ s[0]
        v = v / jnp.sqrt((v * v).sum())
        return v, s[0], jnp.abs(v - s[0]).max()

    start = (jnp.full(8, 8**-0.5), jnp.zeros(8), jnp.float32(1))
    return lax.while_loop(lambda s: s[2] > 1e-3, step, start)[:2]


def doubled_until(limit: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The carried mask decides."""
    return lax.while_loop(
        lambda s: jnp.any(s[0]), lambda s: (s[1] * 2 < limit, s[1] * 2), (x < limit, x)
    )


PROGRAMS: dict[str, tuple[Function, tuple[object, ...]]] = {
    "swapped": (lambda n, a, b: counted(n, (a, b), lambda i, s: (s[1], s[0])), (3, X, X * 2)),
    "swapped and turned": (
        lambda n, a, b: counted(n, (a, b), lambda i, s: (s[1].T, s[0].T)),
        (3, X, (X * 2).T),
    ),
    "reversed": (lambda n, a: counted(n, a, lambda i, s: s[::-1]), (3, X)),
    "a counter in the body": (lambda n, a: counted(n, a, lambda i, s: s * 0.5 + i), (7, X)),
    "inner bounds of the outer counter": (
        lambda n, a: counted(n, a, lambda i, s: counted(i + 1, s, lambda j, t: t * 0.5 + j)),
        (4, X),
    ),
    "a weight": (lambda n, a, w: counted(n, a, lambda i, s: jnp.tanh(s @ w)), (4, X, W)),
    "rows one after the other": (
        lambda n, a: counted(
            n, a, lambda i, s: lax.dynamic_update_index_in_dim(s, s[i] * 2 + 1, i + 1, 0)
        ),
        (3, X),
    ),
    "newton": (newton, (X,)),
    "power iteration": (power_iteration, (X.T @ X,)),
    "a mask": (doubled_until, (np.float32(20), X)),
    "a loop after a loop": (
        lambda n, a: counted(n, counted(n, a, lambda i, s: s + i).T, lambda i, s: s * 2),
        (3, X),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_loops(name: str) -> None:
    function, arguments = PROGRAMS[name]
    arrays = [np.int32(a) if isinstance(a, int) else a for a in arguments]
    assert_as_xla(function, *arrays, rtol=1e-3 if name == "power iteration" else 1e-5)


@pytest.mark.parametrize("n", [-1, 0, 1, 6])
def test_any_number_of_iterations(n: int) -> None:
    assert_as_xla(lambda n, x: counted(n, x, lambda i, s: s + i * x), np.int32(n), X)


def test_the_time_belongs_to_a_run() -> None:
    executable = axonc.compile(jax.jit(lambda n, x: counted(n, x, lambda i, s: s * 2)).lower(1, X))
    with pytest.raises(axonc.ExecutionError, match="time of this program depends on its data"):
        _ = executable.modelled_seconds
    executable.run(np.int32(1), X)
    short = executable.modelled_seconds
    executable.run(np.int32(20), X)
    assert executable.modelled_seconds > short
