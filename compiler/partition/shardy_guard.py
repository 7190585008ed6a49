"""Keep from Shardy's partitioner what it gets wrong: dims that cannot be cut are made whole.

Shardy propagates shardings onto dims that an operation cannot compute part by part: a reversed or
sliced dim, the dim of a sort, an update at a run-time offset. Its export passes of jaxlib 0.10 then
refuse (slice), abort the process (reduce_window, uneven parts) or give wrong numbers (reverse,
dynamic_update_slice, a maximum over a cut dim becomes a sum). Here every operation is compared with
what it may have cut; the rest is gathered before it and cut again after it, which is always right.

Precondition: shardings are propagated; each op carries its `sdy.sharding_rule`.
Postcondition: `violations` finds nothing. Before: `reverse %x dims=[0]` on `[x, y]`; after:
`reshard %x [-, y]`, `reverse` with result `[-, y]`; its users reshard what they need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy

from axonc.imported.stablehlo_module import source_location
from axonc.partition.opaque_ops import is_hidden
from axonc.partition.shardy_attributes import (
    KEY,
    set_result_sharding,
    sharded_dims,
    sharding_of_value,
    uneven_dims,
    with_whole_dims,
)
from axonc.sharding import Mesh

RULE_KEY = "sdy.sharding_rule"

# Whose sharding rule is taken at its word: dims that pass through may be cut.
_BY_RULE = frozenset(
    f"stablehlo.{name}"
    for name in (
        "abs add and atan2 bitcast_convert broadcast_in_dim cbrt ceil clamp compare complex "
        "concatenate constant convert convolution cosine count_leading_zeros divide dot_general "
        "dynamic_slice exponential exponential_minus_one floor gather imag iota is_finite log "
        "log_plus_one logistic maximum minimum multiply negate not optimization_barrier or pad "
        "popcnt power real reduce reduce_precision reduce_window remainder reshape reverse "
        "round_nearest_afz round_nearest_even rsqrt select shift_left shift_right_arithmetic "
        "shift_right_logical sign sine slice sort sqrt subtract tan tanh transpose xor"
    ).split()
)
# Shardy's own, and what holds a computation that is local already.
_TRUSTED = ("sdy.", "func.return")
# Whose cut contraction Shardy finishes rightly: with an all_reduce that adds.
_ADDING = ("stablehlo.dot_general", "stablehlo.convolution")


@dataclass(frozen=True)
class Violation:
    """Dims that may not be cut: of operands and of results, by their index."""

    op: ir.Operation
    operands: dict[int, set[int]]
    results: dict[int, set[int]]


def make_whole(main: ir.OpView, mesh: Mesh) -> list[str]:
    """Reshard around every violation. Returns the names of the operations concerned, with their
    places in the source, for a note.
    """
    found = []
    for violation in list(violations(main, mesh)):
        for index, dims in violation.operands.items():
            _reshard_operand(violation.op, index, dims)
        for index, dims in violation.results.items():
            sharding = sharding_of_value(violation.op.results[index])
            set_result_sharding(violation.op, index, with_whole_dims(sharding, dims))
        place = source_location(str(violation.op.location))
        found.append(f"{violation.op.name} ({place or 'unknown place'})")
    return found


def violations(main: ir.OpView, mesh: Mesh) -> Iterator[Violation]:
    """Operations with a dim cut that they, or the parts' equal sizes, do not allow to be cut."""
    for view in main.entry_block.operations:
        op = view.operation
        if op.name.startswith(_TRUSTED):
            continue
        operands, results = _whole_dims(op)
        for i, value in enumerate(op.results):
            results[i] = (results[i] & sharded_dims(sharding_of_value(value))) | uneven_dims(
                value, mesh
            )
        for i, value in enumerate(op.operands):
            operands[i] = operands[i] & sharded_dims(sharding_of_value(value))
        if any(operands.values()) or any(results.values()):
            yield Violation(op, _nonempty(operands), _nonempty(results))


def _nonempty(dims: dict[int, set[int]]) -> dict[int, set[int]]:
    return {i: d for i, d in dims.items() if d}


