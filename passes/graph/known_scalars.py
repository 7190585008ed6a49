"""Integers and booleans of StableHLO that are known at compile time, such as loop counters."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy, element_name
from axonc.dialects.neuron.table import COMPARISONS, ELEMENTWISE
from axonc.dialects.stablehlo import comparison_direction

_NUMPY = {
    "i1": np.bool_,
    **{f"i{bits}": np.dtype(f"i{bits // 8}").type for bits in (8, 16, 32, 64)},
    **{f"ui{bits}": np.dtype(f"u{bits // 8}").type for bits in (8, 16, 32, 64)},
}
_SAME_NAME = (
    "add and divide maximum minimum multiply negate not or remainder sign subtract xor abs"
).split()
_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    f"stablehlo.{name}": ELEMENTWISE[name].function for name in _SAME_NAME
} | {"stablehlo.select": np.where}

Known = MutableMapping[ir.Value, np.ndarray | None]
"""What is known of values: a scalar, or None for what is not."""


def known_scalar(value: ir.Value, known: Known) -> np.ndarray | None:
    """The number of a rank-0 integer or boolean, if it follows from constants and from what
    `known` says; remembered there."""
    pending = [value]
    while pending:
        current = pending[-1]
        if current in known:
            pending.pop()
            continue
        needed = _needed(current)
        missing = [v for v in needed or () if v not in known]
        if missing:
            pending += missing
            continue
        known[current] = None if needed is None else _computed(current.owner, known)
        pending.pop()
    return known[value]


def _needed(value: ir.Value) -> list[ir.Value] | None:
    """The operands a scalar is computed from; None for what cannot be known."""
    if isinstance(value.owner, ir.Block) or not is_countable(value.type):
        return None
    op = value.owner.operation
    kinds = [v.type for v in op.operands]
    if not all(map(is_countable, kinds)):
        return None
    is_known = op.name in _FUNCTIONS or op.name in (
        "stablehlo.constant", "stablehlo.compare", "stablehlo.convert", "stablehlo.reshape",
    )  # fmt: skip
    return list(op.operands) if is_known else None


def is_countable(kind: ir.Type) -> bool:
    """A rank-0 integer or boolean."""
    return (
        isinstance(kind, ir.RankedTensorType)
        and kind.rank == 0
        and str(kind.element_type) in _NUMPY
    )


def _computed(owner: ir.Operation, known: Known) -> np.ndarray | None:
    op = owner.operation
    operands = [known[v] for v in op.operands]
    if any(v is None for v in operands):
        return None
    dtype = _NUMPY[element_name(op.results[0].type)]
    if op.name == "stablehlo.constant":
        return dense_to_numpy(op.attributes["value"]).astype(dtype)
    with np.errstate(all="ignore"):
        if op.name == "stablehlo.compare":
            return np.asarray(COMPARISONS[comparison_direction(op)](*operands))
        if op.name in ("stablehlo.convert", "stablehlo.reshape"):
            return np.asarray(operands[0]).astype(dtype)
        return np.asarray(_FUNCTIONS[op.name](*operands)).astype(dtype)
