"""Batch norm after a convolution as one multiplication and one addition per feature.

Why: exported models write ((x - mean) * rsqrt(variance + epsilon)) * gamma + beta over the whole
feature map; an engine that evicts a convolution from PSUM can do one scale and one shift per
partition, with the activation, in the same instruction.

Precondition: neuron operations, `merge-views` has run, before casts and fusion.
Postcondition: a chain of additions, subtractions, multiplications and divisions of a convolution's
result by vectors of its features (or by constants) is at most one multiplication and one addition.

Before:
    %1 = "neuron.subtract"(%conv, %mean) ; %2 = "neuron.multiply"(%1, %inverse)
    %3 = "neuron.multiply"(%2, %gamma) ; %4 = "neuron.add"(%3, %beta)     // each vector broadcast
After:
    %s = "neuron.multiply"(%inverse, %gamma) ; %n = "neuron.negate"(%mean)
    %p = "neuron.multiply"(%n, %s) ; %t = "neuron.add"(%p, %beta)         // vectors
    %3 = "neuron.multiply"(%conv, %s) ; %4 = "neuron.add"(%3, %t)         // each vector broadcast

A residual is added before the shift: the evicting instruction has room for a scale and a tensor.
Sums are rounded in another order: results differ in the last bits, infinite vectors may give NaN
for infinity. Leaves alone: chains whose middle something else reads; chains of that form already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    AddOp,
    BroadcastOp,
    ConvolutionOp,
    DivideOp,
    MultiplyOp,
    SubtractOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.table import FLOAT
from axonc.dialects.neuron.window_rules import convolution_dims
from axonc.passes.base import Pass
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.rewrite import redirect
from axonc.passes.graph.uses import defining_op, erase_dead, use_count


@dataclass(frozen=True)
class FoldBatchNormPass(Pass, name="fold-batch-norm", anchor="func.func"):
    """Make batch norms one multiplication and one addition per feature of a convolution."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        chains = find_chains(block)
        sums: set[ir.Operation] = set()
        for chain in chains:
            _rewrite(chain, sums)
        return erase_dead(block) or bool(chains)


@dataclass(frozen=True)
class Chain:
    """steps: operations after the convolution, each with (how, vector along the features). feature:
    the dim of the vectors."""

    source: ir.Value
    feature: int
    steps: tuple[tuple[str, ir.Value], ...] = ()
    last: ir.Operation | None = None

    @property
    def is_simple(self) -> bool:
        kinds = [how for how, _ in self.steps]
        return len(kinds) < 2 or kinds == ["multiply", "add"]


def find_chains(block: ir.Block) -> list[Chain]:
    """The longest chains that are not simple already."""
    chains: dict[ir.Value, Chain] = {}
    for op in list(block.operations):
        if isa(op, ConvolutionOp) and str(op.results[0].type.element_type) in FLOAT:
            value = op.results[0]
            chains[value] = Chain(value, convolution_dims(op).result[1])
        elif kind_of(op) in _HOW:
            _extend(op, chains)
    return [chain for chain in chains.values() if not chain.is_simple]


_HOW = {
    AddOp: ("add", "add"),
    SubtractOp: ("subtract", "subtract_from"),
    MultiplyOp: ("multiply", "multiply"),
    DivideOp: ("divide", ""),
}
"""What an operation does to its first operand by its second, and to its second by its first."""


def _extend(op: ir.Operation, chains: dict[ir.Value, Chain]) -> None:
    """`op` as the next step of the chain it continues."""
    for position, how in enumerate(_HOW[kind_of(op)]):
        value, other = op.operands[position], op.operands[1 - position]
        chain = chains.get(value)
        if chain is None or not how or use_count(value) != 1:
            continue
        if _is_vector(other, chain.feature):
            del chains[value]
            steps = (*chain.steps, (how, other))
            chains[op.results[0]] = replace(chain, steps=steps, last=op)
            return


