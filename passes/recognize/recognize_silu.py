"""Find silu and the logistic function written out: one `neuron.silu` or `neuron.logistic` instead.

Why: ScalarE has both as one activation function; frontends write 1 / (1 + exp(-x)).

Precondition: neuron operations, constants folded, before fusion.
Postcondition: no cone of elementwise operations over one value computes silu or logistic.

Before:
    %c = "neuron.constant"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<4xf32>
    %0 = "neuron.negate"(%x) : (tensor<4xf32>) -> tensor<4xf32>
    %1 = "neuron.exp"(%0) : (tensor<4xf32>) -> tensor<4xf32>
    %2 = "neuron.add"(%1, %c) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %3 = "neuron.divide"(%c, %2) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
After:
    %3 = "neuron.logistic"(%x) : (tensor<4xf32>) -> tensor<4xf32>

Decides by meaning, as `recognize-gelu` does. Leaves alone: cones over more than one value.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.passes.base import Pass
from axonc.passes.recognize.recognize_activation import recognize_activations


@dataclass(frozen=True)
class RecognizeSiluPass(Pass, name="recognize-silu", anchor="func.func"):
    """Find silu and the logistic function written out in elementwise operations."""

    def apply(self, op: ir.Operation) -> bool:
        found = recognize_activations(op, ("logistic", "silu"))
        # A second time: x * logistic(x) is a cone over one value only once logistic is one
        # operation.
        return recognize_activations(op, ("silu",)) or found