def _whole_dims(op: ir.Operation) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """The dims of each operand and each result that have to be whole."""
    special = _SPECIAL.get(op.name)
    if special is not None:
        return special(op)
    known = op.name in _BY_RULE or is_hidden(op)
    if not known or RULE_KEY not in op.attributes:
        return _all_dims(op)
    rule = sdy.OpShardingRuleAttr(op.attributes[RULE_KEY])
    factors = {*rule.need_replication_factors, *rule.permutation_factors}
    if not _adds(op):
        factors |= set(rule.reduction_factors)
    operands = {i: _dims_with(m, factors) for i, m in enumerate(rule.operand_mappings)}
    results = {i: _dims_with(m, factors) for i, m in enumerate(rule.result_mappings)}
    return operands, results


def _adds(op: ir.Operation) -> bool:
    """Whether parts of a reduced dim are put together by adding them."""
    if op.name in _ADDING:
        return True
    if op.name != "stablehlo.reduce" or len(op.results) != 1:
        return False
    body = [inner.operation.name for inner in op.regions[0].blocks[0].operations]
    return body == ["stablehlo.add", "stablehlo.return"] and _starts_at_zero(op)


def _starts_at_zero(op: ir.Operation) -> bool:
    """Another start value would be added once by every rank."""
    owner = op.operands[1].owner
    if isinstance(owner, ir.Block):
        return False
    source = owner if isinstance(owner, ir.Operation) else owner.operation
    if source.name not in ("stablehlo.constant", "sdy.constant"):
        return False
    value = ir.DenseElementsAttr(source.attributes["value"])
    return bool(value.is_splat and _number(value) == 0)


def _number(value: ir.DenseElementsAttr) -> float:
    splat = value.get_splat_value()
    return float(splat.value)


def _dims_with(mapping: ir.Attribute, factors: set[int]) -> set[int]:
    dims = [sdy.DimMappingAttr(d) for d in sdy.TensorMappingAttr(mapping).dim_mappings]
    return {i for i, dim in enumerate(dims) if factors.intersection(dim.factor_indices)}


def _all_dims(op: ir.Operation) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    operands = {i: _every_dim(v) for i, v in enumerate(op.operands)}
    return operands, {i: _every_dim(v) for i, v in enumerate(op.results)}


def _every_dim(value: ir.Value) -> set[int]:
    return set(range(ir.RankedTensorType(value.type).rank))


def _of_update(op: ir.Operation) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """dynamic_update_slice: only dims that the update spans entirely may be cut."""
    whole = ir.RankedTensorType(op.operands[0].type).shape
    part = ir.RankedTensorType(op.operands[1].type).shape
    dims = {i for i, (a, b) in enumerate(zip(whole, part, strict=True)) if a != b}
    rest = {i: set[int]() for i in range(2, len(op.operands))}
    return {0: set(dims), 1: set(dims), **rest}, {0: set(dims)}


def _of_iota(op: ir.Operation) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """Shardy's rule calls its dim one to be kept whole; its conversion adds the part's offset."""
    return {}, {0: set()}


_SPECIAL = {"stablehlo.dynamic_update_slice": _of_update, "stablehlo.iota": _of_iota}


def _reshard_operand(op: ir.Operation, index: int, dims: set[int]) -> None:
    value = op.operands[index]
    sharding = sharding_of_value(value)
    with op.location, ir.InsertionPoint(op):
        op.operands[index] = sdy.ReshardOp(value, with_whole_dims(sharding, dims)).result


def strip_regions(main: ir.OpView) -> None:
    """Shardings inside loops and branches are dropped: these run whole on every core."""

    def visit(op: ir.Operation) -> ir.WalkResult:
        for key in (KEY, RULE_KEY):
            if key in op.attributes:
                del op.attributes[key]
        return ir.WalkResult.ADVANCE

    for view in main.entry_block.operations:
        if view.operation.name.startswith("stablehlo."):
            for region in view.operation.regions:
                for block in region.blocks:
                    for inner in block.operations:
                        inner.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
