"""Initial values of reductions that are known: a question, not a pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import NUMPY_DTYPES, dense_to_numpy, element_name
from axonc.dialects.neuron.table import COMPARISONS, ELEMENTWISE
from axonc.dialects.stablehlo import comparison_direction, comparison_type
from axonc.passes.graph.scalar_region import VIEWS_OF_SCALARS
from axonc.passes.prepare import words


def stays_alone(region: ir.Region, initial: Sequence[ir.Value]) -> bool:
    """Whether initial values combined with themselves are themselves again, however often: so that
    as many may be put before or after elements as one likes. Of a region on scalars."""
    numbers = [words.number_of(v) for v in initial]
    if any(n is None for n in numbers):
        return False
    block = region.blocks[0]
    given = [
        np.asarray(n).astype(_dtype(a)) for n, a in zip(numbers * 2, block.arguments, strict=True)
    ]
    with np.errstate(all="ignore"):
        found = _run(block, given)
    if found is None:
        return False
    pairs = zip(found, given[: len(found)], strict=True)
    return all(np.array_equal(a, b) and np.signbit(a) == np.signbit(b) for a, b in pairs)


def _run(block: ir.Block, given: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """What a region of elementwise operations makes of scalars; None if it cannot be told."""
    known: dict[ir.Value, np.ndarray] = dict(zip(block.arguments, given, strict=True))
    for view in block.operations:
        op = view.operation
        found = [known.get(v, _outside(v)) for v in op.operands]
        operands = [v for v in found if v is not None]
        if len(operands) < len(found):
            return None
        if op.name == "stablehlo.return":
            return operands
        made = _step(op, operands)
        if made is None:
            return None
        known[op.results[0]] = np.asarray(made).astype(_dtype(op.results[0]))
    return None


def _outside(value: ir.Value) -> np.ndarray | None:
    number = words.number_of(value)
    return None if number is None else np.asarray(number).astype(_dtype(value))


def _dtype(value: ir.Value) -> np.dtype:
    return NUMPY_DTYPES[element_name(value.type)]


def _step(op: ir.Operation, operands: Sequence[np.ndarray]) -> np.ndarray | None:
    name = op.name.removeprefix("stablehlo.")
    if name == "constant":
        return dense_to_numpy(op.attributes["value"])
    if name == "compare":
        if comparison_type(op) == "TOTALORDER":
            return None
        return COMPARISONS[comparison_direction(op)](*operands)
    if op.name in VIEWS_OF_SCALARS or name == "convert":
        return operands[0]
    if name == "select":
        return operands[1] if operands[0] else operands[2]
    entry = ELEMENTWISE.get(_NAMES.get(name, name))
    if entry is None or any(element_name(v.type) == "i1" for v in op.operands):
        return _on_booleans(name, operands)
    return entry.function(*operands)


_NAMES: Mapping[str, str] = {
    "exponential": "exp",
    "exponential_minus_one": "expm1",
    "log_plus_one": "log1p",
    "round_nearest_even": "round_even",
}
"""StableHLO name -> neuron name, where they differ."""

_BOOLEAN: Mapping[str, Callable[..., np.ndarray]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "xor": np.logical_xor,
}


def _on_booleans(name: str, operands: Sequence[np.ndarray]) -> np.ndarray | None:
    return _BOOLEAN[name](*operands) if name in _BOOLEAN else None
