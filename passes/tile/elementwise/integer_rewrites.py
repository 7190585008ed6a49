"""Integer and boolean operations out of what the engines compute exactly.

GpSimdE has 32-bit integers (machine.md#arithmetic); VectorE has bit operators on any integer, and
float32 arithmetic, exact below 2^24. Narrower integers are computed wide and wrapped by masks; the
engines would saturate where StableHLO wraps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axonc.backends.numerics.dtypes import F32, I8, I16, I32, U32, DType
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.neuron.ops import full_name
from axonc.passes.tile.elementwise.expression_nodes import (
    Expression,
    bits,
    cast,
    compare,
    constant,
    multiply,
    node,
    select,
)

Rewrite = Callable[[Expression], Expression]


def width(dtype: DType) -> int:
    return 8 * dtype.size_bytes


def is_signed(dtype: DType) -> bool:
    return np.issubdtype(dtype.numpy, np.signedinteger)


def is_word(dtype: DType) -> bool:
    return dtype in (I32, U32)


# ---- conversions between integers ----------------------------------------------------------


def wrapped(x: Expression, dtype: DType) -> Expression:
    """The low bits of the integer `x` as `dtype`."""
    if x.dtype == dtype:
        return x
    if width(dtype) == 32:
        return bits(x if x.is_word else cast(x, I32), dtype)
    low = node("bit_and", x, float((1 << width(dtype)) - 1), dtype=x.dtype)
    if not is_signed(dtype):
        return cast(low, dtype)
    half = float(1 << (width(dtype) - 1))
    flipped = node("bit_xor", low, half, dtype=x.dtype)
    return cast(node("subtract", flipped, constant(half), dtype=F32), dtype)


def convert_integer(x: Expression, dtype: DType) -> Expression:
    """Integer to integer: values that do not fit keep their low bits."""
    source, target = np.iinfo(x.dtype.numpy), np.iinfo(dtype.numpy)
    if target.min <= source.min and source.max <= target.max:
        return cast(x, dtype)
    if width(dtype) > width(x.dtype):  # negative numbers into a wider unsigned type
        return wrapped(cast(x, I32), dtype)
    if width(dtype) == width(x.dtype) < 32:
        return wrapped(cast(x, I32), dtype)
    return wrapped(x, dtype)


def as_word(x: Expression) -> Expression:
    """A narrow integer as i32; a word stays."""
    return x if x.is_word else cast(x, I32)


# ---- arithmetic ----------------------------------------------------------------------------


def word(op: str, *args: Expression | float, dtype: DType) -> Expression:
    """Arithmetic on 32-bit integers, modulo 2^32."""
    return node(op, *args, dtype=dtype)


def _arithmetic(e: Expression) -> Expression:
    """add, subtract, multiply: narrow ones in float32 where that is exact, else as i32."""
    if is_word(e.dtype):
        return e
    if e.op != "multiply" or width(e.dtype) == 8:
        exact = node(e.op, *e.args, dtype=F32)
        return wrapped(cast(exact, I32), e.dtype)
    return wrapped(word(e.op, *map(as_word, e.args), dtype=I32), e.dtype)


def _negate(e: Expression) -> Expression:
    zero = constant(0.0, e.dtype)
    return _arithmetic(Expression("subtract", (zero, e.args[0]), e.dtype))


def _square(e: Expression) -> Expression:
    return _arithmetic(Expression("multiply", (e.args[0], e.args[0]), e.dtype))


def _power(e: Expression) -> Expression:
    return wrapped(word("power", *map(as_word, e.args), dtype=as_word(e.args[0]).dtype), e.dtype)


def _abs(e: Expression) -> Expression:
    """The lowest number stays what it is, as its negation wraps."""
    x = as_word(e.args[0])
    if not is_signed(e.dtype):
        return e.args[0]
    return wrapped(_word_abs(x), e.dtype)


def _word_abs(x: Expression) -> Expression:
    return word("maximum", x, word("subtract", 0.0, x, dtype=x.dtype), dtype=x.dtype)


def _sign(e: Expression) -> Expression:
    return cast(node("table_sign", e.args[0]), e.dtype)


def _relu(e: Expression) -> Expression:
    return Expression("maximum", (e.args[0], constant(0.0, e.dtype)), e.dtype)


# ---- division ------------------------------------------------------------------------------


def _divide(e: Expression) -> Expression:
    """Towards zero; -1 (all bits set) for a zero divisor, as StableHLO says."""
    a, b = map(as_word, e.args)
    quotient, _ = _unsigned_quotient(a, b)
    if is_signed(a.dtype):
        quotient = _with_sign(quotient, node("bit_xor", a, b, dtype=a.dtype), a.dtype)
    result = select(compare(b, "EQ", 0.0), constant(_all_ones(a.dtype), a.dtype), quotient, a.dtype)
    return wrapped(result, e.dtype)


def _remainder(e: Expression) -> Expression:
    """With the sign of the dividend; the dividend itself for a zero divisor."""
    a, b = map(as_word, e.args)
    _, rest = _unsigned_quotient(a, b)
    if is_signed(a.dtype):
        rest = _with_sign(rest, a, a.dtype)
    return wrapped(select(compare(b, "EQ", 0.0), a, rest, a.dtype), e.dtype)


def _all_ones(dtype: DType) -> float:
    return -1.0 if is_signed(dtype) else float(2**32 - 1)


def _unsigned_quotient(a: Expression, b: Expression) -> tuple[Expression, Expression]:
    """(quotient, remainder) of the magnitudes, as u32.

    float32 gives the quotient to 22 bits. The exact rest, divided again, gives the others; then it
    is wrong by one at most. Rests are less than 2^31 in size, so that their sign bit is right,
    unless the divisor is larger itself; then the quotient is 0 or 1.
    """
    size, divisor = (bits(_word_abs(x) if is_signed(x.dtype) else x, U32) for x in (a, b))
    inverse = node("reciprocal", cast(divisor, F32))
    quotient = cast(multiply(cast(size, F32), inverse), U32)
    rest = _signed_rest(size, quotient, divisor)
    more = cast(multiply(cast(rest, F32), inverse), I32)
    quotient = word("add", quotient, bits(more, U32), dtype=U32)
    rest = _signed_rest(bits(rest, U32), bits(more, U32), divisor)
    below = bits(_below_zero(rest), U32)
    quotient = word("subtract", quotient, below, dtype=U32)
    if not is_signed(a.dtype):
        once = bits(Expression("compare", (size, divisor), I32, direction="GE"), U32)
        quotient = select(compare(divisor, "GE", 2.0**31), once, quotient, U32)
    taken = word("multiply", quotient, divisor, dtype=U32)
    return quotient, word("subtract", size, taken, dtype=U32)


def _signed_rest(size: Expression, quotient: Expression, divisor: Expression) -> Expression:
    taken = word("multiply", quotient, divisor, dtype=U32)
    return bits(word("subtract", size, taken, dtype=U32), I32)


def _below_zero(x: Expression) -> Expression:
    """1 where the i32 x is negative, else 0; as i32."""
    return Expression("compare", (x, constant(0.0, I32)), I32, direction="LT")


def _with_sign(size: Expression, like: Expression, dtype: DType) -> Expression:
    """`size` negated where `like` is negative."""
    factor = word("subtract", 1.0, word("multiply", _below_zero(like), 2.0, dtype=I32), dtype=I32)
    return word("multiply", bits(size, dtype), bits(factor, dtype), dtype=dtype)


# ---- bits ----------------------------------------------------------------------------------


def _bitwise(e: Expression) -> Expression:
    if e.is_bool:
        return Expression(f"logical_{e.op}", e.args, e.dtype, is_bool=True)
    return Expression(f"bit_{e.op}", e.args, e.dtype)


def _not(e: Expression) -> Expression:
    if e.is_bool:
        return compare(e.args[0], "EQ", 0.0)
    ones = -1.0 if is_signed(e.dtype) else float((1 << width(e.dtype)) - 1)
    return node("bit_xor", e.args[0], ones, dtype=e.dtype)


def _shift_left(e: Expression) -> Expression:
    return e


def _shift_right_logical(e: Expression) -> Expression:
    return Expression("shift_right", e.args, e.dtype)


def _shift_right_arithmetic(e: Expression) -> Expression:
    """A logical shift of x with its bits inverted where it is negative, inverted back."""
    x, distance = e.args
    if not is_signed(e.dtype):
        x = wrapped(x if x.is_word else cast(x, I32), _SIGNED[e.dtype.name])
        distance = wrapped(distance if distance.is_word else cast(distance, I32), x.dtype)
        shifted = _shift_right_arithmetic(Expression(e.op, (x, distance), x.dtype))
        return wrapped(shifted if shifted.is_word else cast(shifted, I32), e.dtype)
    sign = _sign_mask(x)
    flipped = node("bit_xor", x, sign, dtype=e.dtype)
    shifted = node("shift_right", flipped, distance, dtype=e.dtype)
    return node("bit_xor", shifted, sign, dtype=e.dtype)


def _sign_mask(x: Expression) -> Expression:
    """-1 where x is negative, else 0."""
    if x.is_word:
        return word("multiply", _below_zero(x), -1.0, dtype=x.dtype)
    return cast(multiply(compare(x, "LT", 0.0), -1.0), x.dtype)


def _natural_word(x: Expression) -> Expression:
    """The bits of an integer as a u32."""
    if x.is_word:
        return bits(x, U32)
    low = node("bit_and", cast(x, I32), float((1 << width(x.dtype)) - 1), dtype=I32)
    return bits(low, U32)


def _bit(op: str, *args: Expression | float) -> Expression:
    return node(op, *args, dtype=U32)


def _popcnt(e: Expression) -> Expression:
    """Counts of 1, 2, 4, 8, 16 neighbouring bits, each in the place of those bits: none overflows
    it."""
    x = _natural_word(e.args[0])
    for distance, mask in _COUNTS[: width(e.dtype).bit_length() - 1]:
        low = _bit("bit_and", x, float(mask))
        x = word("add", low, _masked_shift(x, distance, mask), dtype=U32)
    return wrapped(x, e.dtype)


def _masked_shift(x: Expression, distance: int, mask: int) -> Expression:
    return _bit("bit_and", _bit("shift_right", x, float(distance)), float(mask))


_COUNTS = ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0xFFFF))
"""Distance of the counts that are added, and which bits the sums take."""

FLOAT_BIAS, MANTISSA_BITS = 127, 23


def _count_leading_zeros(e: Expression) -> Expression:
    """From the exponent of x without the bits that follow a set bit. What is left of x is below 1.5
    times its highest bit, so rounding to float32 does not reach the next power of two. 0 has the
    exponent 0, less than any other."""
    x = _natural_word(e.args[0])
    follows = _bit("shift_right", x, 1.0)
    kept = _bit("bit_and", x, _bit("bit_xor", follows, float(2**32 - 1)))
    exponent = _bit("shift_right", bits(cast(kept, F32), U32), float(MANTISSA_BITS))
    above = node("subtract", float(FLOAT_BIAS + width(e.dtype) - 1), cast(exponent, F32))
    return cast(node("minimum", above, float(width(e.dtype))), e.dtype)


_SIGNED = {"u8": I8, "u16": I16, "u32": I32}

INTEGER_REWRITES: dict[str, Rewrite] = {
    "abs": _abs,
    "add": _arithmetic,
    "and": _bitwise,
    "count_leading_zeros": _count_leading_zeros,
    "divide": _divide,
    "maximum": lambda e: e,
    "minimum": lambda e: e,
    "multiply": _arithmetic,
    "negate": _negate,
    "not": _not,
    "or": _bitwise,
    "popcnt": _popcnt,
    "power": _power,
    "relu": _relu,
    "remainder": _remainder,
    "shift_left": _shift_left,
    "shift_right_arithmetic": _shift_right_arithmetic,
    "shift_right_logical": _shift_right_logical,
    "sign": _sign,
    "square": _square,
    "subtract": _arithmetic,
    "xor": _bitwise,
}


def rewrite_integer(e: Expression) -> Expression:
    """A neuron op on integers or booleans in the vocabulary of expression_nodes.py."""
    if e.op not in INTEGER_REWRITES:
        raise UnsupportedOpError(
            f"{e.op} of {e.dtype}: no engine computes it on integers",
            op=full_name(e.op),
            hint="convert to f32 first",
        )
    return INTEGER_REWRITES[e.op](e)
