"""Inline calls and simplify StableHLO with upstream passes; keep the composites legalisation knows.

Why: frontends emit many small functions, broadcasts of constants and dead arithmetic; everything
after this pass sees one function with as few operations as upstream can make of it.

Precondition: StableHLO in functions, static shapes.
Postcondition: `@main` calls no function; composites other than `KEPT_COMPOSITES` are expanded.

Before:
    %0 = call @square(%x) : (tensor<4xf32>) -> tensor<4xf32>
After:
    %0 = stablehlo.multiply %x, %x : tensor<4xf32>

Leaves alone: the kept composites and their decompositions, which `legalize-to-neuron` reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from axonc.pass_manager import Pass, State

KEPT_COMPOSITES = (
    "axonc.gelu",
    "axonc.softmax",
    "axonc.layer_norm",
    "axonc.rms_norm",
    "chlo.erf",
)
"""Composites with a neuron operation of the same meaning."""

_PIPELINE = (
    "builtin.module("
    f"func.func(stablehlo-legalize-composite-to-call{{except={','.join(KEPT_COMPOSITES)}}}),"
    "inline,symbol-dce,"
    "func.func(canonicalize,cse,stablehlo-aggressive-simplification,canonicalize,cse))"
)


@dataclass(frozen=True)
class SimplifyPass(Pass, name="simplify"):
    """Inline calls and simplify StableHLO with upstream passes."""

    def run_on(self, state: State) -> tuple[State, bool]:
        before = state.fingerprint()
        super().run_on(state)
        return state, state.fingerprint() != before

    def apply(self, op: ir.Operation) -> bool:
        PassManager.parse(_PIPELINE).run(op)
        return True
