"""Small programs the tests of the command line, the Python interface and program files share."""

from __future__ import annotations

import numpy as np

# x @ w + b through tanh, and the largest of each row: a weight, a product, a reduction.
DENSE = """\
func.func @main(%x: tensor<4x8xf32> {neuron.name = "x"},
                %w: tensor<8x16xf32> {neuron.name = "w"},
                %b: tensor<16xf32> {neuron.name = "b"})
    -> (tensor<4x16xf32> {neuron.name = "y"}, tensor<4xf32> {neuron.name = "top"}) {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
      : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  %1 = stablehlo.broadcast_in_dim %b, dims = [1] : (tensor<16xf32>) -> tensor<4x16xf32>
  %2 = stablehlo.add %0, %1 : tensor<4x16xf32>
  %3 = stablehlo.tanh %2 : tensor<4x16xf32>
  %init = stablehlo.constant dense<0xFF800000> : tensor<f32>
  %4 = stablehlo.reduce(%3 init: %init) applies stablehlo.maximum across dimensions = [1]
      : (tensor<4x16xf32>, tensor<f32>) -> tensor<4xf32>
  return %3, %4 : tensor<4x16xf32>, tensor<4xf32>
}
"""

# 64-bit ids and a boolean mask, as frameworks pass them.
SELECT = """\
func.func @main(%ids: tensor<4xi64> {neuron.name = "ids"},
                %keep: tensor<4xi1> {neuron.name = "keep"},
                %other: tensor<4xi64> {neuron.name = "other"})
    -> (tensor<4xi64> {neuron.name = "chosen"}, tensor<4xi1> {neuron.name = "same"}) {
  %0 = stablehlo.select %keep, %ids, %other : tensor<4xi1>, tensor<4xi64>
  %1 = stablehlo.compare EQ, %0, %ids : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
  return %0, %1 : tensor<4xi64>, tensor<4xi1>
}
"""

# Reads its one input once, without broadcasts.
TWICE = """\
func.func @main(%x: tensor<128x64xf32> {neuron.name = "x"}) -> tensor<128x64xf32> {
  %0 = stablehlo.add %x, %x : tensor<128x64xf32>
  return %0 : tensor<128x64xf32>
}
"""

# Two operations no NeuronCore program can be made of yet.
UNSUPPORTED = """\
func.func @main(%m: tensor<8x8xf32>, %n: tensor<8x8xf64>) -> tensor<8x8xf32> {
  %0 = stablehlo.cholesky %m : tensor<8x8xf32>
  %2 = stablehlo.convert %n : (tensor<8x8xf64>) -> tensor<8x8xf32>
  %3 = stablehlo.add %0, %2 : tensor<8x8xf32>
  return %3 : tensor<8x8xf32>
}
"""


def dense_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of DENSE by name."""
    generator = np.random.default_rng(seed)
    shapes = {"x": (4, 8), "w": (8, 16), "b": (16,)}
    return {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def dense_oracle(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What DENSE computes, in float64."""
    y = np.tanh(x.astype(np.float64) @ w.astype(np.float64) + b)
    return y, y.max(axis=1)
