"""argmax and argmin as instruction streams, against numpy; what only looks like them is computed
as it is written."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stablehlo_interpreter import expanded_and_run, interpreted

import axonc

SHUFFLED = [[3, 1, 2, 0, 7, 5, 6, 4]] * 4
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
    "old, new, is_extreme",
    [
        ("iota dim = 1", "iota dim = 1", True),
        ("dense<0xFF800000>", "dense<1.0>", True),  # begins with a number
        ("dense<0> : tensor<i32>", "dense<5> : tensor<i32>", True),  # and at a place
        ("iota dim = 1", "iota dim = 0", True),  # places along another dim
        ("compare GT, %x, %y", "compare LT, %x, %y", True),  # the least, beginning with the least
        ("compare LE, %i, %j", "compare GE, %i, %j", False),  # the last of equal ones
        ("stablehlo.iota dim = 1 : tensor<4x8xi32>", f"stablehlo.constant dense<{SHUFFLED}>", True),
    ],
)
def test_what_region_places_and_initial_values_say(old: str, new: str, is_extreme: bool) -> None:
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new).replace(f"dense<{SHUFFLED}>", f"dense<{SHUFFLED}> : {PLACES}")
    x = np.random.default_rng(1).integers(0, 4, (4, 8)).astype(np.float32)
    found, expanded = expanded_and_run(text, [x])
    wanted = interpreted(text, [x])
    np.testing.assert_array_equal(found[0], wanted[0])
    assert ("stablehlo.reduce" in expanded) == is_extreme
    (run,) = axonc.compile(text).run(x, checked=True)
    np.testing.assert_array_equal(run, wanted[0])


@pytest.mark.parametrize("nan_tie, wanted", [("", 5), ("least", 2)])
def test_the_first_or_the_least_place_of_nan(nan_tie: str, wanted: int) -> None:
    """Places are 7, 5, 2, ...: the region takes the first NaN, or the one of the least place."""
    text = TEXT.replace("stablehlo.iota dim = 1", f"stablehlo.constant dense<{FALLING}>")
    if nan_tie:
        text = text.replace("%better, %i", "%gt, %i").replace(
            "%first = stablehlo.or %better, %tie", BOTH_NAN
        )
    x = np.zeros((4, 8), np.float32)
    x[:, 1], x[:, 2] = np.nan, np.nan
    (found,) = axonc.compile(text).run(x, checked=True)
    assert found.tolist() == [wanted] * 4


def test_a_dim_that_is_cut_over_cores_is_reduced_at_any_places() -> None:
    """Of a core: its places begin at a number that is known when the program runs."""
    text = TEXT.replace("%a: tensor<4x8xf32>", "%a: tensor<4x8xf32>, %s: tensor<i32>").replace(
        "%p = stablehlo.iota dim = 1 : tensor<4x8xi32>",
        "%n = stablehlo.iota dim = 1 : tensor<4x8xi32>\n"
        "  %w = stablehlo.broadcast_in_dim %s, dims = [] : (tensor<i32>) -> tensor<4x8xi32>\n"
        "  %p = stablehlo.add %n, %w : tensor<4x8xi32>",
    )
    x = np.random.default_rng(2).integers(0, 3, (4, 8)).astype(np.float32)
    x[2, 3:] = np.nan
    for start in (0, 8, 2**31 - 4):
        arrays = [x, np.array(start, np.int32)]
        found, _ = expanded_and_run(text, arrays)
        np.testing.assert_array_equal(found[0], interpreted(text, arrays)[0])


PLACES = "tensor<4x8xi32>"
FALLING = [[7, 5, 2, 1, 0, 3, 4, 6]] * 4
BOTH_NAN = """%j_nan = stablehlo.compare NE, %y, %y : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %i_only = stablehlo.not %j_nan : tensor<i1>
      %i_wins = stablehlo.and %nan, %i_only : tensor<i1>
      %both = stablehlo.and %nan, %j_nan : tensor<i1>
      %both_less = stablehlo.and %both, %lt : tensor<i1>
      %s1 = stablehlo.or %gt, %tie : tensor<i1>
      %s2 = stablehlo.or %s1, %i_wins : tensor<i1>
      %first = stablehlo.or %s2, %both_less"""

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
