"""The two factors of a product of the tensor engine, dot or convolution: over which dims a weight
is not summed, and where these are in the result."""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import ConvolutionOp, isa
from axonc.dialects.neuron.window_rules import convolution_dims
from axonc.passes.cast.cast_choice import COMPUTE_ATTRIBUTE, SCALES_ATTRIBUTE, WEIGHT_ATTRIBUTE
from axonc.passes.graph.dot_geometry import dot_geometry


@dataclass(frozen=True)
class ProductSide:
    """What one factor of a product means for its scale."""

    places: dict[int, int]
    """Dim of the result for each dim of the factor that is not summed over. A scale may depend on
    these. A convolution's image has none: it is no weight."""

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(sorted(self.places))


def product_sides(op: ir.Operation) -> tuple[ProductSide, ProductSide]:
    """Of the first two operands."""
    if isa(op, ConvolutionOp):
        dims = convolution_dims(op)
        return ProductSide({}), ProductSide({dims.rhs[0]: dims.result[1]})
    left, right = (
        ProductSide(
            dict(zip(side.free, side.result_free, strict=True))
            | {d: i for i, d in enumerate(side.batch)}
        )
        for side in dot_geometry(op).sides
    )
    return left, right


def product_like(op: ir.Operation, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    """The product of other factors, in float32, without epilogue or casts."""
    attributes = dict(op.attributes.items())
    for name in (COMPUTE_ATTRIBUTE, WEIGHT_ATTRIBUTE, SCALES_ATTRIBUTE):
        attributes.pop(name, None)
    attributes["operandSegmentSizes"] = build.operand_runs([lhs.type, rhs.type])
    kind = build.tensor(build.shape_of(op.results[0]), ir.F32Type.get())
    made = ir.Operation.create(op.name, [kind], [lhs, rhs], attributes, regions=1, loc=op.location)
    return made.results[0]
