"""Which regions of scalars can be applied to whole tensors, element by element: a question."""

from __future__ import annotations

from torch_mlir import ir

_ELEMENTWISE = frozenset(
    "abs add and atan2 bitcast_convert cbrt ceil clamp compare convert cosine count_leading_zeros "
    "divide exponential exponential_minus_one floor is_finite log log_plus_one logistic maximum "
    "minimum multiply negate not or popcnt power reduce_precision remainder round_nearest_afz "
    "round_nearest_even rsqrt select shift_left shift_right_arithmetic shift_right_logical sign "
    "sine sqrt subtract tan tanh xor".split()
)

VIEWS_OF_SCALARS = frozenset(
    f"stablehlo.{name}" for name in "broadcast_in_dim reshape transpose slice copy".split()
)
"""Operations that leave a tensor of no dims as it is."""

TAKEN = (
    frozenset(f"stablehlo.{name}" for name in _ELEMENTWISE)
    | VIEWS_OF_SCALARS
    | {"stablehlo.constant", "stablehlo.return"}
)


def not_elementwise(region: ir.Region) -> str | None:
    """The first operation of a region that cannot be applied to whole tensors, such as
    `stablehlo.rng` or one that makes more than a scalar; None when all can."""
    for view in region.blocks[0].operations:
        op = view.operation
        values = (*op.operands, *op.results)
        if op.name not in TAKEN or not all(_is_scalar(v.type) for v in values):
            return str(op.name)
    return None


def _is_scalar(kind: ir.Type) -> bool:
    return isinstance(kind, ir.RankedTensorType) and kind.rank == 0
