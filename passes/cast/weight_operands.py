"""The weight behind an operand, through views and conversions, and how a scale per channel of it
looks from there. An analysis: it changes nothing; `seen_through` makes operations for a scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import integers
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.argument_names import NAME, WEIGHT
from axonc.dialects.neuron.builder import shape_of
from axonc.dialects.neuron.ops import ConvertOp, ReshapeOp, SliceOp, TransposeOp, isa, kind_of
from axonc.passes.graph.uses import defining_op

Dims = frozenset[int]

CHAIN = frozenset({ReshapeOp, TransposeOp, SliceOp, ConvertOp})
"""Operations a weight is followed through. A broadcast makes more elements: it is no weight."""

FLOAT_WEIGHTS = frozenset({"f32", "bf16", "f16"})
"""Element types of arguments that are worth storing in 8 bits."""

_CHAIN_TYPES = FLOAT_WEIGHTS | {"tf32"}
"""What auto-cast may have converted them to."""


@dataclass(frozen=True)
class WeightOperand:
    """An operand that is a weight, and how it gets there."""

    name: str
    argument: ir.Value
    chain: tuple[ir.Operation, ...]
    """Operations from the argument to the operand, in this order."""

    def kept_by_argument(self, kept: Dims) -> list[Dims] | None:
        """`kept` dims of the operand as dims of the argument and of every result in the chain;
        None when a reshape mixes kept dims with others."""
        found = [kept]
        for op in reversed(self.chain):
            before = _kept_before(op, found[0])
            if before is None:
                return None
            found.insert(0, before)
        return found


def weight_names(function: ir.Operation) -> dict[int, str]:
    """Names of the arguments that are weights, by number."""
    if "arg_attrs" not in function.attributes:
        return {}
    found = {}
    for number, attributes in enumerate(ir.ArrayAttr(function.attributes["arg_attrs"])):
        given = ir.DictAttr(attributes)
        if WEIGHT in given:
            name = ir.StringAttr(given[NAME]).value if NAME in given else ""
            found[number] = name or f"arg{number}"
    return found


def weight_behind(value: ir.Value, names: dict[int, str]) -> WeightOperand | None:
    """The weight an operand is a view of; None for anything else."""
    chain: list[ir.Operation] = []
    op = defining_op(value)
    while op is not None:
        if kind_of(op) not in CHAIN or str(op.results[0].type.element_type) not in _CHAIN_TYPES:
            return None
        chain.insert(0, op)
        value = op.operands[0]
        op = defining_op(value)
    number = ir.BlockArgument(value).arg_number
    if number not in names or str(value.type.element_type) not in FLOAT_WEIGHTS:
        return None
    return WeightOperand(names[number], value, tuple(chain))


def seen_through(weight: WeightOperand, scale: ir.Value, kept: list[Dims]) -> ir.Value:
    """`scale`, of the argument's shape with size 1 where it is not kept, in the operand's place."""
    for op, dims in zip(weight.chain, kept[1:], strict=True):
        scale = _SCALE_VIEWS[kind_of(op)](op, scale, dims)
    return scale


# ---- dims through views ------------------------------------------------------------------------


def _kept_before(op: ir.Operation, kept: Dims) -> Dims | None:
    """Dims of a view's operand that correspond to dims of its result."""
    if isa(op, TransposeOp):
        permutation = op.permutation
        return frozenset(permutation[d] for d in kept)
    if isa(op, ReshapeOp):
        return _kept_before_reshape(shape_of(op.operands[0]), shape_of(op.results[0]), kept)
    if isa(op, SliceOp):
        return kept | _picked(op)
    return kept


def _picked(op: ir.Operation) -> Dims:
    """Dims a slice takes one index of: a scale may well depend on it (one layer of many)."""
    pairs = zip(shape_of(op.operands[0]), shape_of(op.results[0]), strict=True)
    return frozenset(d for d, (before, after) in enumerate(pairs) if after == 1 < before)


def _kept_before_reshape(
    before: tuple[int, ...], after: tuple[int, ...], kept: Dims
) -> Dims | None:
    found: set[int] = set()
    for old, new in _groups(before, after):
        states = {d in kept for d in new if after[d] > 1}
        if len(states) > 1:
            return None
        if True in states:
            found.update(d for d in old if before[d] > 1)
    return frozenset(found)


def _groups(
    before: tuple[int, ...], after: tuple[int, ...]
) -> Iterator[tuple[list[int], list[int]]]:
    """The smallest runs of dims that hold the same elements before and after a reshape."""
    if 0 in before:
        yield list(range(len(before))), list(range(len(after)))
        return
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [i][: len(before) - i], [j][: len(after) - j]
        i, j = i + len(old), j + len(new)
        while (have := math.prod(before[d] for d in old)) != (
            want := math.prod(after[d] for d in new)
        ):
            if have < want:
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
        yield old, new


def _transposed(op: ir.Operation, scale: ir.Value, kept: Dims) -> ir.Value:
    return build.transpose(scale, op.permutation)


def _reshaped(op: ir.Operation, scale: ir.Value, kept: Dims) -> ir.Value:
    after = shape_of(op.results[0])
    return build.reshape(scale, [n if d in kept else 1 for d, n in enumerate(after)])


def _sliced(op: ir.Operation, scale: ir.Value, kept: Dims) -> ir.Value:
    """The same piece of the dims the scale has; the others have one element."""
    parts = [integers(op.attributes[name]) for name in ("start", "limit", "strides")]
    whole = (0, 1, 1)
    chosen = [
        [part[d] if size > 1 else whole[i] for d, size in enumerate(shape_of(scale))]
        for i, part in enumerate(parts)
    ]
    return build.slice_(scale, *chosen)


_SCALE_VIEWS = {
    TransposeOp: _transposed,
    ReshapeOp: _reshaped,
    SliceOp: _sliced,
    ConvertOp: lambda op, scale, kept: scale,
}
