"""The element type a result is made in: its own, or a narrower one if nobody reads it wider."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.passes.expression_nodes import machine_dtype


def is_float_conversion(op: ir.Operation) -> bool:
    """Whether the op only converts between float types."""
    if op.name == "neuron.fused":
        block = op.regions[0].blocks[0]
        inner = [o.operation for o in block.operations]
        if len(inner) != 2 or inner[0].name != "neuron.convert" or len(block.arguments) != 1:
            return False
    elif op.name != "neuron.convert":
        return False
    kinds = [machine_dtype(v.type) for v in (op.operands[0], op.results[0])]
    return all(dtype.is_float for dtype in kinds)


def narrowing_uses(op: ir.Operation) -> list[ir.Operation]:
    """The conversions of a float32 result if they are all its uses and agree: then it is stored in
    their type at once."""
    result = op.results[0]
    casts = [use.owner.operation for use in result.uses]
    if machine_dtype(result.type) != F32 or not all(is_float_conversion(c) for c in casts):
        return []
    return casts if len({c.results[0].type for c in casts}) == 1 else []


def stored_dtype(op: ir.Operation) -> DType:
    """The element type the op's result is made in."""
    casts = narrowing_uses(op)
    return machine_dtype(casts[0].results[0].type if casts else op.results[0].type)
