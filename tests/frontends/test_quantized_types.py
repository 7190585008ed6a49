"""Programs with quantized types: read in every form, and what they compute beside the formula of
StableHLO's specification (dequantize, compute, quantize) in numpy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from torch_mlir import ir as torch_mlir_ir
from torch_mlir._mlir_libs import _stablehlo

import axonc

PRODUCT = """func.func @main(%x: tensor<5x3xf32>, %w: tensor<3x4x!quant.uniform<i8:f32, 0.25:0>>)
    -> tensor<5x4xf32> {
  %0 = stablehlo.uniform_quantize %x : (tensor<5x3xf32>)
      -> tensor<5x3x!quant.uniform<i8:f32, 0.125:-2>>
  %1 = stablehlo.dot_general %0, %w, contracting_dims = [1] x [0]
      : (tensor<5x3x!quant.uniform<i8:f32, 0.125:-2>>, tensor<3x4x!quant.uniform<i8:f32, 0.25:0>>)
      -> tensor<5x4x!quant.uniform<i8:f32, 0.5:1>>
  %2 = stablehlo.uniform_dequantize %1
      : (tensor<5x4x!quant.uniform<i8:f32, 0.5:1>>) -> tensor<5x4xf32>
  return %2 : tensor<5x4xf32>
}
"""
X = np.linspace(-20, 20, 15, dtype=np.float32).reshape(5, 3)
W = np.array([[-128, 127, 0, 3], [5, -7, 11, 90], [1, 2, 4, 8]], np.int8)


def quantized(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return np.clip(np.rint(x / scale) + zero_point, -128, 127)


def expected_product() -> np.ndarray:
    """The scales are powers of two, so float32 computes all of it exactly."""
    x = (quantized(X, 0.125, -2) + 2) * 0.125
    product = x @ (W.astype(np.float64) * 0.25)
    return (quantized(product, 0.5, 1) - 1) * 0.5


def module_of(text: str) -> torch_mlir_ir.Module:
    context = torch_mlir_ir.Context()
    with context:
        _stablehlo.register_dialect(context)
        return torch_mlir_ir.Module.parse(text)


def bytecode() -> bytes:
    written = io.BytesIO()
    module_of(PRODUCT).operation.write_bytecode(written)
    return written.getvalue()


def artifact() -> bytes:
    module = module_of(PRODUCT)
    with module.context:
        return _stablehlo.serialize_portable_artifact(module, _stablehlo.get_minimum_version())


@pytest.mark.parametrize(
    "source",
    [PRODUCT, bytecode(), artifact(), module_of(PRODUCT)],
    ids=("text", "bytecode", "artifact", "module"),
)
def test_a_product_of_quantized_matrices(source: object) -> None:
    executable = axonc.compile(source)
    assert [str(i) for i in executable.inputs][1].endswith("tensor<3x4xi8>")
    np.testing.assert_array_equal(executable.run(X, W, checked=True)[0], expected_product())


def test_scales_per_channel_and_only_moved_elements() -> None:
    kind = "tensor<3x4x!quant.uniform<i8:f32:1, {0.5:0, 0.25:0, 2.0:0, 1.0:0}>>"
    turned = "tensor<4x3x!quant.uniform<i8:f32:0, {0.5:0, 0.25:0, 2.0:0, 1.0:0}>>"
    text = f"""func.func @main(%w: {kind}) -> (tensor<3x4xf32>, {turned}) {{
      %0 = stablehlo.uniform_dequantize %w : ({kind}) -> tensor<3x4xf32>
      %1 = stablehlo.transpose %w, dims = [1, 0] : ({kind}) -> {turned}
      return %0, %1 : tensor<3x4xf32>, {turned}
    }}"""
    real, moved = axonc.compile(text).run(W, checked=True)
    np.testing.assert_array_equal(real, W * np.array([0.5, 0.25, 2, 1], np.float32))
    np.testing.assert_array_equal(moved, W.T)


def test_operations_keep_the_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.mlir"
    scales = "%3 = stablehlo.convert %2 : (tensor<5x4xf32>) -> tensor<5x4xf8E8M0FNU>"
    text = PRODUCT.replace("    -> tensor<5x4xf32> {", "    -> tensor<5x4xf8E8M0FNU> {")
    path.write_text(
        text.replace(
            "return %2 : tensor<5x4xf32>", f"{scales}\n  return %3 : tensor<5x4xf8E8M0FNU>"
        )
    )
    (found,) = axonc.check(path)
    assert "model.mlir:10:8: stablehlo.convert" in str(found)


def test_what_is_wrong_beside_quantized_types_is_told_with_its_place() -> None:
    text = PRODUCT.replace("stablehlo.dot_general", "stablehlo.product")
    with pytest.raises(axonc.CompileError, match=r"^<text>:5:8: .*stablehlo.product") as caught:
        axonc.check(text)
    assert not isinstance(caught.value, axonc.UnsupportedOpError)
