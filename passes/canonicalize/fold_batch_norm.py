"""Batch norm after a convolution with one multiplication per feature, and no subtraction.

Why: exported models write ((x - mean) * rsqrt(variance + epsilon)) * gamma + beta over the whole
feature map. The product of the two vectors is made once, and the chain has a pass less over the
map. The mean is negated, once per feature, because ScalarE adds and does not subtract: so both
engines that evict a convolution from PSUM can take their share.

Precondition: neuron operations, `merge-views` has run, before casts and fusion.
Postcondition: a convolution's result, on its way through additions and multiplications of vectors
of its features (or constants), is never multiplied twice in a row, and no vector is subtracted.

Before:
    %c = "neuron.convolution"(%x, %k) ({})
         {groups = 1 : i64, high = [0], lhs_dilation = [1], lhs_dims = [0, 1, 2], low = [0],
          result_dims = [0, 1, 2], reversal = [0], rhs_dilation = [1], rhs_dims = [0, 1, 2],
          strides = [1]}
         : (tensor<1x3x9xf32>, tensor<8x3x2xf32>) -> tensor<1x8x8xf32>
    %m = "neuron.broadcast"(%mean) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x8xf32>
    %i = "neuron.broadcast"(%inverse) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x8xf32>
    %g = "neuron.broadcast"(%gamma) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x8xf32>
    %1 = "neuron.subtract"(%c, %m) : (tensor<1x8x8xf32>, tensor<1x8x8xf32>) -> tensor<1x8x8xf32>
    %2 = "neuron.multiply"(%1, %i) : (tensor<1x8x8xf32>, tensor<1x8x8xf32>) -> tensor<1x8x8xf32>
    %3 = "neuron.multiply"(%2, %g) : (tensor<1x8x8xf32>, tensor<1x8x8xf32>) -> tensor<1x8x8xf32>
After:
    %c = "neuron.convolution"(%x, %k) ({})
         {groups = 1 : i64, high = [0], lhs_dilation = [1], lhs_dims = [0, 1, 2], low = [0],
          result_dims = [0, 1, 2], reversal = [0], rhs_dilation = [1], rhs_dims = [0, 1, 2],
          strides = [1]}
         : (tensor<1x3x9xf32>, tensor<8x3x2xf32>) -> tensor<1x8x8xf32>
    %n = "neuron.negate"(%mean) : (tensor<8xf32>) -> tensor<8xf32>
    %m = "neuron.broadcast"(%n) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x8xf32>
    %1 = "neuron.add"(%c, %m) : (tensor<1x8x8xf32>, tensor<1x8x8xf32>) -> tensor<1x8x8xf32>
    %v = "neuron.multiply"(%inverse, %gamma) : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
    %s = "neuron.broadcast"(%v) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x8xf32>
    %3 = "neuron.multiply"(%1, %s) : (tensor<1x8x8xf32>, tensor<1x8x8xf32>) -> tensor<1x8x8xf32>

Proof: (c * v) * w and c * (v * w) are each within two roundings of the real product, so they differ
by at most 2^-22 of it, whatever c, v and w are, as long as the products of two are normal numbers.
c - m is c + (-m), bit by bit: so IEEE 754 defines it.

Nothing else is moved. (c + b) * s is not c * s + b * s in floats: where c is near -b, the second
form loses all its digits, and with an infinite s it is NaN; and c / v is not c * (1 / v): it is NaN
for v = 0 where a sum follows, and off in the last bit elsewhere.

Leaves alone: chains whose middle something else reads, additions, divisions, and numbers (constants
of one value) that are subtracted: engines have them both ways.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    AddOp,
    BroadcastOp,
    ConvolutionOp,
    MultiplyOp,
    OpClass,
    SubtractOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.table import FLOAT
from axonc.dialects.neuron.window_rules import convolution_dims
from axonc.passes.base import Pass
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.rewrite import body_of, in_place_of, redirect
from axonc.passes.graph.uses import defining_op, erase_dead, use_count

STEPS: frozenset[OpClass] = frozenset({AddOp, SubtractOp, MultiplyOp})
"""Operations of a chain."""


@dataclass(frozen=True)
class FoldBatchNormPass(Pass, name="fold-batch-norm", anchor="func.func"):
    """Multiply the vectors of batch norms first, so that feature maps are multiplied once.

    A mean that is subtracted is negated and added."""

    def apply(self, op: ir.Operation) -> bool:
        block = body_of(op)
        changed = False
        features: dict[ir.Value, int] = {}
        for each in list(block.operations):
            if isa(each, ConvolutionOp) and str(each.results[0].type.element_type) in FLOAT:
                features[each.results[0]] = convolution_dims(each).result[1]
            elif kind_of(each) in STEPS:
                changed |= _step(each, features)
        return erase_dead(block) or changed


def _step(op: ir.OpView, features: dict[ir.Value, int]) -> bool:
    """Continue a chain; whether two multiplications became one. features: the dim of the features,
    by value of a chain."""
    for position, (value, other) in enumerate(_both_ways(op)):
        feature = features.get(value)
        if feature is None or not _is_vector(other, feature):
            continue
        features[op.results[0]] = feature
        before = defining_op(value, MultiplyOp)
        if isa(op, MultiplyOp) and before is not None and use_count(value) == 1:
            return _merge(before, op, position, features)
        if isa(op, SubtractOp) and position == 0 and splat_of(other) is None:
            _add_negated(op, features)
            return True
        return False
    return False


def _add_negated(op: ir.OpView, features: dict[ir.Value, int]) -> None:
    """value + (-vector) in the place of value - vector."""
    value, vector = op.operands
    feature = features[op.results[0]]
    with in_place_of(op):
        flat = _vector(vector, feature)
        negated = build.create("negate", (flat,), flat.type)
        spread = build.broadcast(negated, build.shape_of(value), [feature])
        result = build.create("add", (value, spread), value.type)
    redirect(op.results, [result])
    features[result] = feature


def _both_ways(op: ir.OpView) -> tuple[tuple[ir.Value, ir.Value], tuple[ir.Value, ir.Value]]:
    """(first, second operand), and the other way round."""
    first, second = op.operands
    return (first, second), (second, first)


def _merge(
    first: ir.OpView, second: ir.OpView, position: int, features: dict[ir.Value, int]
) -> bool:
    """source * (v * w) in the place of (source * v) * w, if the chain went through `first`."""
    feature = features[second.results[0]]
    source, factor = list(first.operands)
    if source not in features:
        source, factor = factor, source
    if source not in features or not _is_vector(factor, feature):
        return False
    with in_place_of(second):
        factors = (_vector(v, feature) for v in (factor, second.operands[1 - position]))
        vector = _multiply(*factors)
        result = _multiply(source, build.broadcast(vector, build.shape_of(source), [feature]))
    redirect(second.results, [result])
    features[result] = feature
    return True


def _multiply(a: ir.Value, b: ir.Value) -> ir.Value:
    return build.create("multiply", (a, b), a.type)


def _is_vector(value: ir.Value, feature: int) -> bool:
    """Whether `value` differs along `feature` only."""
    if splat_of(value) is not None:
        return True
    shape = build.shape_of(value)
    spread = defining_op(value, BroadcastOp)
    if spread is None:
        return all(size == 1 or d == feature for d, size in enumerate(shape))
    sizes = build.shape_of(spread.operands[0])
    dims = spread.dims
    return all(size == 1 or d == feature for d, size in zip(dims, sizes, strict=True))


def _vector(value: ir.Value, feature: int) -> ir.Value:
    """The vector along `feature` that `value` repeats."""
    size = build.shape_of(value)[feature]
    number = splat_of(value)
    if number is not None:
        return build.splat_constant(number, build.tensor([size], value.type.element_type))
    spread = defining_op(value, BroadcastOp)
    source = value if spread is None else spread.operands[0]
    elements = build.shape_of(source)
    if size != 1 and size not in elements:
        return build.broadcast(build.reshape(source, []), [size], [])
    return build.reshape(source, [size])
