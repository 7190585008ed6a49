"""Results of the program that are put together of pieces: every piece is stored as it is made.

A concatenation that only the program's result reads, reshaped at most, is never made on chip: its
operands go to their places in device memory one by one, and their buffers are free again.
"""

from __future__ import annotations

import math

from torch_mlir import ir

from axonc.passes.graph.shapes import shape_of
from axonc.passes.graph.uses import only_user
from axonc.passes.layout.storage import Storage

CONCATENATE = "neuron.concatenate"

LEAST_ELEMENTS = 1 << 19
"""Smallest concatenation (16 KiB of float32 per partition): smaller ones are put together on chip,
so that their rows in device memory are longer."""


def returned_concatenations(block: ir.Block) -> dict[ir.Value, int]:
    """Concatenations that are a result of the program as they are or reshaped, and nothing else,
    with the number of the result."""
    final = list(block.operations)[-1].operation
    found: dict[ir.Value, int] = {}
    for number, value in enumerate(final.operands):
        while _is_op(value, "neuron.reshape") and only_user(value) is not None:
            value = value.owner.operation.operands[0]
        is_large = math.prod(shape_of(value)) >= LEAST_ELEMENTS
        if is_large and _is_op(value, CONCATENATE) and only_user(value) is not None:
            found[value] = number
    return found


def _is_op(value: ir.Value, name: str) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.operation.name == name


def places(op: ir.Operation, whole: Storage) -> list[tuple[ir.Value, Storage]]:
    """Where the operands of a concatenation lie in `whole`, device memory of its result."""
    axis = ir.IntegerAttr(op.attributes["dimension"]).value
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
