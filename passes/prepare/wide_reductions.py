"""Reductions and windows of 64-bit integers that are pairs of 32-bit words.

A sum is taken limb by limb: of limbs of so few bits that the sums of all terms stay in a word. The
limbs' sums are put together at their places, with carries. Other reductions take the high words
first, and the low words among those whose high word was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from torch_mlir import ir

from axonc.dialects.stablehlo import dense_integers
from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_ranges import combination
from axonc.passes.prepare.regions.plain_reductions import (
    add_region,
    plain_reduce,
    plain_windows_from,
)
from axonc.passes.prepare.wide_arithmetic import Wide
from axonc.passes.unsupported import Unsupported

LIMB_BITS = (16, 8, 4, 2, 1)
"""Sizes of limbs, which divide a word."""


def limb_bits(terms: int) -> int:
    """The most bits of limbs of which `terms` are below 2^32 together.

    Raises:
        Unsupported: too many terms for one bit.
    """
    for bits in LIMB_BITS:
        if terms * (2**bits - 1) < 2**32:
            return bits
    raise Unsupported(f"a 64-bit sum of {terms} terms", "sum it in parts")


def limbs(a: Wide, bits: int) -> list[ir.Value]:
    """ui32 values below 2^bits, the lowest first."""
    mask, found = 2**bits - 1, []
    for word in a.words:
        for shift in range(0, 32, bits):
            moved = words.shift_right(word, shift) if shift else word
            found.append(words.both(moved, mask) if shift + bits < 32 else moved)
    return found


def from_limbs(sums: Sequence[ir.Value], bits: int, like: Wide) -> Wide:
    """The sum of limbs at their places. Each may be any ui32; modulo 2^64."""
    total: Wide | None = None
    for number, part in enumerate(sums):
        shift = number * bits
        zeros = words.filled(0, part.type)
        moved = like.like(part, zeros)
        if shift:
            moved = wide.shift_left(moved, words.filled(shift, part.type))
        total = moved if total is None else wide.add(total, moved)
    assert total is not None, "a number has limbs"
    return total


# ---- reduce --------------------------------------------------------------------------------------


def reduce(op: ir.Operation, value: Wide, first: Wide) -> Wide:
    """A reduction of one tensor.

    Raises:
        Unsupported: by anything but add, max, min, and, or, multiply.
    """
    dims = dense_integers(op.attributes["dimensions"])
    kind = combination(op)
    if kind == "choose":
        kind = ""
    if kind not in _REDUCERS:
        raise Unsupported(f"64-bit reduction by {names(op)}", _HINT)
    reduced = _REDUCERS[kind](value, dims)
    start = first.each(lambda v: words.broadcast(v, reduced.low.type.shape, ()))
    return _COMBINED[kind](reduced, start)


_HINT = "reduce with add, maximum, minimum, multiply, and, or"


def names(op: ir.Operation) -> str:
    """The operations of its region, for a message."""
    body = [o.operation.name for o in op.regions[0].blocks[0].operations]
    return ", ".join(body[:-1]) or "nothing"


def _sum(value: Wide, dims: Sequence[int]) -> Wide:
    bits = limb_bits(prod(value.low.type.shape[d] for d in dims))
    sums = [plain_reduce(limb, "add", dims, 0) for limb in limbs(value, bits)]
    return from_limbs(sums, bits, value)


def _bits(kind: str, first: int) -> Callable[[Wide, Sequence[int]], Wide]:
    return lambda value, dims: value.each(lambda v: plain_reduce(v, kind, dims, first))


def _extreme(kind: str) -> Callable[[Wide, Sequence[int]], Wide]:
    """The extreme high word, then the extreme low word among those that have it."""

    def reduced(value: Wide, dims: Sequence[int]) -> Wide:
        shape = value.low.type.shape
        kept = [d for d in range(len(shape)) if d not in dims]
        high = words.convert(value.high, words.i32()) if value.is_signed else value.high
        best = plain_reduce(high, kind, dims, beyond(high, kind))
        chosen = words.compare(high, "EQ", words.broadcast(best, shape, kept))
        low = words.select(chosen, value.low, beyond(value.low, kind))
        found = plain_reduce(low, kind, dims, beyond(low, kind))
        return value.like(found, words.convert(best, words.u32()))

    return reduced


def beyond(word: ir.Value, kind: str) -> int:
    """What never is the extreme, or is so together with others."""
    low, high = (-(2**31), 2**31 - 1) if words.is_signed(word) else (0, 2**32 - 1)
    return low if kind == "maximum" else high


def _product(value: Wide, dims: Sequence[int]) -> Wide:
    """Halves of a dim are multiplied until one element is left."""
    for dim in sorted(dims, reverse=True):
        while (count := value.low.type.shape[dim]) > 1:
            half = count // 2
            a, b = (value.each(_cut(dim, s, s + half)) for s in (0, half))
            product = wide.multiply(a, b)
            if count % 2:
                last = value.each(_cut(dim, count - 1, count))
                low, high = (
                    words.concatenate(pair, dim)
                    for pair in zip(product.words, last.words, strict=True)
                )
                product = value.like(low, high)
            value = product
        if not value.low.type.shape[dim]:
            raise Unsupported("a 64-bit product of nothing", "reduce a tensor with elements")
        shape = [n for d, n in enumerate(value.low.type.shape) if d != dim]
        value = value.each(lambda v, shape=shape: words.reshape(v, shape))  # type: ignore[misc]
    return value


def _cut(dim: int, start: int, limit: int) -> Callable[[ir.Value], ir.Value]:
    return lambda value: words.slice_along(value, dim, start, limit)


_REDUCERS: dict[str, Callable[[Wide, Sequence[int]], Wide]] = {
    "add": _sum,
    "and": _bits("and", 2**32 - 1),
    "maximum": _extreme("maximum"),
    "minimum": _extreme("minimum"),
    "multiply": _product,
    "or": _bits("or", 0),
}
_COMBINED: dict[str, Callable[[Wide, Wide], Wide]] = {
    "add": wide.add,
    "and": wide.bitwise(words.both),
    "maximum": wide.maximum,
    "minimum": wide.minimum,
    "multiply": wide.multiply,
    "or": wide.bitwise(words.either),
}


def all_reduce(op: ir.Operation, value: Wide, cores: int) -> Wide:
    """Of as many values as there are cores, at most.

    Raises:
        Unsupported: by anything but add, max, min, and, or.
    """
    kind = combination(op)
    if kind == "add":
        bits = limb_bits(cores)
        return from_limbs([_over_cores(op, x, kind) for x in limbs(value, bits)], bits, value)
    if kind in ("and", "or"):
        return value.each(lambda v: _over_cores(op, v, kind))
    if kind not in ("maximum", "minimum"):
        raise Unsupported(f"64-bit reduction over cores by {names(op)}", _HINT)
    high = words.convert(value.high, words.i32()) if value.is_signed else value.high
    best = _over_cores(op, high, kind)
    chosen = words.compare(high, "EQ", best)
    low = _over_cores(op, words.select(chosen, value.low, beyond(value.low, kind)), kind)
    return value.like(low, words.convert(best, words.u32()))


def _over_cores(op: ir.Operation, value: ir.Value, kind: str) -> ir.Value:
    attributes = dict(op.attributes.items())
    made = ir.Operation.create(op.name, [value.type], [value], attributes, regions=1)
    add_region(made, kind, ir.RankedTensorType.get([], value.type.element_type))
    return made.results[0]


# ---- windows -------------------------------------------------------------------------------------


def reduce_window(op: ir.Operation, value: Wide, first: Wide) -> Wide:
    """Sums over windows, as cumulative sums are written; and bitwise operations.

    Raises:
        Unsupported: any other combination.
    """
    kind = combination(op)
    if kind in ("and", "or"):
        return value.like(*(plain_windows_from(op, v, f, kind) for v, f in _paired(value, first)))
    if kind != "add":
        raise Unsupported(
            f"windows of 64-bit integers by {names(op)}", "add; or convert to int32 before"
        )
    # The padding counts too: as many initial values as a window has elements, and one more.
    bits = limb_bits(2 * prod(dense_integers(op.attributes["window_dimensions"])) + 1)
    pairs = zip(limbs(value, bits), limbs(first, bits), strict=True)
    return from_limbs([plain_windows_from(op, v, f, kind) for v, f in pairs], bits, value)


def _paired(value: Wide, first: Wide) -> list[tuple[ir.Value, ir.Value]]:
    return list(zip(value.words, first.words, strict=True))
