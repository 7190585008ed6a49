"""Cones of more than 2^20 elements are proved on a few rows."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from tests.support.neuron_modules import lower_to_neuron

LARGE = jax.ShapeDtypeStruct((2, 3, 700, 600), "float32")
GAMMA = jax.ShapeDtypeStruct((600,), "float32")


def norm(x: jax.Array, gamma: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5) * gamma


def by_columns(x: jax.Array) -> jax.Array:
    """Divides by sums of the wrong rows."""
    raised = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    return raised / jnp.flip(jnp.sum(raised, axis=-1, keepdims=True), axis=1)


PROGRAMS: dict[str, tuple[Callable[..., jax.Array], tuple[jax.ShapeDtypeStruct, ...], str]] = {
    "softmax": (lambda x: jax.nn.softmax(x, axis=-1), (LARGE,), "neuron.softmax"),
    "softmax of the middle": (lambda x: jax.nn.softmax(x, axis=2), (LARGE,), "neuron.softmax"),
    "norm": (norm, (LARGE, GAMMA), "neuron.layer_norm"),
}

NEAR_MISSES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "clip": lambda x: jax.nn.softmax(jnp.clip(x, -20, 20), axis=-1) * 1.0,
    "power": lambda x: jnp.exp(x - x.max(-1, keepdims=True)) / (x * x).sum(-1, keepdims=True),
    "flipped": by_columns,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_large_cones_are_recognised(name: str) -> None:
    program, arguments, op = PROGRAMS[name]
    module = lower_to_neuron(jax.jit(program).lower(*arguments).as_text())
    assert op in str(module)


def test_a_clip_before_a_large_softmax_stays() -> None:
    module = str(lower_to_neuron(jax.jit(NEAR_MISSES["clip"]).lower(LARGE).as_text()))
    assert "neuron.minimum" in module and "neuron.maximum" in module


@pytest.mark.parametrize("name", ["power", "flipped"])
def test_large_near_misses_are_not(name: str) -> None:
    module = str(lower_to_neuron(jax.jit(NEAR_MISSES[name]).lower(LARGE).as_text()))
    assert "neuron.softmax" not in module
