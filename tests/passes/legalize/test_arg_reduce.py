"""argmax and argmin as instruction streams, against numpy; what only looks like them is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

SHAPES = [((4, 32), 1), ((130, 7), 0), ((1, 5000), 1), ((3, 4, 5), 1), ((6,), 0)]


def values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """With ties: few different numbers."""
    numbers = np.random.default_rng(len(shape) + shape[0]).integers(-3, 4, shape)
    return numbers.astype(dtype) if dtype != "bool" else numbers > 0


def run(function: object, x: np.ndarray) -> np.ndarray:
    (found,) = axonc.compile(jax.jit(function).lower(x)).run(x, checked=True)
    return found


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("shape, axis", SHAPES)
def test_the_first_of_several_is_found(name: str, shape: tuple[int, ...], axis: int) -> None:
    x = values(shape, "float32")
    found = run(lambda x: getattr(jnp, name)(x, axis), x)
    np.testing.assert_array_equal(found, getattr(np, name)(x, axis))


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8", "float16", "bool"])
def test_types(dtype: str) -> None:
    x = values((5, 9), dtype)
    np.testing.assert_array_equal(run(lambda x: jnp.argmax(x, 1), x), np.argmax(x, 1))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_nan_and_infinities(name: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.array(
        [[1, nan, 2, nan], [inf, -inf, inf, -inf], [-inf] * 4, [inf] * 4, [0.0, -0.0, 0, -0.0]],
        np.float32,
    )
    found = run(lambda x: getattr(jnp, name)(x, 1), x)
    np.testing.assert_array_equal(found, getattr(np, name)(x, 1))


def test_large_integers_are_told_apart() -> None:
    x = np.array([[2**30, 2**30 + 1, 2**30 - 1]], np.int32)
    np.testing.assert_array_equal(run(lambda x: jnp.argmax(x, 1), x), [1])


@pytest.mark.parametrize(
    "old, new",
    [
        ("compare GT, %x, %y", "compare LT, %x, %y"),  # the least, beginning with the least
        ("select %first, %i, %j", "select %first, %j, %i"),  # the place of the other
        ("iota dim = 1", "iota dim = 0"),  # places along another dim
        ("dense<0xFF800000>", "dense<0.0>"),  # begins with a number
        ("select %better, %x, %y", "select %better, %x, %x"),
    ],
)
def test_other_reductions_of_two_tensors_are_refused(old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert not axonc.check(TEXT)
    with pytest.raises(axonc.UnsupportedOpError, match=r"stablehlo\.reduce"):
        axonc.compile(TEXT.replace(old, new))


TEXT = """
func.func @main(%a: tensor<4x8xf32>) -> tensor<4xi32> {
  %p = stablehlo.iota dim = 1 : tensor<4x8xi32>
  %low = stablehlo.constant dense<0xFF800000> : tensor<f32>
  %c = stablehlo.constant dense<0> : tensor<i32>
  %r:2 = stablehlo.reduce(%a init: %low), (%p init: %c) across dimensions = [1]
      : (tensor<4x8xf32>, tensor<4x8xi32>, tensor<f32>, tensor<i32>) -> (tensor<4xf32>, tensor<4xi32>)
    reducer(%x: tensor<f32>, %y: tensor<f32>) (%i: tensor<i32>, %j: tensor<i32>)  {
      %gt = stablehlo.compare GT, %x, %y, FLOAT : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %nan = stablehlo.compare NE, %x, %x, FLOAT : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %better = stablehlo.or %gt, %nan : tensor<i1>
      %eq = stablehlo.compare EQ, %x, %y, FLOAT : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %lt = stablehlo.compare LE, %i, %j, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      %tie = stablehlo.and %eq, %lt : tensor<i1>
      %first = stablehlo.or %better, %tie : tensor<i1>
      %v = stablehlo.select %better, %x, %y : tensor<i1>, tensor<f32>
      %k = stablehlo.select %first, %i, %j : tensor<i1>, tensor<i32>
      stablehlo.return %v, %k : tensor<f32>, tensor<i32>
    }
  return %r#1 : tensor<4xi32>
}
"""  # noqa: E501
