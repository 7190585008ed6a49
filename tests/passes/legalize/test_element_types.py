"""Constants and values of types the machine lacks: converted exactly, or refused by name."""

from __future__ import annotations

import jax
import ml_dtypes
import numpy as np
import pytest

import axonc
from axonc.diagnostics import UnsupportedOpError


def program(element: str, numbers: list[int]) -> str:
    size = len(numbers)
    return f"""func.func @main(%a: tensor<{size}xi8>) -> tensor<{size}xi8> {{
      %c = stablehlo.constant dense<{numbers}> : tensor<{size}x{element}>
      %0 = stablehlo.convert %c : (tensor<{size}x{element}>) -> tensor<{size}xi8>
      %1 = stablehlo.add %a, %0 : tensor<{size}xi8>
      return %1 : tensor<{size}xi8>
    }}"""


@pytest.mark.parametrize("element, low", [("i4", -8), ("i2", -2), ("ui4", 0), ("ui2", 0)])
@pytest.mark.parametrize("size", [2, 300])
def test_integers_shorter_than_a_byte(element: str, low: int, size: int) -> None:
    bits = int(element.lstrip("ui"))
    numbers = [low + n % (1 << bits) for n in range(size)]
    ones = np.ones(size, np.int8)
    (found,) = axonc.compile(program(element, numbers)).run(ones)
    np.testing.assert_array_equal(found, np.array(numbers, np.int8) + 1)


def test_a_splat_of_short_integers() -> None:
    (found,) = axonc.compile(program("i4", [-3, -3])).run(np.zeros(2, np.int8))
    np.testing.assert_array_equal(found, [-3, -3])


def test_a_sum_of_short_integers_wraps() -> None:
    text = program("i4", [1, -8]).replace("i8", "i4")
    (found,) = axonc.compile(text).run(np.array([7, -1], ml_dtypes.int4))
    assert found.dtype == ml_dtypes.int4
    np.testing.assert_array_equal(found.astype(np.int8), [-8, 7])


def test_complex_numbers_of_float64_are_refused() -> None:
    with jax.enable_x64(True):
        lowered = jax.jit(lambda x: x * 2j).lower(np.ones(3, np.complex128))
    with pytest.raises(UnsupportedOpError, match="element type complex<f64>") as caught:
        axonc.compile(lowered)
    assert "compute in complex<f32>" in str(caught.value)
