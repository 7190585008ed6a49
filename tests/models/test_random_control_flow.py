"""Random programs of nested loops and branches, against XLA: a property that holds for all of them.

A program carries two float matrices, an integer and a mask through up to three levels of loops
(counted by data, ended by data, of known length) and branches. All numbers are small multiples of
powers of two, so that both sides are exact and results are compared bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc

State = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
Step = Callable[[State], State]

SHAPE = (3, 5)


def straight(rng: np.random.Generator) -> Step:
    """A few operations; what they carry may be swapped, reversed, shared or left alone."""
    chosen = [int(n) for n in rng.integers(len(STEPS), size=rng.integers(1, 4))]

    def step(state: State) -> State:
        for number in chosen:
            state = STEPS[number](*state)
        return state

    return step


def bounded(x: jax.Array) -> jax.Array:
    """Multiples of 1/4 between -16 and 16, so that sums and products stay exact."""
    return jnp.clip(jnp.round(x * 4) / 4, -16, 16)


STEPS: tuple[Callable[[jax.Array, jax.Array, jax.Array, jax.Array], State], ...] = (
    lambda a, b, n, m: (b, a, n, m),
    lambda a, b, n, m: (a[::-1], b, n + 1, m),
    lambda a, b, n, m: (b[:, ::-1], a, n, ~m),
    lambda a, b, n, m: (bounded(a + b), b, n * 3 % 17, m),
    lambda a, b, n, m: (a, bounded(a * 0.5 - b), n, a[0] > b[0]),
    lambda a, b, n, m: (jnp.where(m, a, b), a, n, m),
    lambda a, b, n, m: (a, a, n, m),
    lambda a, b, n, m: (a.at[n % 3].set(b[0]), b, n + 2, m),
    lambda a, b, n, m: (
        lax.dynamic_update_slice(a, b[:1] + 1, (n % 3, 0)),
        bounded(b * 2),
        n,
        m & (n % 2 == 0),
    ),
    lambda a, b, n, m: (a, bounded(b + a.sum(1, keepdims=True)), n, m),
    lambda a, b, n, m: (a, b, n + b.max().astype(jnp.int32), jnp.flip(m)),
    lambda a, b, n, m: (bounded(a @ (b.T @ a) * 0.125), b, n, m),
)


def counted(rng: np.random.Generator, depth: int) -> Step:
    body, shift = program(rng, depth - 1), int(rng.integers(3))
    return lambda s: lax.fori_loop(0, (s[2] + shift) % 4, lambda i, t: body(t), s)


def known(rng: np.random.Generator, depth: int) -> Step:
    body, count = program(rng, depth - 1), int(rng.integers(4))

    def loop(state: State) -> State:
        return lax.fori_loop(0, count, lambda i, t: body((t[0], t[1], t[2] + i, t[3])), state)

    return loop


def until(rng: np.random.Generator, depth: int) -> Step:
    """At most five times; the mask, or a sum, may end it earlier."""
    body, by_mask = program(rng, depth - 1), bool(rng.integers(2))

    def proceeds(s: tuple[jax.Array, State]) -> jax.Array:
        ended = jnp.all(s[1][3]) if by_mask else s[1][0].sum() > 20
        return (s[0] < 5) & ~ended

    return lambda state: lax.while_loop(proceeds, lambda s: (s[0] + 1, body(s[1])), (0, state))[1]


def branch(rng: np.random.Generator, depth: int) -> Step:
    branches = [program(rng, depth - 1) for _ in range(rng.integers(2, 4))]
    if len(branches) == 2:
        return lambda s: lax.cond(jnp.any(s[3]), *branches, s)
    return lambda s: lax.switch(s[2] % 4 - 1, branches, s)


def program(rng: np.random.Generator, depth: int) -> Step:
    """Straight-line code, with something nested in it while `depth` allows."""
    if depth == 0:
        return straight(rng)
    kinds = (counted, known, until, branch)
    parts = [straight(rng), kinds[rng.integers(len(kinds))](rng, depth), straight(rng)]

    def run(state: State) -> State:
        for part in parts:
            state = part(state)
        return state

    return run


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = program(rng, int(rng.integers(1, 4)))

    def function(a: jax.Array, b: jax.Array, n: jax.Array, m: jax.Array) -> State:
        return step((a, b, n, m))

    executable = None
    for _ in range(2):
        a, b = (rng.integers(-8, 8, size=SHAPE).astype(np.float32) / 4 for _ in range(2))
        arguments = (a, b, np.int32(rng.integers(8)), rng.random(5) < 0.5)
        if executable is None:
            executable = axonc.compile(jax.jit(function, keep_unused=True).lower(*arguments))
        wanted = jax.jit(function)(*arguments)
        for checked in (True, False):
            results = executable.run(*arguments, checked=checked)
            for found, want in zip(results, wanted, strict=True):
                np.testing.assert_array_equal(found, want)
