"""Products and conversions that compute with integers in float types: no cast may round them."""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron.ops import PRODUCTS, VIEWS, ConvertOp, isa, kind_of
from axonc.dialects.neuron.table import FLOAT, INTEGER
from axonc.passes.graph.uses import defining_op


def is_integer_product(op: ir.Operation) -> bool:
    """Whether a product of the tensor engine is exact on purpose (legalize/integer_dot.py): its
    operands are integers in a float type, and its result becomes integers at once."""
    if kind_of(op) not in PRODUCTS or not _becomes_integer(op.results[0]):
        return False
    return any(_was_integer(value) for value in list(op.operands)[:2])


def becomes_exact(op: ir.Operation) -> bool:
    """Whether the op turns the result of such a product into integers."""
    if not isa(op, ConvertOp):
        return False
    source = defining_op(op.operands[0])
    return source is not None and is_integer_product(source)


def _becomes_integer(value: ir.Value) -> bool:
    users = [use.owner for use in value.uses]
    return bool(users) and all(
        isa(u, ConvertOp) and element_name(u.results[0].type) in INTEGER for u in users
    )


def _was_integer(value: ir.Value) -> bool:
    op = defining_op(value)
    while op is not None and kind_of(op) in VIEWS:
        op = defining_op(op.operands[0])
    if op is None or not isa(op, ConvertOp):
        return False
    before, after = (element_name(v.type) for v in (op.operands[0], op.results[0]))
    return before in INTEGER and after in FLOAT
