"""Find gelu written out in elementwise operations: one `neuron.gelu` or `neuron.gelu_tanh` instead.

Why: ScalarE has gelu as one activation function; written out it is 5 operations with erf, 8 with
tanh, and 70 where jax.export expanded erfc.

Precondition: neuron operations, constants folded, before fusion.
Postcondition: no cone of elementwise operations over one value computes gelu (by erf, or by tanh).

Before:
    %a = "neuron.constant"() {value = dense<0.707106769> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
    %b = "neuron.constant"() {value = dense<1.0> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
    %c = "neuron.constant"() {value = dense<0.5> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
    %0 = "neuron.multiply"(%x, %a) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %1 = "neuron.erf"(%0) : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %2 = "neuron.add"(%1, %b) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %3 = "neuron.multiply"(%x, %2) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %4 = "neuron.multiply"(%3, %c) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
After:
    %4 = "neuron.gelu"(%x) : (tensor<4x8xf32>) -> tensor<4x8xf32>

Decides by meaning: the cone, run in float64 on 456 probes, must agree with gelu within 1e-6 *
max(1, |x|) (passes/recognize/recognize_activation.py). Leaves alone: cones over
more than one value.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.passes.base import Pass
from axonc.passes.recognize.recognize_activation import recognize_activations


@dataclass(frozen=True)
class RecognizeGeluPass(Pass, name="recognize-gelu", anchor="func.func"):
    """Find gelu written out in elementwise operations."""

    def apply(self, op: ir.Operation) -> bool:
        return recognize_activations(op, ("gelu", "gelu_tanh"))
