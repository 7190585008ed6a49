"""Replace calls, and composites legalisation does not know, by what they compute.

Why: frontends emit many small functions. Done apart from `simplify`, so that layers can be
outlined before equal operations are merged across them.

Precondition: StableHLO in functions.
Postcondition: `@main` calls no function; composites that legalisation does not know are expanded;
functions without references are gone.

Before:
    %0 = call @square(%x) : (tensor<4xf32>) -> tensor<4xf32>
    func.func private @square(%a: tensor<4xf32>) -> tensor<4xf32> {
      %b = stablehlo.multiply %a, %a : tensor<4xf32>
      return %b : tensor<4xf32>
    }
After:
    %0 = stablehlo.multiply %x, %x : tensor<4xf32>

Leaves alone: the kept composites and their decompositions, which `legalize-to-neuron` reads, and
functions that `neuron.repeat` calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from axonc.dialects.neuron.table import COMPOSITES
from axonc.passes.base import ComparedByFingerprint, Pass

INLINE = (
    f"symbol-dce,func.func(stablehlo-legalize-composite-to-call{{except={','.join(COMPOSITES)}}}),"
    "inline,symbol-dce"
)
"""The upstream passes that do it."""


@dataclass(frozen=True)
class InlineCallsPass(ComparedByFingerprint, Pass, name="inline-calls"):
    """Replace calls, and composites legalisation does not know, by what they compute."""

    def apply(self, op: ir.Operation) -> bool:
        PassManager.parse(f"builtin.module({INLINE})").run(op)
        return True
