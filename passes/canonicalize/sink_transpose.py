"""Let dots read through transposes: renumber their dims instead.

Why: a dot names its batch, contracted and free dims, so it can read a tensor in any order of dims;
a transpose in front of it is work for nothing. In attention this removes the head transposes.

Precondition: neuron operations.
Postcondition: no dot operand is a transpose, unless that would reorder its free dims.

Before:
    %0 = "neuron.transpose"(%k) {permutation = [1, 0]} : (tensor<16x8xf32>) -> tensor<8x16xf32>
    %1 = "neuron.dot"(%q, %0) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
After:
    %1 = "neuron.dot"(%q, %k) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [1]}
         : (tensor<4x8xf32>, tensor<16x8xf32>) -> tensor<4x16xf32>

Leaves alone: transposes that change the order of the free dims, for that is the order of the
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import integer_array, integers
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import DotOp, TransposeOp
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import ops_of
from axonc.passes.graph.uses import defining_op, erase_dead


@dataclass(frozen=True)
class SinkTransposePass(Pass, name="sink-transpose", anchor="func.func"):
    """Let dots read through transposes by renumbering their dims."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        changed = False
        for each in ops_of(block, DotOp):
            changed |= _read_through(each, 0, ("lhs_batch", "lhs_contract"))
            changed |= _read_through(each, 1, ("rhs_batch", "rhs_contract"))
        return erase_dead(block) or changed


def _read_through(dot: ir.Operation, position: int, names: Sequence[str]) -> bool:
    """Fold the transposes in front of one operand; whether there were any."""
    changed = False
    while transpose := defining_op(dot.operands[position], TransposeOp):
        permutation = transpose.permutation
        used = [integers(dot.attributes[name]) for name in names]
        free = [permutation[i] for i in range(len(permutation)) if i not in used[0] + used[1]]
        if free != sorted(free):
            break
        for name, dims in zip(names, used, strict=True):
            dot.attributes[name] = integer_array(permutation[d] for d in dims)
        dot.operands[position] = transpose.operands[0]
        changed = True
    if changed:
        kinds = [v.type for v in dot.operands]
        dot.attributes["operandSegmentSizes"] = build.operand_runs(kinds)
    return changed
