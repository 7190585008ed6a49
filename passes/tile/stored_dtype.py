"""The element type a result is made in: its own, or a narrower one if no use reads it wider."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.dialects.neuron.ops import PRODUCTS, ConvertOp, FusedOp, isa, kind_of
from axonc.passes.graph.machine_dtype import machine_dtype


def is_float_conversion(op: ir.Operation) -> bool:
    """Whether the op only converts between float types."""
    return _only_converts(op) and all(dtype.is_float for dtype in _dtypes(op))


def raises_bytes(op: ir.Operation) -> bool:
    """Whether the op raises 8-bit integers to a float type, which holds all of them, for products
    alone: as a factor it may lie in a stream, or be copied in another type."""
    if not _only_converts(op):
        return False
    before, after = _dtypes(op)
    if before.is_float or before.size_bytes > 1 or not after.is_float or after.size_bytes == 1:
        return False
    uses = [(use.owner, use.operand_number) for use in op.results[0].uses]
    return all(kind_of(user) in PRODUCTS and number < 2 for user, number in uses)


def _only_converts(op: ir.Operation) -> bool:
    if not isa(op, FusedOp):
        return isa(op, ConvertOp)
    block = op.regions[0].blocks[0]
    inner = list(block.operations)
    return len(inner) == 2 and isa(inner[0], ConvertOp) and len(block.arguments) == 1


def _dtypes(op: ir.Operation) -> tuple[DType, DType]:
    return machine_dtype(op.operands[0].type), machine_dtype(op.results[0].type)


def narrowing_uses(op: ir.Operation) -> list[ir.Operation]:
    """The conversions of a float32 result if they are all its uses and agree: then it is stored in
    their type at once."""
    result = op.results[0]
    casts = [use.owner for use in result.uses]
    if machine_dtype(result.type) != F32 or not all(is_float_conversion(c) for c in casts):
        return []
    return casts if len({c.results[0].type for c in casts}) == 1 else []


def stored_dtype(op: ir.Operation) -> DType:
    """The element type the op's result is made in."""
    casts = narrowing_uses(op)
    return machine_dtype(casts[0].results[0].type if casts else op.results[0].type)
