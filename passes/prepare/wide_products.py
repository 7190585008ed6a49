"""Matrix products and convolutions of 64-bit integers, by digits: part of `narrow-integers`.

x = d0 + 2^8 d1 + 2^16 d2 + ..., so a product is the sum of products of digits, of which each is a
product of 8-bit matrices in 32 bits: exact, if so few terms are added that they stay in a word.
Convolutions are in float32, by digits of as many bits as are exact there. Digits that stand at 2^64
or above together do not count.
"""

from __future__ import annotations

from math import prod

from torch_mlir import ir

from axonc.dialects.stablehlo import convolution_dimensions, dot_dimensions
from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import Interval
from axonc.passes.prepare.wide_arithmetic import Wide
from axonc.passes.prepare.wide_reductions import LIMB_BITS, limbs
from axonc.passes.unsupported import Unsupported

DIGIT_BITS = 8
MOST_TERMS = 2**32 // (2**DIGIT_BITS - 1) ** 2
EXACT_SUM = 2**24
"""float32 holds every integer up to here."""


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
    element = ir.IntegerType.get_unsigned(DIGIT_BITS)
    x, y = (_digits(v, known, DIGIT_BITS) for v, known in zip((a, b), ranges, strict=True))
    return _sum_of_products(op, a, (x, y), DIGIT_BITS, (element, words.u32()))


def convolution(op: ir.Operation, a: Wide, b: Wide, ranges: tuple[Interval, Interval]) -> Wide:
    """`stablehlo.convolution`: digits are multiplied in float32, where every sum is below 2^24
    and thus exact; padding and dilation are zeros, which are zeros in every digit.

    Raises:
        Unsupported: more terms than are exact in digits of one bit.
    """
    terms = _terms_of_convolution(op)
    bits = next((n for n in LIMB_BITS if terms * (2**n - 1) ** 2 < EXACT_SUM), None)
    if bits is None:
        raise Unsupported(f"64-bit convolution of {terms} terms", "convolve in parts")
    x, y = (_digits(v, known, bits) for v, known in zip((a, b), ranges, strict=True))
    return _sum_of_products(op, a, (x, y), bits, (words.f32(), words.f32()))


def _sum_of_products(
    op: ir.Operation,
    like: Wide,
    digits: tuple[list[ir.Value], list[ir.Value]],
    bits: int,
    kinds: tuple[ir.Type, ir.Type],
) -> Wide:
    """Of all pairs of digits that count modulo 2^64, at their places. kinds: the element types of
    digits, and of their products."""
    total: Wide | None = None
    element, product = kinds
    lhs, rhs = ([words.convert(digit, element) for digit in side] for side in digits)
    for i, x in enumerate(lhs):
        for j, y in enumerate(rhs):
            shift = bits * (i + j)
            if shift < 64:
                part = words.convert(_product(op, x, y, product), words.u32())
                placed = _placed(part, shift, like.is_signed)
                total = placed if total is None else wide.add(total, placed)
    assert total is not None, "a number has a digit"
    return total


def _terms(op: ir.Operation) -> int:
    if op.name == "stablehlo.dot":
        return int(op.operands[0].type.shape[-1])
    count = 1
    for dim in dot_dimensions(op)[2]:
        count *= op.operands[0].type.shape[dim]
    return count


def _terms_of_convolution(op: ir.Operation) -> int:
    """How many products are added for one element."""
    _, kernel, _ = convolution_dimensions(op)
    return prod(op.operands[1].type.shape[dim] for dim in kernel[1:])


def _digits(a: Wide, known: Interval, bits: int) -> list[ir.Value]:
    """ui32 below 2^bits, the lowest first; of naturals only as many as they have."""
    count = 64 // bits
    if known.is_natural:
        count = max(1, -(-known.high.bit_length() // bits))
    return limbs(a, bits)[:count]


def _product(op: ir.Operation, x: ir.Value, y: ir.Value, element: ir.Type) -> ir.Value:
    kind = ir.RankedTensorType.get(op.results[0].type.shape, element)
    attributes = dict(op.attributes.items())
    return ir.Operation.create(op.name, [kind], [x, y], attributes).results[0]


def _placed(part: ir.Value, shift: int, is_signed: bool) -> Wide:
    found = Wide(part, words.filled(0, part.type), is_signed)
    return wide.shift_left(found, words.filled(shift, part.type)) if shift else found