def _is_vector(value: ir.Value, feature: int) -> bool:
    """Whether `value` differs along `feature` only."""
    if splat_of(value) is not None:
        return True
    shape = build.shape_of(value)
    spread = defining_op(value, BroadcastOp)
    if spread is None:
        return all(size == 1 or d == feature for d, size in enumerate(shape))
    sizes = build.shape_of(spread.operands[0])
    dims = spread.dims
    return all(size == 1 or d == feature for d, size in zip(dims, sizes, strict=True))


def _vector(value: ir.Value, feature: int) -> ir.Value:
    """The vector along `feature` that `value` repeats."""
    size = build.shape_of(value)[feature]
    number = splat_of(value)
    if number is not None:
        return build.splat_constant(number, build.tensor([size], value.type.element_type))
    spread = defining_op(value, BroadcastOp)
    source = value if spread is None else spread.operands[0]
    elements = build.shape_of(source)
    if size != 1 and size not in elements:
        return build.broadcast(build.reshape(source, []), [size], [])
    return build.reshape(source, [size])


# ---- scale and shift -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Affine:
    """(x + before) * scale + after; None: 0 or 1."""

    before: ir.Value | None = None
    scale: ir.Value | None = None
    after: ir.Value | None = None


def _create(name: str, *operands: ir.Value) -> ir.Value:
    return build.create(name, operands, operands[0].type)


def _add(a: Affine, v: ir.Value) -> Affine:
    if a.scale is None:
        return replace(a, before=v if a.before is None else _create("add", a.before, v))
    return replace(a, after=v if a.after is None else _create("add", a.after, v))


def _subtract(a: Affine, v: ir.Value) -> Affine:
    return _add(a, _create("negate", v))


def _multiply(a: Affine, v: ir.Value) -> Affine:
    after = None if a.after is None else _create("multiply", a.after, v)
    return replace(a, scale=v if a.scale is None else _create("multiply", a.scale, v), after=after)


def _divide(a: Affine, v: ir.Value) -> Affine:
    after = None if a.after is None else _create("divide", a.after, v)
    scale = _create("reciprocal", v) if a.scale is None else _create("divide", a.scale, v)
    return replace(a, scale=scale, after=after)


def _subtract_from(a: Affine, v: ir.Value) -> Affine:
    minus = build.splat_constant(-1.0, v.type)
    return _add(_multiply(a, minus), v)


_STEPS: dict[str, Callable[[Affine, ir.Value], Affine]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "subtract_from": _subtract_from,
}


def _rewrite(chain: Chain, sums: set[ir.Operation]) -> None:
    """The chain as a multiplication and an addition in the place of its last operation; where that
    is added to another tensor, the vector is added last. sums: such additions made so far."""
    last = chain.last
    assert last is not None
    residual = _only_sum(last.results[0])
    end = residual if residual is not None and residual not in sums else last
    with ir.InsertionPoint(end), last.location:
        affine = Affine()
        for how, value in chain.steps:
            affine = _STEPS[how](affine, _vector(value, chain.feature))
        result = _with_vector("multiply", chain.source, affine.scale, chain.feature)
        if end is not last:
            others = [v for v in end.operands if v != last.results[0]]
            result = _create("add", result, others[0])
            sums.add(result.owner)
        result = _with_vector("add", result, _shift(affine), chain.feature)
    redirect(end.results, [result])


def _only_sum(value: ir.Value) -> ir.Operation | None:
    """The addition of another tensor that alone reads `value`."""
    if use_count(value) != 1:
        return None
    user = next(iter(value.uses)).owner
    return user if isa(user, AddOp) else None


def _with_vector(name: str, value: ir.Value, vector: ir.Value | None, feature: int) -> ir.Value:
    if vector is None:
        return value
    return _create(name, value, build.broadcast(vector, build.shape_of(value), [feature]))


def _shift(a: Affine) -> ir.Value | None:
    if a.before is None or a.scale is None:
        return a.after if a.before is None else a.before
    scaled = _create("multiply", a.before, a.scale)
    return scaled if a.after is None else _create("add", scaled, a.after)
