"""Keep NaN of rows that are masked whole out of the products that read a softmax.

Why: the probabilities of attention are transposed on the tensor engine, where a NaN spoils its
neighbours (machine.md#arithmetic). A softmax of a row of nothing but -inf is 0 / 0, and padded
batches have such rows. Transposing exactly costs four times as much; two small operations cost
next to nothing.

Precondition: neuron operations, before fusion.
Postcondition: a product reads `masked_softmax`, which gives zeros for such rows, and its result is
NaN where the softmax was.

Before:
    %p = "neuron.softmax"(%s) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %o = "neuron.dot"(%p, %v) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
After:
    %p = "neuron.masked_softmax"(%s) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %m = "neuron.reduce"(%s) {dims = [1], kind = "max"} : (tensor<4x8xf32>) -> tensor<4xf32>
    %l = "neuron.constant"() {value = dense<0xFF800000> : tensor<4xf32>} : () -> tensor<4xf32>
    %e = "neuron.compare"(%m, %l) {direction = "EQ"}
         : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xi1>
    %d = "neuron.dot"(%p, %v) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
    %b = "neuron.broadcast"(%e) {dims = [0]} : (tensor<4xi1>) -> tensor<4x16xi1>
    %n = "neuron.constant"() {value = dense<0x7FC00000> : tensor<4x16xf32>} : () -> tensor<4x16xf32>
    %o = "neuron.select"(%b, %n, %d)
         : (tensor<4x16xi1>, tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>

Proof: let row r of s hold -inf only; then row r of softmax(s) is NaN, and so is every sum of
products with it, whatever v is: row r of o. The select gives NaN there. In any other row
masked_softmax is softmax, so d = o, and the select gives d: its predicate is false, as the maximum
of the row is no -inf (a NaN compares unequal).

Leaves alone: a softmax whose operand cannot hold -inf, or may hold +inf or NaN (`Infinities`);
readers that are no products, and products that sum over another dim than the softmax's: they read
the softmax as it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import ConvertOp, DotOp, MaskedSoftmaxOp, SoftmaxOp, isa
from axonc.dialects.neuron.repeat import called_functions
from axonc.passes.base import Pass
from axonc.passes.graph.infinities import NEGATIVE, Infinities
from axonc.passes.graph.module import main_function
from axonc.passes.graph.rewrite import body_of, in_place_of, ops_of
from axonc.passes.graph.uses import erase_dead


@dataclass(frozen=True)
class GuardMaskedSoftmaxPass(Pass, name="guard-masked-softmax"):
    """Keep NaN of rows that are masked whole out of the products that read a softmax."""

    def apply(self, op: ir.Operation) -> bool:
        main = main_function(op)
        infinities = Infinities(main)
        changed = False
        for function in called_functions(main):
            block = body_of(function)
            for softmax in ops_of(block, SoftmaxOp):
                if not isa(softmax, MaskedSoftmaxOp) and infinities[softmax.operand] == NEGATIVE:
                    changed |= _guard(softmax)
            erase_dead(block)
        return changed


def _guard(softmax: ir.OpView) -> bool:
    """Let the dots that sum over the softmax's axis read a masked one; whether there are any."""
    readers = [r for v in _as_read(softmax) for r in _dots(v, softmax.axis)]
    if not readers:
        return False
    with in_place_of(softmax):
        masked = build.masked_softmax(softmax.operand, softmax.axis)
        is_empty = _empty_rows(softmax.operand, softmax.axis)
    for dot, side in readers:
        with in_place_of(dot):
            element = dot.operands[side].type.element_type
            dot.operands[side] = build.convert(masked, element)
            dot.attributes["operandSegmentSizes"] = build.operand_runs(
                [v.type for v in dot.operands]
            )
        _put_nan(dot, side, is_empty, softmax.axis)
    return True


def _as_read(softmax: ir.OpView) -> list[ir.Value]:
    """The softmax, and what it is converted to."""
    result = softmax.results[0]
    converted = [u.owner.results[0] for u in result.uses if isa(u.owner, ConvertOp)]
    floats = [v for v in converted if isinstance(v.type.element_type, ir.FloatType)]
    return [result, *floats]


def _dots(value: ir.Value, axis: int) -> list[tuple[ir.OpView, int]]:
    """(dot, side) of the dots that read `value` once and sum over `axis` alone."""
    found = []
    for use in list(value.uses):
        dot, side = use.owner, use.operand_number
        if isa(dot, DotOp) and side < 2 and not len(dot.regions[0].blocks):
            contract = (dot.lhs_contract, dot.rhs_contract)[side]
            if contract == (axis,) and dot.operands[1 - side] != value:
                found.append((dot, side))
    return found


def _empty_rows(scores: ir.Value, axis: int) -> ir.Value:
    """i1, without the axis: whether a row holds -inf only."""
    largest = build.reduce(scores, "max", (axis,))
    return build.compare(largest, build.splat_constant(-math.inf, largest.type), "EQ")


def _put_nan(dot: ir.OpView, side: int, is_empty: ir.Value, axis: int) -> None:
    """NaN in the rows of a dot's result that empty rows of its operand `side` lead to."""
    result = dot.results[0]
    with ir.InsertionPoint.after(dot), dot.location:
        places = _places(dot, side)
        kept = [places[d] for d in range(len(places) + 1) if d != axis]
        shape = build.shape_of(result)
        predicate = build.broadcast(is_empty, shape, kept)
        nan = build.splat_constant(math.nan, result.type)
        chosen = build.create("select", (predicate, nan, result), result.type)
    result.replace_all_uses_except(chosen, chosen.owner.operation)


def _places(dot: ir.OpView, side: int) -> dict[int, int]:
    """The dim of the result for each batch and free dim of an operand: [batch, lhs free, rhs
    free]."""
    batch = (dot.lhs_batch, dot.rhs_batch)
    contract = (dot.lhs_contract, dot.rhs_contract)
    free = [
        [d for d in range(v.type.rank) if d not in (*batch[s], *contract[s])]
        for s, v in enumerate((dot.lhs, dot.rhs))
    ]
    first = len(batch[side]) + (len(free[0]) if side else 0)
    places = {d: i for i, d in enumerate(batch[side])}
    return places | {d: first + i for i, d in enumerate(free[side])}
