"""Results of the program that are put together of pieces: every piece is stored as it is made.

A concatenation that only the program's result reads, reshaped at most, is never made on chip: its
operands go to their places in device memory one by one, and their buffers are free again.
"""

from __future__ import annotations

import math

from torch_mlir import ir

from axonc.dialects.neuron.ops import ConcatenateOp, ReshapeOp
from axonc.passes.graph.shapes import shape_of
from axonc.passes.graph.uses import defining_op, only_user
from axonc.passes.layout.storage import Storage

LEAST_ELEMENTS = 1 << 19
"""Smallest concatenation (16 KiB of float32 per partition): smaller ones are put together on chip,
so that their rows in device memory are longer."""


def returned_concatenations(block: ir.Block) -> dict[ir.Value, int]:
    """Concatenations that are a result of the program as they are or reshaped, and nothing else,
    with the number of the result."""
    final = list(block.operations)[-1]
    found: dict[ir.Value, int] = {}
    for number, value in enumerate(final.operands):
        while defining_op(value, ReshapeOp) and only_user(value) is not None:
            value = value.owner.operand
        is_large = math.prod(shape_of(value)) >= LEAST_ELEMENTS
        if is_large and defining_op(value, ConcatenateOp) and only_user(value) is not None:
            found[value] = number
    return found


def places(op: ConcatenateOp, whole: Storage) -> list[tuple[ir.Value, Storage]]:
    """Where the operands of a concatenation lie in `whole`, device memory of its result."""
    axis = op.dimension
    found, start = [], 0
    for operand in op.operands:
        size = shape_of(operand)[axis]
        if 0 not in shape_of(operand):
            low = tuple(start if d == axis else 0 for d in range(len(whole.shape)))
            high = tuple(start + size if d == axis else n for d, n in enumerate(whole.shape))
            place = whole.sliced(low, high, (1,) * len(whole.shape))
            assert place is not None, "device memory has no partition dims"
            found.append((operand, place))
        start += size
    return found
