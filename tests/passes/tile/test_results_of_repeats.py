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
