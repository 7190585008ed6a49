"""What StableHLO operations cost, roughly: enough to choose between computing all branches and
jumping to one of them. A question, not a pass.

The numbers are rounded from the target's (machine.md#target-numbers); operations are counted as if
none overlapped or were fused, weights as if read from device memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch_mlir import ir

from axonc.dialects.stablehlo import dot_dimensions

OPERATION_NS = 100.0
"""Of any operation, however small: latency of an engine."""
ELEMENTS_PER_NS = 140.0
"""128 lanes at 1.1 GHz."""
PRODUCTS_PER_NS = 128 * 128 * 2.8 / 4
"""float32 takes four passes of the array."""
BYTES_PER_NS = 290.0
"""From device memory."""
FREE = frozenset(
    f"stablehlo.{name}"
    for name in ("constant", "reshape", "broadcast_in_dim", "return", "slice", "transpose")
)
"""What usually becomes nothing."""


def cost_ns(operations: Iterable[ir.Operation | ir.OpView]) -> float:
    """Of all of them, one after the other; what is in their regions counts once."""
    return sum(_operation_ns(view.operation) for view in operations)


def _operation_ns(op: ir.Operation) -> float:
    if op.name in FREE:
        return 0.0
    inner = 0.0
    if op.name in ("stablehlo.while", "stablehlo.case", "stablehlo.if"):
        inner = sum(cost_ns(region.blocks[0].operations) for region in op.regions)
    return OPERATION_NS + inner + _COSTS.get(op.name, _elementwise_ns)(op)


def _elements(value: ir.Value) -> int:
    kind = value.type
    is_known = isinstance(kind, ir.RankedTensorType) and kind.has_static_shape
    return math.prod(kind.shape) if is_known else 1


def _elementwise_ns(op: ir.Operation) -> float:
    touched = max((_elements(v) for v in (*op.operands, *op.results)), default=0)
    return touched / ELEMENTS_PER_NS


def _dot_ns(op: ir.Operation) -> float:
    contracting = dot_dimensions(op)[2]
    depth = math.prod(op.operands[0].type.shape[d] for d in contracting)
    return _product_ns(op, _elements(op.results[0]) * depth)


def _convolution_ns(op: ir.Operation) -> float:
    kernel = op.operands[1]
    return _product_ns(op, _elements(op.results[0]) * _elements(kernel))


def _product_ns(op: ir.Operation, products: int) -> float:
    read = 4 * max(_elements(v) for v in op.operands)
    return max(products / PRODUCTS_PER_NS, read / BYTES_PER_NS)


_COSTS: dict[str, Callable[[ir.Operation], float]] = {
    "stablehlo.dot_general": _dot_ns,
    "stablehlo.convolution": _convolution_ns,
}
