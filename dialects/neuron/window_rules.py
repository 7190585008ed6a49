"""The numbered rules of `neuron.convolution` and `neuron.reduce_window`, and their attributes as
Python values; see rules.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import element_name, integers
from axonc.dialects.neuron import rules
from axonc.dialects.neuron.table import FLOAT, REDUCTIONS
from axonc.dialects.neuron.window import WindowDim

Shape = tuple[int, ...]

CONVOLUTION_DIMS = ("lhs_dims", "rhs_dims", "result_dims")
WINDOW_LISTS = ("strides", "low", "high", "lhs_dilation", "rhs_dilation", "reversal")
"""Integer-list attributes of a convolution."""

CONVOLUTION_ATTRIBUTES = (*CONVOLUTION_DIMS, *WINDOW_LISTS, "groups")

POOL_LISTS = ("window", "strides", "low", "high", "dilation")
"""Integer-list attributes of a windowed reduction."""


@dataclass(frozen=True)
class ConvolutionDims:
    """Which dims of image, kernel and result mean what."""

    lhs: tuple[int, ...]
    """(batch, feature, spatial ...) dims of the image."""
    rhs: tuple[int, ...]
    """(output feature, input feature, spatial ...) dims of the kernel."""
    result: tuple[int, ...]
    """Like lhs."""
    groups: int
    """Groups of features, each convolved apart."""
    windows: tuple[WindowDim, ...]


def convolution_dims(op: ir.Operation) -> ConvolutionDims:
    lhs, rhs, result = (integers(op.attributes[name]) for name in CONVOLUTION_DIMS)
    kernel = rules._shape(op.operands[1])
    lists = [integers(op.attributes[name]) for name in WINDOW_LISTS]
    windows = tuple(
        WindowDim(kernel[dim], stride, low, high, base, dilation, bool(turned))
        for dim, stride, low, high, base, dilation, turned in zip(rhs[2:], *lists, strict=True)
    )
    groups = ir.IntegerAttr(op.attributes["groups"]).value
    return ConvolutionDims(lhs, rhs, result, groups, windows)


def convolution_shape(lhs: Shape, rhs: Shape, dims: ConvolutionDims) -> Shape:
    """Shape of the result."""
    shape = [0] * len(lhs)
    shape[dims.result[0]], shape[dims.result[1]] = lhs[dims.lhs[0]], rhs[dims.rhs[0]]
    for window, source, target in zip(dims.windows, dims.lhs[2:], dims.result[2:], strict=True):
        shape[target] = window.output_length(lhs[source])
    return tuple(shape)


def convolution(op: ir.Operation) -> str:
    lhs, rhs, *extras = op.operands
    problem = _convolution_lists(op, len(rules._shape(lhs)), len(rules._shape(rhs)))
    if problem:
        return problem
    dims = convolution_dims(op)
    features, group = rules._shape(lhs)[dims.lhs[1]], rules._shape(rhs)[dims.rhs[1]]
    outputs = rules._shape(rhs)[dims.rhs[0]]
    if dims.groups < 1 or features != group * dims.groups or outputs % dims.groups:
        return (
            f"(C4) {dims.groups} groups of {group} input features for {features}, and {outputs} "
            "output features"
        )
    for value in (lhs, rhs):
        if element_name(value.type) not in FLOAT:
            return f"(C5) {value.type} does not hold floats"
    shape = convolution_shape(rules._shape(lhs), rules._shape(rhs), dims)
    if not op.regions[0].blocks:
        return "(C7) extras without epilogue" if extras else rules._result_shape("C6", op, shape)
    return rules.epilogue(op, shape, extras, ("C6", "C7", "C8"))


def _convolution_lists(op: ir.Operation, rank: int, kernel_rank: int) -> str:
    if rank < 2 or kernel_rank != rank:
        return f"(C2) an image of rank {rank} and a kernel of rank {kernel_rank}"
    for name in CONVOLUTION_DIMS:
        if sorted(integers(op.attributes[name])) != list(range(rank)):
            return f"(C2) {name} is no permutation of {rank} dims"
    return _window_lists(op, WINDOW_LISTS, rank - 2, ("strides", "lhs_dilation", "rhs_dilation"))


def _window_lists(
    op: ir.Operation, names: Sequence[str], rank: int, positive: Sequence[str]
) -> str:
    for name in names:
        values = integers(op.attributes[name])
        if len(values) != rank:
            return f"(C3) {name} has {len(values)} entries, expected {rank}"
        if name in positive and min(values, default=1) < 1:
            return f"(C3) {name} {list(values)}: entries are at least 1"
        if name == "reversal" and not set(values) <= {0, 1}:
            return f"(C3) reversal {list(values)}: entries are 0 or 1"
    return ""


def pool_windows(op: ir.Operation) -> tuple[WindowDim, ...]:
    """The window of a `neuron.reduce_window` along every dim."""
    lists = [integers(op.attributes[name]) for name in POOL_LISTS]
    return tuple(
        WindowDim(size, stride, low, high, 1, dilation)
        for size, stride, low, high, dilation in zip(*lists, strict=True)
    )


def reduce_window(op: ir.Operation) -> str:
    kind = ir.StringAttr(op.attributes["kind"]).value
    shape = rules._shape(op.operands[0])
    if kind not in REDUCTIONS:
        return f"(C2) kind '{kind}' is none of {', '.join(REDUCTIONS)}"
    if kind in ("and", "or") and element_name(op.operands[0].type) in FLOAT:
        return f"(C2) kind '{kind}' needs integers"
    problem = _window_lists(op, POOL_LISTS, len(shape), ("window", "strides", "dilation"))
    if problem:
        return problem
    windows = pool_windows(op)
    if any(min(w.low, w.high) < 0 for w in windows):
        return "(C3) negative padding"
    expected = [w.output_length(n) for w, n in zip(windows, shape, strict=True)]
    return rules._result_shape("C4", op, expected) or rules._same_elements(
        "C4", (op.operands[0], op.results[0])
    )
