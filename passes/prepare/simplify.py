"""Inline calls and simplify StableHLO with upstream passes; keep the composites legalisation knows.

Why: frontends emit many small functions, broadcasts of constants and dead arithmetic; everything
after this pass sees functions with as few operations as upstream can make of them. Inlining is
`inline-calls`, which may run before, so that something comes between.

Precondition: StableHLO in functions, static shapes.
Postcondition: `@main` calls no function; composites that no neuron operation means are
expanded.

Before:
    %0 = call @square(%x) : (tensor<4xf32>) -> tensor<4xf32>
    func.func private @square(%a: tensor<4xf32>) -> tensor<4xf32> {
      %b = stablehlo.multiply %a, %a : tensor<4xf32>
      return %b : tensor<4xf32>
    }
After:
    %0 = stablehlo.multiply %x, %x : tensor<4xf32>

Leaves alone: the kept composites and their decompositions, which `legalize-to-neuron` reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from axonc.passes.base import ComparedByFingerprint, Pass
from axonc.passes.prepare.inline_calls import INLINE

_PIPELINE = (
    f"builtin.module({INLINE},"
    "func.func(canonicalize,cse,stablehlo-aggressive-simplification,canonicalize,cse))"
)


@dataclass(frozen=True)
class SimplifyPass(ComparedByFingerprint, Pass, name="simplify"):
    """Inline calls and simplify StableHLO with upstream passes."""

    def apply(self, op: ir.Operation) -> bool:
        PassManager.parse(_PIPELINE).run(op)
        return True
