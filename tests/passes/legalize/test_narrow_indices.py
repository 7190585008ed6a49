"""Indices and counters in types too narrow for the dims they count, in checked mode, by JAX."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from stablehlo_interpreter import interpreted

import axonc

ROWS = np.arange(1200, dtype=np.float32).reshape(300, 4)
WHOLE_ROWS = lax.GatherDimensionNumbers((1,), (0,), (0,))
WINDOWS = lax.GatherDimensionNumbers((1, 2), (), (0,))
ELEMENTS = lax.GatherDimensionNumbers((), (0, 1), (0, 1))
SET_ROWS = lax.ScatterDimensionNumbers((1,), (0,), (0,))


def counted(dtype: type, shape: tuple[int, ...], dim: int) -> Callable[..., jax.Array]:
    return lambda x: x + lax.broadcasted_iota(dtype, shape, dim).astype(x.dtype)


def take(dims: lax.GatherDimensionNumbers, sizes: tuple[int, int]) -> Callable[..., jax.Array]:
    return lambda x, i: lax.gather(x, i.reshape(3, -1), dims, sizes, mode="clip")


def put(scatter: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda x, i: scatter(x, i[:, None], jnp.full((3, 4), 7.0), SET_ROWS, mode="drop")


def bytes_of(*numbers: int, dtype: type = np.int8) -> np.ndarray:
    return np.array(numbers, dtype)


CASES: dict[str, tuple[Callable[..., jax.Array], tuple[np.ndarray, ...]]] = {
    "iota of i8 wraps": (counted(jnp.int8, (2, 300), 1), (np.zeros((2, 300), np.int8),)),
    "iota of u8 wraps": (counted(jnp.uint8, (300, 2), 0), (np.zeros((300, 2), np.float32),)),
    "iota of i16 wraps": (counted(jnp.int16, (40000,), 0), (np.zeros(40000, np.int16),)),
    "set by i8": (put(lax.scatter), (ROWS, bytes_of(5, 120, -1))),
    "set by u8": (put(lax.scatter), (ROWS, bytes_of(5, 220, 1, dtype=np.uint8))),
    "add by i8": (put(lax.scatter_add), (ROWS, bytes_of(5, 127, 5))),
    "set by large u32": (
        put(lax.scatter),
        (ROWS, bytes_of(5, 2**32 - 1, 3 * 10**9, dtype=np.uint32)),
    ),
    "rows by i8": (take(WHOLE_ROWS, (1, 4)), (ROWS, bytes_of(5, -1, 127))),
    "rows by u8": (take(WHOLE_ROWS, (1, 4)), (ROWS, bytes_of(5, 255, 127, dtype=np.uint8))),
    "rows by large u32": (
        take(WHOLE_ROWS, (1, 4)),
        (ROWS, bytes_of(5, 2**32 - 1, 9, dtype=np.uint32)),
    ),
    "windows by i8": (take(WINDOWS, (3, 4)), (ROWS, bytes_of(5, -1, 127))),
    "elements by i8": (take(ELEMENTS, (1, 1)), (ROWS, bytes_of(5, 3, -1, 2, 127, 127))),
    "slice by u8": (
        lambda x, i: lax.dynamic_slice(x[:, 0], (i[0],), (3,)),
        (ROWS, bytes_of(250, dtype=np.uint8)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gives_what_jax_gives(name: str) -> None:
    function, arrays = CASES[name]
    jitted = jax.jit(function, keep_unused=True)
    (found,) = axonc.compile(jitted.lower(*arrays)).run(*arrays, checked=True)
    np.testing.assert_array_equal(found, np.asarray(jitted(*arrays)))


def test_places_that_their_type_does_not_hold_wrap() -> None:
    text = """func.func @main(%x: tensor<300xf32>) -> tensor<i8> {
      %least = stablehlo.constant dense<0xFF800000> : tensor<f32>
      %zero = stablehlo.constant dense<0> : tensor<i8>
      %i = stablehlo.iota dim = 0 : tensor<300xi8>
      %0:2 = stablehlo.reduce(%x init: %least), (%i init: %zero) across dimensions = [0]
          : (tensor<300xf32>, tensor<300xi8>, tensor<f32>, tensor<i8>) -> (tensor<f32>, tensor<i8>)
       reducer(%a: tensor<f32>, %b: tensor<f32>) (%j: tensor<i8>, %k: tensor<i8>) {
        %1 = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %2 = stablehlo.compare NE, %a, %a : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %3 = stablehlo.or %1, %2 : tensor<i1>
        %4 = stablehlo.compare EQ, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %5 = stablehlo.compare LT, %j, %k : (tensor<i8>, tensor<i8>) -> tensor<i1>
        %6 = stablehlo.and %4, %5 : tensor<i1>
        %7 = stablehlo.or %3, %6 : tensor<i1>
        %8 = stablehlo.select %3, %a, %b : tensor<i1>, tensor<f32>
        %9 = stablehlo.select %7, %j, %k : tensor<i1>, tensor<i8>
        stablehlo.return %8, %9 : tensor<f32>, tensor<i8>
      }
      return %0#1 : tensor<i8>
    }"""
    x = np.zeros(300, np.float32)
    x[[5, 200, 261]] = 1
    (found,) = axonc.compile(text).run(x, checked=True)
    assert found == -56 == interpreted(text, [x])[0]
