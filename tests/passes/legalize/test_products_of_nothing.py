"""Products that sum nothing are 0, whatever has no elements."""

from __future__ import annotations

import pytest

import axonc

CONVOLUTION = (
    "stablehlo.convolution(%a, %b) dim_numbers = [b, f, 0]x[o, i, 0]->[b, f, 0], "
    "window = {stride = [1], pad = [[1, 1]]} "
    "{batch_group_count = 1 : i64, feature_group_count = 1 : i64}"
)


@pytest.mark.parametrize("kind", ["f32", "bf16", "i32"])
@pytest.mark.parametrize("rows,inner,columns", [(4, 0, 3), (0, 5, 3), (4, 5, 0), (0, 0, 0)])
def test_matrices_without_elements(kind: str, rows: int, inner: int, columns: int) -> None:
    left, right = f"tensor<{rows}x{inner}x{kind}>", f"tensor<{inner}x{columns}x{kind}>"
    result = f"tensor<{rows}x{columns}x{kind}>"
    text = f"""func.func @main(%a: {left}, %b: {right}) -> {result} {{
      %0 = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0]
          : ({left}, {right}) -> {result}
      return %0 : {result}
    }}"""
    assert axonc.check(text) == []
    executable = axonc.compile(text)
    (found,) = executable.run(executable.random_inputs(), checked=True)
    assert found.shape == (rows, columns)
    assert not found.any()


@pytest.mark.parametrize("features,width,taps", [(0, 8, 3), (2, 0, 2)])
def test_convolutions_of_nothing(features: int, width: int, taps: int) -> None:
    result = f"tensor<1x4x{width + 2 - taps + 1}xf32>"
    image, kernel = f"tensor<1x{features}x{width}xf32>", f"tensor<4x{features}x{taps}xf32>"
    text = f"""func.func @main(%a: {image}, %b: {kernel}) -> {result} {{
      %0 = {CONVOLUTION} : ({image}, {kernel}) -> {result}
      return %0 : {result}
    }}"""
    executable = axonc.compile(text)
    (found,) = executable.run(executable.random_inputs(), checked=True)
    assert found.shape == (1, 4, width + 3 - taps)
    assert not found.any()
