"""Scatters of 64-bit integers that are pairs of 32-bit words: part of `narrow-integers`.

A window that does not lie within the operand changes nothing in any of the scatters made here, as
all have the places of the one they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from torch_mlir import ir

from axonc.dialects.stablehlo import scatter_dimensions
from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_ranges import combination
from axonc.passes.prepare.regions.plain_reductions import add_region
from axonc.passes.prepare.wide_arithmetic import Wide
from axonc.passes.prepare.wide_reductions import beyond, from_limbs, limb_bits, limbs, names
from axonc.passes.unsupported import Unsupported


def scatter(op: ir.Operation, old: Wide, places: ir.Value, new: Wide) -> Wide:
    """`old` with the windows `new` put, or combined, at `places`.

    Raises:
        Unsupported: another combination than add, multiply, max, min, and, or, xor.
    """
    if 0 in (*old.low.type.shape, *new.low.type.shape):
        return old
    kind = "set" if _replaces(op) else combination(op)
    rule = _RULES.get(kind)
    if rule is None:
        raise Unsupported(
            f"scatter of 64-bit integers by {names(op)}",
            "set, add, multiply, maximum, minimum, and, or, xor; or convert to int32 before",
        )
    return rule(op, old, places, new)


def _replaces(op: ir.Operation) -> bool:
    """Whether the region returns the new element."""
    block = op.regions[0].blocks[0]
    body = list(block.operations)
    return len(body) == 1 and body[0].operands[0] == block.arguments[1]


def _set(op: ir.Operation, old: Wide, places: ir.Value, new: Wide) -> Wide:
    pairs = zip(old.words, new.words, strict=True)
    return old.like(*(_replaced(op, o, places, n) for o, n in pairs))


def _bits(kind: str) -> Rule:
    """Word by word."""

    def rule(op: ir.Operation, old: Wide, places: ir.Value, new: Wide) -> Wide:
        pairs = zip(old.words, new.words, strict=True)
        return old.like(*(_combined(op, o, places, n, kind) for o, n in pairs))

    return rule


def _sum(op: ir.Operation, old: Wide, places: ir.Value, new: Wide) -> Wide:
    """On zeros, limb by limb; the sum is added to what was there."""
    vector = scatter_dimensions(op).index_vector_dim
    bits = limb_bits(prod(n for d, n in enumerate(places.type.shape) if d != vector))
    zeros = words.filled(0, old.low.type)
    sums = [_combined(op, zeros, places, limb, "add") for limb in limbs(new, bits)]
    return wide.add(old, from_limbs(sums, bits, old))


def _extreme(kind: str) -> Rule:
    """First the extreme high word of each place; then the extreme low word among those numbers,
    old and new, whose high word is that. A number with another high word takes part with the low
    word that changes nothing, and one at least has the high word that was found."""

    def rule(op: ir.Operation, old: Wide, places: ir.Value, new: Wide) -> Wide:
        before, after = (_high(x) for x in (old, new))
        best = _combined(op, before, places, after, kind)
        there = _windows(op, best, places, after.type)
        least = beyond(old.low, kind)
        low = _combined(
            op,
            words.select(words.compare(before, "EQ", best), old.low, least),
            places,
            words.select(words.compare(after, "EQ", there), new.low, least),
            kind,
        )
        return old.like(low, words.convert(best, words.u32()))

    return rule


def _high(x: Wide) -> ir.Value:
    return words.convert(x.high, words.i32()) if x.is_signed else x.high


def _windows(
    op: ir.Operation, value: ir.Value, places: ir.Value, kind: ir.RankedTensorType
) -> ir.Value:
    """What `value` has where each element of the updates, of type `kind`, goes. Of windows that the
    scatter drops: anything."""
    dims = scatter_dimensions(op)
    single = {*dims.inserted_window_dims, *dims.input_batching_dims}
    inside = iter([kind.shape[d] for d in dims.update_window_dims])
    sizes = [1 if d in single else next(inside) for d in range(value.type.rank)]
    numbers = ir.Attribute.parse(
        f"#stablehlo.gather<offset_dims = {list(dims.update_window_dims)}, "
        f"collapsed_slice_dims = {list(dims.inserted_window_dims)}, "
        f"operand_batching_dims = {list(dims.input_batching_dims)}, "
        f"start_indices_batching_dims = {list(dims.scatter_indices_batching_dims)}, "
        f"start_index_map = {list(dims.scattered_dims_to_operand_dims)}, "
        f"index_vector_dim = {dims.index_vector_dim}>"
    )
    attributes = {"dimension_numbers": numbers, "slice_sizes": ir.DenseI64ArrayAttr.get(sizes)}
    return words.create("gather", (value, places), kind, attributes)


def _product(op: ir.Operation, old: Wide, places: ir.Value, new: Wide) -> Wide:
    """Both words at once, as a scatter of two tensors whose region multiplies in 64 bits: a
    product's words depend on both."""
    kinds = [word.type for word in old.words]
    made = _scattered(op, kinds, [*old.words, places, *new.words])
    block = ir.Block.create_at_start(made.regions[0], [_scalar()] * 4, [op.location] * 4)
    with ir.InsertionPoint(block):
        a, b = (old.like(*block.arguments[n : n + 2]) for n in (0, 2))
        ir.Operation.create("stablehlo.return", [], list(wide.multiply(a, b).words))
    return old.like(*made.results)


def _scalar() -> ir.RankedTensorType:
    return ir.RankedTensorType.get([], words.u32())


# ---- scatters of words ---------------------------------------------------------------------------


def _scattered(
    op: ir.Operation, kinds: Sequence[ir.Type], operands: Sequence[ir.Value]
) -> ir.Operation:
    """Like `op`, of other tensors, with an empty region."""
    attributes = dict(op.attributes.items())
    return ir.Operation.create(op.name, list(kinds), list(operands), attributes, regions=1)


def _combined(
    op: ir.Operation, old: ir.Value, places: ir.Value, new: ir.Value, kind: str
) -> ir.Value:
    made = _scattered(op, [old.type], [old, places, new])
    add_region(made, kind, ir.RankedTensorType.get([], old.type.element_type))
    return made.results[0]


def _replaced(op: ir.Operation, old: ir.Value, places: ir.Value, new: ir.Value) -> ir.Value:
    made = _scattered(op, [old.type], [old, places, new])
    block = ir.Block.create_at_start(made.regions[0], [_scalar()] * 2, [op.location] * 2)
    with ir.InsertionPoint(block):
        ir.Operation.create("stablehlo.return", [], [block.arguments[1]])
    return made.results[0]


Rule = Callable[[ir.Operation, Wide, ir.Value, Wide], Wide]

_RULES: dict[str, Rule] = {
    "add": _sum,
    "and": _bits("and"),
    "maximum": _extreme("maximum"),
    "minimum": _extreme("minimum"),
    "multiply": _product,
    "or": _bits("or"),
    "set": _set,
    "xor": _bits("xor"),
}
"""By how old and new become one."""
