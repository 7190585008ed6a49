"""Masks of -inf, rows that are masked whole, top-k with infinities: right in both modes, by default
options. The oracles are JAX on the CPU and numpy in float64."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.driver.pipeline import load_module
from axonc.frontends import import_program
from axonc.pass_manager import PassManager
from axonc.passes.base import ModuleState
from axonc.passes.graph.infinities import NEGATIVE, NONE, POSITIVE, Infinities
from axonc.passes.graph.module import main_function

RNG = np.random.default_rng(0)
LENGTHS = np.array([5, 0, 17], np.int32)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def agrees(function: Callable[..., jax.Array], *arguments: np.ndarray) -> axonc.Executable:
    lowered = jax.jit(function).lower(*arguments)
    expected = np.asarray(lowered.compile()(*arguments))
    executable = axonc.compile(lowered)
    for checked in (False, True):
        (found,) = executable.run(*arguments, checked=checked)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return executable


def attention(q: jax.Array, k: jax.Array, v: jax.Array, scores: Callable) -> jax.Array:
    found = scores(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 4)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(found, -1), v)


def visible(lengths: jax.Array, size: int) -> jax.Array:
    return (jnp.arange(size)[None] < lengths[:, None])[:, None, None]


@pytest.mark.parametrize("size", [17, 33, 130])
def test_added_masks(size: int) -> None:
    def function(q, k, v, lengths):
        mask = jnp.where(visible(lengths, size), 0.0, -jnp.inf)
        return attention(q, k, v, lambda s: s + mask)

    agrees(function, *(floats(3, size, 2, 16) for _ in range(3)), LENGTHS)


@pytest.mark.parametrize("size", [17, 130])
def test_chosen_masks(size: int) -> None:
    def function(q, k, v, lengths):
        return attention(q, k, v, lambda s: jnp.where(visible(lengths, size), s, -jnp.inf))

    agrees(function, *(floats(3, size, 2, 16) for _ in range(3)), LENGTHS)


def test_a_mask_that_is_an_input() -> None:
    mask = np.where(np.tri(17, dtype=bool), 0, -np.inf).astype(np.float32)
    mask[3] = -np.inf  # a row of its own

    def function(q, k, v, mask):
        return attention(q, k, v, lambda s: s + mask)

    agrees(function, *(floats(2, 17, 2, 16) for _ in range(3)), mask)


def test_a_row_of_the_lowest_number_beside_infinities_is_no_empty_row() -> None:
    lowest = float(np.finfo(np.float32).min)
    scores = np.full((4, 8), -np.inf, np.float32)
    scores[0, :3] = lowest
    scores[1, 2] = 1.0

    def function(scores, mask, v):
        return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), -1) @ v

    agrees(function, scores, np.isfinite(scores), floats(8, 16))


def test_a_constant_with_infinities_is_transposed_exactly() -> None:
    table = floats(40, 70)
    table[3, 5], table[8, 9] = np.inf, -np.inf

    def function(x):
        return (x + table).T

    agrees(function, floats(40, 70))


def test_layers_that_repeat_have_masks_too() -> None:
    weights = [floats(32, 32) / 6 for _ in range(4)]

    def function(x, lengths, *weights):
        for w in weights:
            heads = (x @ w).reshape(3, 17, 2, 16)
            mixed = attention(heads, heads, heads, lambda s: jnp.where(seen, s, -jnp.inf))
            x = x + mixed.reshape(3, 17, 32)
        return x

    seen = None

    def whole(x, lengths, *weights):
        nonlocal seen
        seen = visible(lengths, 17)
        return function(x, lengths, *weights)

    agrees(whole, floats(3, 17, 32), np.array([5, 1, 17], np.int32), *weights)


def flags_of(function: Callable[..., jax.Array], *arguments: np.ndarray) -> object:
    """What the result of a function may hold, after it is legalized."""
    from axonc.driver.pipeline import TensorOptions, tensor_pipeline

    state = ModuleState(load_module(import_program(jax.jit(function).lower(*arguments))))
    passes = [p for p in tensor_pipeline(TensorOptions())]
    names = [getattr(p, "name", "") for p in passes]
    PassManager(passes[: names.index("legalize-to-neuron") + 1]).run(state)
    main = main_function(state.module.operation)
    infinities = Infinities(main)
    (result,) = list(main.regions[0].blocks[0].operations)[-1].operands
    return infinities[result]


@pytest.mark.parametrize(
    "function,expected",
    [
        (lambda x: jnp.where(x > 0, x, -jnp.inf), NEGATIVE),
        (lambda x: -jnp.where(x > 0, x, -jnp.inf), POSITIVE),
        (lambda x: jnp.maximum(jnp.where(x > 0, x, -jnp.inf), x), NONE),
        (lambda x: jnp.exp(jnp.where(x > 0, x, -jnp.inf)), NONE),
        (lambda x: 2 * jnp.where(x > 0, x, -jnp.inf), NEGATIVE),
        (lambda x: jnp.max(jnp.where(x > 0, x, -jnp.inf), 0), NEGATIVE),
        (lambda x: x * x, NONE),
    ],
)
def test_where_infinities_go(function: Callable, expected: object) -> None:
    assert flags_of(function, floats(4, 8)) == expected
