"""Gradients of pools: what `expand-regions` makes of `select_and_scatter` beside the reference
interpreter and, as instructions, beside JAX."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from stablehlo_interpreter import expanded_and_run, interpreted

import axonc


def selecting(select: str, scatter: str, size: int, stride: int, low: int, high: int) -> str:
    places = (9 + low + high - size) // stride + 1
    return f"""func.func @main(%x: tensor<2x9xi32>, %s: tensor<2x{places}xi32>, %i: tensor<i32>)
      -> tensor<2x9xi32> {{
  %r = "stablehlo.select_and_scatter"(%x, %s, %i) <{{
      window_dimensions = array<i64: 1, {size}>, window_strides = array<i64: 1, {stride}>,
      padding = dense<[[0, 0], [{low}, {high}]]> : tensor<2x2xi64>}}> ({{
  ^b(%a: tensor<i32>, %b: tensor<i32>):
    %p = stablehlo.compare {select}, %a, %b : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %p : tensor<i1>
  }}, {{
  ^b(%a: tensor<i32>, %b: tensor<i32>):
    %p = stablehlo.{scatter} %a, %b : tensor<i32>
    stablehlo.return %p : tensor<i32>
  }}) : (tensor<2x9xi32>, tensor<2x{places}xi32>, tensor<i32>) -> tensor<2x9xi32>
  return %r : tensor<2x9xi32>
}}"""


@pytest.mark.parametrize(
    "select, scatter, first", [("GE", "add", 0), ("GT", "add", 0), ("LE", "maximum", 2)]
)
def test_windows_of_every_form(select: str, scatter: str, first: int) -> None:
    """Ties are frequent: there are few different numbers. The interpreter takes the initial value
    twice, XLA once: that of each is one which this does not change."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, 3, (2, 9)).astype(np.int32)
    paddings = ((0, 0), (1, 0), (1, 2))
    for size, stride, (low, high) in itertools.product((1, 2, 3, 5), (1, 2, 3, 4), paddings):
        if max(low, high) >= size:
            continue  # a window without elements: what it selects is not specified
        text = selecting(select, scatter, size, stride, low, high)
        places = (9 + low + high - size) // stride + 1
        arrays = [x, rng.integers(-9, 9, (2, places)).astype(np.int32), np.array(first, np.int32)]
        (found,), made = expanded_and_run(text, arrays)
        assert "select_and_scatter" not in made
        np.testing.assert_array_equal(found, interpreted(text, arrays)[0])


@pytest.mark.parametrize(
    "shape, size, stride, padding, dtype",
    [
        ((2, 8, 8, 3), (2, 2), (2, 2), "VALID", "float32"),
        ((1, 9, 7, 5), (3, 3), (2, 2), "SAME", "float32"),
        ((1, 7, 7, 130), (2, 3), (1, 2), "VALID", "float32"),
        ((2, 11, 6, 2), (3, 2), (4, 3), "VALID", "bfloat16"),
        ((1, 6, 6, 4), (6, 6), (1, 1), "VALID", "float16"),
    ],
)
def test_the_gradient_of_a_max_pool(
    shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], padding: str, dtype: str
) -> None:
    def pooled(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *size, 1), (1, *stride, 1), padding)

    def gradient(x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.vjp(pooled, x)[1](y)[0]

    rng = np.random.default_rng(6)
    x = rng.integers(-4, 4, shape).astype(jnp.dtype(dtype))
    y = rng.integers(-9, 9, jax.eval_shape(pooled, x).shape).astype(jnp.dtype(dtype))
    lowered = jax.jit(gradient).lower(x, y)
    assert "select_and_scatter" in lowered.as_text()
    (found,) = axonc.compile(lowered).run(x, y, checked=True)
    np.testing.assert_array_equal(found, np.asarray(jax.jit(gradient)(x, y)))


def test_a_batch_of_large_images_takes_few_instructions() -> None:
    """Of 128 rows and 56 columns of windows; none for single windows."""

    def gradient(x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: _pooled(x).sum())(x)

    def _pooled(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    x = jax.ShapeDtypeStruct((2, 112, 112, 64), jnp.float32)
    executable = axonc.compile(jax.jit(gradient).lower(x))
    assert sum(executable.profile().timeline.instruction_count.values()) < 3000
