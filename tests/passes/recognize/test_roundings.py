"""Conversions to fewer bits within a cone: one that only scales the result may go, no other."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from tests.support.neuron_modules import lower_to_neuron

BF16, F32 = jnp.bfloat16, jnp.float32
X = jax.ShapeDtypeStruct((4, 64), BF16)
GAMMA = jax.ShapeDtypeStruct((64,), BF16)

Program = Callable[..., jax.Array]


def softmax(difference: Program, total: Program) -> Program:
    """In bf16, but for the sum; something is done to two of its values."""

    def program(x: jax.Array) -> jax.Array:
        raised = jnp.exp(difference(x, x.max(-1, keepdims=True)))
        return raised / total(raised.astype(F32).sum(-1, keepdims=True)).astype(BF16)

    return program


def narrow(x: jax.Array, y: jax.Array) -> jax.Array:
    return x - y


def wide(x: jax.Array, y: jax.Array) -> jax.Array:
    return (x.astype(F32) - y.astype(F32)).astype(BF16)


def norm(centred: Program, variance: Program) -> Program:
    def program(x: jax.Array, gamma: jax.Array) -> jax.Array:
        wide = x.astype(F32)
        apart = centred(wide - wide.mean(-1, keepdims=True))
        scale = jax.lax.rsqrt(variance((apart * apart).mean(-1, keepdims=True)) + 1e-5)
        return (apart * scale).astype(BF16) * gamma

    return program


def keep(value: jax.Array) -> jax.Array:
    return value


def rounded(value: jax.Array) -> jax.Array:
    return value.astype(BF16).astype(F32)


def rms(x: jax.Array, gamma: jax.Array) -> jax.Array:
    """As transformers' decoders write it."""
    wide = x.astype(F32)
    scale = jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-6)
    return gamma * (wide * scale).astype(BF16)


@pytest.mark.parametrize(
    "program,op",
    [
        (lambda x: jax.nn.softmax(x, axis=-1), "softmax"),
        (softmax(narrow, keep), "softmax"),
        (rms, "rms_norm"),
        (norm(keep, keep), "layer_norm"),
    ],
    ids=["jax", "softmax", "rms", "norm"],
)
def test_what_only_scales_the_result_may_be_rounded(program: Program, op: str) -> None:
    arguments = (X, GAMMA) if "norm" in op else (X,)
    assert f'"neuron.{op}"' in str(lower_to_neuron(jax.jit(program).lower(*arguments).as_text()))


@pytest.mark.parametrize(
    "program,op",
    [
        (softmax(wide, keep), "softmax"),
        (softmax(narrow, rounded), "softmax"),
        (norm(rounded, keep), "layer_norm"),
        (norm(keep, rounded), "layer_norm"),
    ],
    ids=["difference", "sum", "centred", "variance"],
)
def test_other_roundings_stay(program: Program, op: str) -> None:
    arguments = (X, GAMMA) if "norm" in op else (X,)
    text = str(lower_to_neuron(jax.jit(program).lower(*arguments).as_text()))
    assert f'"neuron.{op}"' not in text


def test_a_rounding_of_the_sum_by_itself_stays_in_float32() -> None:
    """The result keeps more bits than the sum had."""

    def program(x: jax.Array) -> jax.Array:
        raised = jnp.exp(x - x.max(-1, keepdims=True))
        return raised / rounded(raised.sum(-1, keepdims=True))

    x = jax.ShapeDtypeStruct((4, 64), F32)
    assert "softmax" not in str(lower_to_neuron(jax.jit(program).lower(x).as_text()))
