"""Programs that draw random numbers: the key that comes with every call."""

from __future__ import annotations

import numpy as np
import pytest

import axonc
from axonc.run.executable import Executable

DRAWS = """
func.func @main() -> (tensor<200x30xf32>, tensor<200x30xf32>, tensor<500xi32>) {
  %a = stablehlo.constant dense<-1.0> : tensor<f32>
  %b = stablehlo.constant dense<3.0> : tensor<f32>
  %i = stablehlo.constant dense<-5> : tensor<i32>
  %j = stablehlo.constant dense<7> : tensor<i32>
  %s = stablehlo.constant dense<[200, 30]> : tensor<2xi64>
  %t = stablehlo.constant dense<500> : tensor<1xi64>
  %0 = stablehlo.rng %a, %b, %s, distribution = UNIFORM
      : (tensor<f32>, tensor<f32>, tensor<2xi64>) -> tensor<200x30xf32>
  %1 = stablehlo.rng %a, %b, %s, distribution = NORMAL
      : (tensor<f32>, tensor<f32>, tensor<2xi64>) -> tensor<200x30xf32>
  %2 = stablehlo.rng %i, %j, %t, distribution = UNIFORM
      : (tensor<i32>, tensor<i32>, tensor<1xi64>) -> tensor<500xi32>
  return %0, %1, %2 : tensor<200x30xf32>, tensor<200x30xf32>, tensor<500xi32>
}
"""


@pytest.fixture(scope="module")
def drawing() -> Executable:
    return axonc.compile(DRAWS, seed=5)


def test_distributions(drawing: Executable) -> None:
    uniform, normal, integers = drawing.run(checked=True)
    assert uniform.min() >= -1 and uniform.max() < 3
    assert abs(uniform.mean() - 1) < 0.08 and abs(uniform.std() - 4 / np.sqrt(12)) < 0.05
    assert abs(normal.mean() + 1) < 0.2 and abs(normal.std() - 3) < 0.12
    assert set(integers) == set(range(-5, 7))


def test_calls_differ_and_come_again_after_seed(drawing: Executable) -> None:
    drawing.seed(5)
    first, second = drawing.run(), drawing.run()
    drawing.seed(5)
    again = drawing.run()
    assert not any((a == b).all() for a, b in zip(first, second, strict=True))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    drawing.seed(6)
    assert (drawing.run()[0] != first[0]).mean() > 0.9


def test_the_key_is_no_input(drawing: Executable) -> None:
    assert drawing.is_random and drawing.inputs == ()
    with pytest.raises(axonc.UsageError, match="number of 32 bits"):
        drawing.seed(-1)
