"""Rows too wide to be computed on in one instruction: sums and softmax in pieces of a row.

A piece can be computed while the rest of the row is elsewhere (spill_buffers.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import KernelBuilder, step
from axonc.dialects.ntile.program import Form, View
from axonc.passes.layout.storage import Lane

WIDE_ROW = 8192
"""Elements of a row beyond which it is done in pieces of as many: 32 KiB of float32, a sixth of
SBUF, as a softmax holds a row several times."""


def along(lane: Lane, stride: int, size: int) -> View:
    """The `size` elements that follow each other by `stride`."""
    return replace(lane, strides=(stride,)).view((size,))


def scale_rows(builder: KernelBuilder, dst: View, src: View, column: View) -> None:
    """dst = src * column, one factor per partition, on VectorE or ScalarE."""
    vector = step("tensor_scalar", dst=dst, src=src, scalar0=column, op0="multiply", op1="bypass")
    scalar = step("activation", dst=dst, src=src, scale_tile=column, func="copy", scale=1.0)
    builder.append(Form(Engine.VECTOR, (vector,)), Form(Engine.SCALAR, (scalar,)))


def pieces(row: View) -> Iterator[View]:
    """A view of one free dim, cut."""
    size = row.dims[0][1]
    for start in range(0, size, WIDE_ROW):
        yield row[0 : row.num_partitions, start : min(size, start + WIDE_ROW)]


def sum_of_squares(builder: KernelBuilder, x: View) -> View:
    """[rows, 1]: of every row, by ScalarE, which squares and sums in one instruction."""
    cut = list(pieces(x))
    rows = x.num_partitions
    sums = builder.sbuf((rows, len(cut)), F32, "sum_of_squares")
    for number, piece in enumerate(cut):
        squares = builder.sbuf((rows, piece.elements_per_partition), F32, "squares")
        total = sums[0:rows, number : number + 1]
        builder.emit(
            "activation", dst=squares, src=piece, accumulate=total, func="square", scale=1.0
        )
    return _combined(builder, sums, "add")


def bound_above(builder: KernelBuilder, column: View) -> None:
    """+inf becomes the largest float32."""
    largest = float(np.finfo(np.float32).max)
    builder.emit(
        "tensor_scalar",
        Engine.VECTOR,
        dst=column,
        src=column,
        imm0=largest,
        op0="min",
        op1="bypass",
    )


def softmax_wide_row(
    builder: KernelBuilder,
    size: int,
    src: Lane,
    dst: Lane,
    strides: tuple[int, int],
    is_masked: bool,
) -> None:
    """softmax along one row per partition: exp(x - max(x)) / sum, each step piece by piece."""
    cut = list(pieces(along(src, strides[0], size)))
    rows = src.num_partitions
    maxima = builder.sbuf((rows, len(cut)), F32, "maximum")
    for number, piece in enumerate(cut):
        _reduce(builder, maxima[0:rows, number : number + 1], piece, "max")
    negative_max = builder.sbuf((rows, 1), F32, "negative_max")
    _reduce(builder, negative_max, maxima, "max", negate=True)
    if is_masked:
        bound_above(builder, negative_max)
    sums = builder.sbuf((rows, len(cut)), F32, "sum")
    raised = [builder.sbuf((rows, p.elements_per_partition), F32, "exp") for p in cut]
    for number, (piece, out) in enumerate(zip(cut, raised, strict=True)):
        builder.emit(
            "activation",
            dst=out,
            src=piece,
            bias=negative_max,
            accumulate=sums[0:rows, number : number + 1],
            func="exp",
            scale=1.0,
        )
    inverse = builder.sbuf((rows, 1), F32, "inverse_sum")
    builder.emit("reciprocal", Engine.VECTOR, dst=inverse, src=_combined(builder, sums, "add"))
    if is_masked:
        bound_above(builder, inverse)
    for out, piece in zip(pieces(along(dst, strides[1], size)), raised, strict=True):
        scale_rows(builder, out, piece, inverse)


def _combined(builder: KernelBuilder, columns: View, op: str) -> View:
    """[rows, 1]: the columns reduced."""
    if columns.elements_per_partition == 1:
        return columns
    result = builder.sbuf((columns.num_partitions, 1), F32, "total")
    _reduce(builder, result, columns, op)
    return result


def _reduce(builder: KernelBuilder, dst: View, src: View, op: str, *, negate: bool = False) -> None:
    builder.emit("tensor_reduce", Engine.VECTOR, dst=dst, src=src, op=op, num_axes=1, negate=negate)
