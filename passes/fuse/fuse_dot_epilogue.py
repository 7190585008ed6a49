"""Move a fused elementwise graph into the dot whose result it reads: the dot's epilogue.

Why: the product leaves PSUM through an engine that can add a bias, scale, apply an activation and
cast on the way; done apart, each costs a pass over the tensor.

Precondition: `fuse-elementwise` has run.
Postcondition: a fused operation reads a dot result of its own shape only when something else reads
it too.

Before:
    %0 = "neuron.dot"(%x, %w) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
    %1 = "neuron.fused"(%0, %y) ({
    ^bb0(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>):
      %c = "neuron.add"(%a, %b) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
      "neuron.yield"(%c) : (tensor<4x8xf32>) -> ()
    }) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
After:
    %1 = "neuron.dot"(%x, %w, %y) ({
    ^bb0(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>):
      %c = "neuron.add"(%a, %b) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
      "neuron.yield"(%c) : (tensor<4x8xf32>) -> ()
    }) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>

Convolutions take epilogues in the same way. A dot whose result type is not f32 rounds before its
users see it: the epilogue then begins with that conversion. Of several dots a graph reads, the last
in the program takes it. Leaves alone: dots that have an epilogue, integer dots, dots read by more
than the fused operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import ConvolutionOp, DotOp, FusedOp, isa
from axonc.dialects.neuron.table import FLOAT
from axonc.dialects.neuron.window_builder import convolution_with_epilogue
from axonc.dialects.neuron.window_rules import CONVOLUTION_ATTRIBUTES
from axonc.passes.base import Pass
from axonc.passes.fuse.region_body import copy_body, fits_runs, grouped_by_type
from axonc.passes.graph.rewrite import ops_of, replace
from axonc.passes.graph.uses import defining_op, erase_dead, use_count


@dataclass(frozen=True)
class FuseDotEpiloguePass(Pass, name="fuse-dot-epilogue", anchor="func.func"):
    """Move fused elementwise graphs into the dots whose results they read."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        place = {o.results[0]: i for i, o in enumerate(block.operations) if o.results}  # fmt: skip
        fused = ops_of(block, FusedOp)
        found = [(f, dot) for f in fused if (dot := _last_dot(f, place))]
        for graph, dot in found:
            _merge(graph, dot)
        return erase_dead(block) or bool(found)


def _last_dot(graph: ir.Operation, place: dict[ir.Value, int]) -> ir.Operation | None:
    """The dot that may take this graph as epilogue."""
    dots = [dot for value in graph.operands if (dot := _candidate(value, graph))]
    return max(dots, key=lambda dot: place[dot.results[0]], default=None)


def _candidate(value: ir.Value, graph: ir.Operation) -> ir.Operation | None:
    dot = defining_op(value, DotOp) or defining_op(value, ConvolutionOp)
    if dot is None or dot.regions[0].blocks or use_count(value) != 1:
        return None
    if build.shape_of(value) != build.shape_of(graph.results[0]):
        return None
    if str(dot.operands[0].type.element_type) not in FLOAT:
        return None
    kinds = [v.type for v in (*dot.operands, *_extras(graph, value))]
    return dot if fits_runs(kinds) else None


def _extras(graph: ir.Operation, accumulator: ir.Value) -> list[ir.Value]:
    return grouped_by_type(v for v in graph.operands if v != accumulator)


def _with_epilogue(
    dot: ir.Operation,
    extras: Sequence[ir.Value],
    kind: ir.RankedTensorType,
    epilogue: build.RegionBuilder,
) -> ir.Value:
    """The dot or convolution again, with an epilogue."""
    lhs, rhs, where = dot.operands[0], dot.operands[1], dot.location
    if isa(dot, DotOp):
        return build.dot_with_epilogue(lhs, rhs, extras, build.dot_dims(dot), kind, epilogue, where)
    attributes = {name: dot.attributes[name] for name in CONVOLUTION_ATTRIBUTES}
    return convolution_with_epilogue(lhs, rhs, extras, attributes, kind, epilogue, where)


def _merge(graph: ir.Operation, dot: ir.Operation) -> None:
    """One dot with an epilogue in the place of the graph."""
    product = dot.results[0]
    extras = _extras(graph, product)

    def epilogue(arguments: Sequence[ir.Value]) -> ir.Value:
        accumulator, *others = arguments
        rounded = build.convert(accumulator, product.type.element_type, dot.location)
        values = dict(zip(extras, others, strict=True)) | {product: rounded}
        body = graph.regions[0].blocks[0]
        return copy_body(body, [values[v] for v in graph.operands])

    with ir.InsertionPoint(graph):
        merged = _with_epilogue(dot, extras, graph.results[0].type, epilogue)
    replace(graph, merged)
    dot.erase()
