"""What repeated layers return of each iteration: stored apart, twice, or updated in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import axonc

jax = pytest.importorskip("jax")
jnp = jax.numpy

LAYERS, ROWS, WIDTH = 4, 6, 16


def layer(x: Any, w: Any) -> Any:
    inner = jnp.tanh(x @ w)
    inner = jnp.exp(-jnp.square(jnp.square(inner) + x))
    return inner + jnp.cos(inner) * jax.nn.relu(x)


def inputs() -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """x, weights and state of every layer."""
    rng = np.random.default_rng(3)
    shapes = [(1, WIDTH), *[(WIDTH, WIDTH)] * LAYERS, *[(ROWS, WIDTH)] * LAYERS]
    x, *rest = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, rest[:LAYERS], rest[LAYERS:]


@pytest.mark.parametrize("again", [(), (1,), (1, 3, 3)])
def test_a_result_of_an_iteration_returned_again(again: tuple[int, ...]) -> None:
    """A result in memory of its iteration has one place: a second one is not taken from there."""

    def network(x: Any, weights: Any) -> Any:
        kept = []
        for w in weights:
            inner = layer(x, w)
            kept.append(inner)
            x = inner / (1 + jnp.abs(inner).sum(-1, keepdims=True))
        return (x, *kept, *(kept[i] for i in again))

    x, weights, _ = inputs()
    executable = axonc.compile(jax.jit(network).lower(x, weights))
    for found, wanted in zip(
        executable.run(x, *weights, checked=True), network(x, weights), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def decoder(x: Any, weights: Any, state: Any, at: Any) -> Any:
    """Every layer writes a row of its state and reads all of it."""
    updated = []
    for w, old in zip(weights, state, strict=True):
        x = layer(x, w)
        new = jax.lax.dynamic_update_slice(old, x, (at, 0))
        x = x + new.mean(0, keepdims=True)
        updated.append(new)
    return x, updated


@pytest.mark.parametrize("optlevel", [2, 3])
def test_state_of_repeated_layers_is_updated_in_place(optlevel: int) -> None:
    x, weights, state = inputs()
    lowered = jax.jit(decoder, donate_argnums=2).lower(x, weights, state, np.int32(0))
    executable = axonc.compile(lowered, optlevel=optlevel)
    tensors = executable.compiled.program.tensors
    assert sum(bool(tensor.alias) for tensor in tensors) == LAYERS
    assert len({t.address for t in tensors if t.alias}) == LAYERS
    found = executable.run(x, *weights, *state, np.int32(4), checked=True)
    wanted = decoder(x, weights, state, 4)
    for a, b in zip(found, [wanted[0], *wanted[1]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_state_that_is_read_after_its_update_is_kept() -> None:
    """The old state is a result as well: the new one has memory of its own."""

    def both(x: Any, weights: Any, state: Any, at: Any) -> Any:
        x, updated = decoder(x, weights, state, at)
        return x, updated, [old * 2 for old in state]

    x, weights, state = inputs()
    lowered = jax.jit(both, donate_argnums=2).lower(x, weights, state, np.int32(0))
    found = axonc.compile(lowered).run(x, *weights, *state, np.int32(1), checked=True)
    wanted = jax.tree.leaves(both(x, weights, state, 1))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def blocks(a: Any, b: Any, weights: Any, turn: Any, kept: tuple[int, ...] = ()) -> Any:
    """Equal blocks that carry two values; the second one goes on as `turn` makes it."""
    results = []
    for number, w in enumerate(weights):
        h = jnp.tanh(a @ w) * 0.5 + b
        h = jnp.sin(jnp.exp(-h * h) + a) * 0.3
        a, b = h - jnp.mean(h, -1, keepdims=True), turn(b)
        if number in kept:
            results.append(a)
    return (a, b, *results)


def of_blocks(turn: Any, kept: tuple[int, ...] = ()) -> None:
    rng = np.random.default_rng(4)
    a, b, *weights = (rng.standard_normal((16, 16)).astype(np.float32) for _ in range(7))

    def network(a: Any, b: Any, weights: Any) -> Any:
        return blocks(a, b, weights, turn, kept)

    executable = axonc.compile(jax.jit(network).lower(a, b, weights))
    found = executable.run(a, b, *weights, checked=True)
    for left, right in zip(found, network(a, b, weights), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


TURNS = {
    "reversed": lambda b: b[:, ::-1],
    "reversed rows": lambda b: b[::-1],
    "transposed": lambda b: b.T,
    "rolled": lambda b: jnp.roll(b, 3, 1),
    "itself": lambda b: b,
    "replaced by its first column": lambda b: jnp.broadcast_to(b[:, :1], b.shape),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_carried_value_that_is_a_view_of_its_own_slot(turn: str) -> None:
    of_blocks(TURNS[turn])


@pytest.mark.parametrize("kept", [(2,), (0,), (4,), (1, 3), (0, 1, 2, 3)])
def test_some_iterations_results_are_results_of_the_program(kept: tuple[int, ...]) -> None:
    of_blocks(lambda b: b, kept)
