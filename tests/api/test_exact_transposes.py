"""Infinities in transposes: found where they would spoil a row, kept if the user asks for that."""

from __future__ import annotations

import numpy as np
import pytest

import axonc

PROGRAM = """
func.func @main(%x: tensor<300x200xf32>) -> tensor<200x300xf32> {
  %0 = stablehlo.transpose %x, dims = [1, 0] : (tensor<300x200xf32>) -> tensor<200x300xf32>
  %1 = stablehlo.add %0, %0 : tensor<200x300xf32>
  return %1 : tensor<200x300xf32>
}
"""


def numbers(special: float) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
    x[3, 5] = special
    return x


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("checked", [False, True])
def test_finds_what_a_transpose_on_the_tensor_engine_would_spread(
    special: float, checked: bool
) -> None:
    with pytest.raises(axonc.ExecutionError, match="(?s)transpose-range.*--exact-tr") as caught:
        axonc.compile(PROGRAM).run(numbers(special), checked=checked)
    assert ":4:" in str(caught.value)  # the line of the op that needs the transpose


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_keeps_them_with_exact_transposes(special: float) -> None:
    x = numbers(special)
    (y,) = axonc.compile(PROGRAM, exact_transposes=True).run(x, checked=True)
    np.testing.assert_array_equal(y, 2 * x.T)


def test_allows_finite_numbers_on_the_tensor_engine() -> None:
    x = numbers(0.0)
    (y,) = axonc.compile(PROGRAM).run(x, checked=True)
    np.testing.assert_array_equal(y, 2 * x.T)
