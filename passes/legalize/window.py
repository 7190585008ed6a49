"""StableHLO operations with windows as neuron operations: part of `legalize-to-neuron`.

A batch group count is a feature group count with the groups of the batch moved into the features.
Initial values that change something become padding and one more elementwise operation. Batch norm
is written out; fold-batch-norm puts it back together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy, element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron import window_builder
from axonc.dialects.neuron.ops import ReverseOp
from axonc.dialects.neuron.table import FLOAT
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_rules import ConvolutionDims
from axonc.dialects.stablehlo import convolution_dimensions, dense_integers
from axonc.passes.graph.fold_constants import fold
from axonc.passes.graph.shapes import is_of_nothing
from axonc.passes.graph.uses import defining_op
from axonc.passes.legalize.movement import (
    Legalizer,
    combined_with,
    is_neutral,
    padded,
    reduction_kind_of,
)
from axonc.passes.unsupported import Unsupported

EXACT_SUM = 2**24
"""float32 holds every integer up to here."""


def convolution(op: ir.Operation) -> ir.Value:
    if is_of_nothing(op):
        return build.splat_constant(0, op.results[0].type)
    dims = _dims(op)
    lhs, rhs = op.operands[0], op.operands[1]
    batch_groups = _integer(op, "batch_group_count")
    if batch_groups > 1:
        lhs = _batch_groups_as_features(lhs, dims, batch_groups)
        dims = replace(dims, groups=batch_groups)
    rhs, dims = _without_reverse(rhs, dims)
    element = op.results[0].type.element_type
    if element_name(lhs.type) in FLOAT and element_name(rhs.type) in FLOAT:
        return window_builder.convolution(lhs, rhs, dims, element)
    return _integer_convolution(lhs, rhs, dims, element)


def _dims(op: ir.Operation) -> ConvolutionDims:
    lhs, rhs, result = convolution_dimensions(op)
    rank = len(lhs) - 2
    kernel = op.operands[1].type.shape
    padding = _pairs(op, "padding", rank)
    strides, base, dilation, turned = (
        _list(op, name, rank, default)
        for name, default in (
            ("window_strides", 1),
            ("lhs_dilation", 1),
            ("rhs_dilation", 1),
            ("window_reversal", 0),
        )
    )
    windows = tuple(
        WindowDim(kernel[dim], strides[i], *padding[i], base[i], dilation[i], bool(turned[i]))
        for i, dim in enumerate(rhs[2:])
    )
    return ConvolutionDims(lhs, rhs, result, _integer(op, "feature_group_count"), windows)


def _integer(op: ir.Operation, name: str) -> int:
    value: int = ir.IntegerAttr(op.attributes[name]).value
    return value


def _list(op: ir.Operation, name: str, rank: int, default: int) -> tuple[int, ...]:
    if name not in op.attributes:
        return (default,) * rank
    attribute = op.attributes[name]
    if isinstance(attribute, ir.DenseBoolArrayAttr):
        return tuple(int(v) for v in ir.DenseBoolArrayAttr(attribute))
    return dense_integers(attribute)


def _pairs(op: ir.Operation, name: str, rank: int) -> list[tuple[int, int]]:
    if name not in op.attributes:
        return [(0, 0)] * rank
    array = np.asarray(dense_to_numpy(op.attributes[name])).reshape(rank, 2)
    return [(int(low), int(high)) for low, high in array]


def _batch_groups_as_features(lhs: ir.Value, dims: ConvolutionDims, groups: int) -> ir.Value:
    """[groups * n, c, ...] as [n, groups * c, ...], in the order of dims of lhs."""
    batch, feature = dims.lhs[0], dims.lhs[1]
    shape = list(build.shape_of(lhs))
    split = [*shape[:batch], groups, shape[batch] // groups, *shape[batch + 1 :]]
    order = [d + (d > batch) for d in range(len(shape))]
    order[batch] = batch + 1
    place = order.index(feature + (feature > batch))
    order.insert(place, batch)
    shape[batch] //= groups
    shape[feature] *= groups
    return build.reshape(build.transpose(build.reshape(lhs, split), order), shape)


def _without_reverse(rhs: ir.Value, dims: ConvolutionDims) -> tuple[ir.Value, ConvolutionDims]:
    """A kernel that an operation reverses is reversed by the convolution instead."""
    op = defining_op(rhs, ReverseOp)
    turned = set(op.dims) if op else set()
    if op is None or not turned <= set(dims.rhs[2:]):
        return rhs, dims
    windows = tuple(
        replace(w, is_reversed=w.is_reversed != (d in turned))
        for w, d in zip(dims.windows, dims.rhs[2:], strict=True)
    )
    return op.operands[0], replace(dims, windows=windows)


def _integer_convolution(
    lhs: ir.Value, rhs: ir.Value, dims: ConvolutionDims, element: ir.Type
) -> ir.Value:
    """In float32, where that is exact whatever the values are."""
    terms = rhs.type.shape[dims.rhs[1]] * math.prod(w.size for w in dims.windows)
    largest = math.prod(_largest(v) for v in (lhs, rhs))
    if terms * largest > EXACT_SUM:
        raise Unsupported(
            f"sums of {terms} products of {element_name(lhs.type)} and {element_name(rhs.type)} "
            "are beyond 2^24, where the tensor engine's float32 is no longer exact",
            "convert the operands to f32 if their values are small",
        )
    f32 = ir.F32Type.get()
    wide, kernel = (fold(build.convert(v, f32)) for v in (lhs, rhs))
    return build.convert(window_builder.convolution(wide, kernel, dims, f32), element)


def _largest(value: ir.Value) -> float:
    """The largest magnitude its element type holds."""
    name = element_name(value.type)
    if name in FLOAT:
        return math.inf
    bits = int(name.lstrip("ui"))
    return float(2**bits if name.startswith("u") else 2 ** (bits - 1))


def reduce_window(op: ir.Operation) -> ir.Value:
    kind = reduction_kind_of(op)
    operand, initial = op.operands
    windows = _pool_windows(op)
    if not is_neutral(kind, initial) or any(
        w.base_dilation > 1 or min(w.low, w.high) < 0 for w in windows
    ):
        operand = padded(
            operand,
            initial,
            [w.low for w in windows],
            [w.high for w in windows],
            [w.base_dilation - 1 for w in windows],
        )
        windows = [replace(w, low=0, high=0, base_dilation=1) for w in windows]
    result = window_builder.reduce_window(operand, kind, windows)
    return result if is_neutral(kind, initial) else combined_with(kind, result, initial)


def _pool_windows(op: ir.Operation) -> list[WindowDim]:
    sizes = dense_integers(op.attributes["window_dimensions"])
    names = ("window_strides", "base_dilations", "window_dilations")
    strides, base, dilation = (_list(op, name, len(sizes), 1) for name in names)
    padding = _pairs(op, "padding", len(sizes))
    return [
        WindowDim(size, strides[i], *padding[i], base[i], dilation[i])
        for i, size in enumerate(sizes)
    ]


def batch_norm_inference(op: ir.Operation) -> ir.Value:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset along the feature dim."""
    operand, scale, offset, mean, variance = op.operands
    axis = _integer(op, "feature_index")
    epsilon = ir.FloatAttr(op.attributes["epsilon"]).value
    kind = variance.type
    shifted = build.create("add", (variance, build.splat_constant(epsilon, kind)), kind)
    inverse = build.create("rsqrt", (shifted,), kind)
    result = operand
    steps: Sequence[tuple[str, ir.Value]] = (
        ("subtract", mean),
        ("multiply", inverse),
        ("multiply", scale),
        ("add", offset),
    )
    for name, vector in steps:
        wide = build.broadcast(vector, operand.type.shape, [axis])
        result = build.create(name, (result, wide), operand.type)
    return result


WINDOW_LEGALIZERS: dict[str, Legalizer | Callable[[ir.Operation], ir.Value]] = {
    "convolution": convolution,
    "reduce_window": reduce_window,
    "batch_norm_inference": batch_norm_inference,
}
