"""Matrix products of 64-bit integers, by digits of 8 bits: part of `narrow-integers`.

x = d0 + 2^8 d1 + 2^16 d2 + ..., so a product is the sum of products of digits, of which each is a
product of 8-bit matrices in 32 bits: exact, if so few terms are added that they stay in a word.
Digits that stand at 2^64 or above together do not count.
"""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.stablehlo import dot_dimensions
from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import Interval
from axonc.passes.prepare.wide_arithmetic import Wide
from axonc.passes.prepare.wide_reductions import limbs
from axonc.passes.unsupported import Unsupported

DIGIT_BITS = 8
MOST_TERMS = 2**32 // (2**DIGIT_BITS - 1) ** 2


def dot(op: ir.Operation, a: Wide, b: Wide, ranges: tuple[Interval, Interval]) -> Wide:
    """`stablehlo.dot_general` and `stablehlo.dot`. ranges: of the operands.

    Raises:
        Unsupported: more terms than are exact.
    """
    terms = _terms(op)
    if terms > MOST_TERMS:
        raise Unsupported(
            f"64-bit products of {terms} terms, at most {MOST_TERMS}", "multiply in parts"
        )
    total: Wide | None = None
    for i, x in enumerate(_digits(a, ranges[0])):
        for j, y in enumerate(_digits(b, ranges[1])):
            shift = DIGIT_BITS * (i + j)
            if shift < 64:
                part = _placed(_product(op, x, y), shift, a.is_signed)
                total = part if total is None else wide.add(total, part)
    assert total is not None, "a number has a digit"
    return total


def _terms(op: ir.Operation) -> int:
    if op.name == "stablehlo.dot":
        return int(op.operands[0].type.shape[-1])
    count = 1
    for dim in dot_dimensions(op)[2]:
        count *= op.operands[0].type.shape[dim]
    return count


def _digits(a: Wide, known: Interval) -> list[ir.Value]:
    """ui8, the lowest first; of naturals only as many as they have."""
    count = 64 // DIGIT_BITS
    if known.is_natural:
        count = max(1, -(-known.high.bit_length() // DIGIT_BITS))
    element = ir.IntegerType.get_unsigned(DIGIT_BITS)
    return [words.convert(limb, element) for limb in limbs(a, DIGIT_BITS)[:count]]


def _product(op: ir.Operation, x: ir.Value, y: ir.Value) -> ir.Value:
    kind = ir.RankedTensorType.get(op.results[0].type.shape, words.u32())
    attributes = dict(op.attributes.items())
    return ir.Operation.create(op.name, [kind], [x, y], attributes).results[0]


def _placed(part: ir.Value, shift: int, is_signed: bool) -> Wide:
    found = Wide(part, words.filled(0, part.type), is_signed)
    return wide.shift_left(found, words.filled(shift, part.type)) if shift else found
