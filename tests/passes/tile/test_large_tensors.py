"""Single operations on tensors far larger than SBUF: each is cut by plan, none is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.softmax(q @ k.T / 8, axis=-1) @ v


def group_norm(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    groups = x.reshape(n, h, w, 32, c // 32)
    mean = groups.mean((1, 2, 4), keepdims=True)
    variance = ((groups - mean) ** 2).mean((1, 2, 4), keepdims=True)
    return ((groups - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape)


def convolution(x: jax.Array, k: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME")


def upwards(x: jax.Array, k: jax.Array) -> jax.Array:
    return jax.lax.conv_transpose(x, k, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))


def residual(x: jax.Array, k: jax.Array) -> jax.Array:
    """What follows a convolution of strips reads strips: an epilogue, a pool of halos."""
    y = jnp.maximum(convolution(x, k) + x, 0)
    low = np.float32(-np.inf)
    return jax.lax.reduce_window(y, low, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), "SAME")


@dataclass(frozen=True)
class Case:
    """A program and the shapes of its arguments."""

    program: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]


CASES = {
    "sum": Case(lambda x: x.sum((1, 2)), ((3, 700, 900),)),
    "bf16 sum": Case(lambda x: x.astype(jnp.bfloat16).sum((0, 2)), ((500, 3, 700),)),
    "largest": Case(lambda x: x.max((0, 1)), ((700, 900, 3),)),
    "group norm": Case(group_norm, ((1, 192, 192, 64),)),
    "attention": Case(attention, ((1500, 64), (2100, 64), (2100, 48))),
    "residual": Case(residual, ((1, 40, 170, 170), (40, 40, 3, 3))),
    "transposed": Case(upwards, ((1, 48, 90, 90), (24, 48, 2, 2))),
    "few features": Case(convolution, ((1, 3, 230, 230), (48, 3, 3, 3))),
    "large kernel": Case(convolution, ((1, 40, 5, 5), (70, 40, 14, 14))),
}


@pytest.mark.parametrize("name", CASES)
def test_it_fits_and_is_right(name: str) -> None:
    case, rng = CASES[name], np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in case.shapes]
    jitted = jax.jit(case.program)
    (found,) = axonc.compile(jitted.lower(*arrays)).run(*arrays, checked=True)
    expected = np.asarray(jitted(*arrays))
    assert found.dtype == expected.dtype
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    limit = 1e-2 if "bf16" in name else 1e-5
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit * np.abs(expected).max())
