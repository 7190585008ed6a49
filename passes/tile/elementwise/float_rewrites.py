"""Float operations the engines lack, out of those they have. Each function computes in float32.

Errors stated are of the decomposition, with exact tables; those of the tables come on top
(backends/executor/semantics/activation.py). Overflow, infinities, NaN and zeros with their signs
follow IEEE 754; docs/reference/numerics.md says what each operation promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from axonc.backends.numerics.dtypes import F32, I32, DType
from axonc.passes.tile.elementwise.angle_reduction import Angle, sine_of
from axonc.passes.tile.elementwise.expression_nodes import (
    Expression,
    add,
    bits,
    bounds,
    cast,
    clamp,
    compare,
    constant,
    in_dtype,
    is_positive_zero,
    is_whole,
    magnitude,
    multiply,
    node,
    select,
    subtract,
    with_sign_of,
    without_sign_of_zero,
)

FLOAT_MAX = 3.4028234663852886e38
INTEGERS_FROM = 2.0**23
"""From here on every float32 is a whole number."""


# ---- rounding ------------------------------------------------------------------------------


def nearest(x: Expression) -> Expression:
    """The integer nearest to x, ties to even, if |x| < 2^31: a store as i32 rounds so."""
    return cast(cast(x, I32), F32)


def round_even(x: Expression) -> Expression:
    return x if is_whole(x) else with_sign_of(_rounded(x), x)


def _rounded(x: Expression) -> Expression:
    """`round_even` but for the sign of zeros, which integers do not have."""
    low, high = bounds(x)
    if max(-low, high) < 2.0**31:
        return nearest(x)
    return select(compare(magnitude(x), "LT", INTEGERS_FROM), nearest(x), x, F32)


def floor(x: Expression) -> Expression:
    """The nearest integer, less one where that lies above x. It has the sign of x or is a zero."""
    if is_whole(x):
        return x
    rounded = _rounded(x)
    return with_sign_of(subtract(rounded, compare(rounded, "GT", x)), x)


def ceil(x: Expression) -> Expression:
    if is_whole(x):
        return x
    rounded = _rounded(x)
    return with_sign_of(add(rounded, compare(rounded, "LT", x)), x)


def truncated(x: Expression, dtype: DType) -> Expression:
    """x as an integer type, towards zero; the store saturates, NaN gives 0."""
    if is_whole(x):
        return cast(without_sign_of_zero(x), dtype)
    low, high = bounds(x)
    size = x if low >= 0 else magnitude(x)
    wide = cast(cast(size, dtype if dtype.name == "u32" else I32), F32)
    below = subtract(wide, compare(wide, "GT", size))
    return cast(below if low >= 0 else multiply(below, node("table_sign", x)), dtype)


# ---- powers and quotients ------------------------------------------------------------------


def sqrt(x: Expression) -> Expression:
    """By the power of GpSimdE, as ScalarE's table is not valid at 0 (machine.md#scalar-engine). The
    root of -0 is -0, its power +0."""
    return with_sign_of(node("power", _above_minus_infinity(x), 0.5), x)


def sign(x: Expression) -> Expression:
    """The sign of -0 is -0; ScalarE's table gives 0."""
    return with_sign_of(node("table_sign", x), x)


def _above_minus_infinity(x: Expression) -> Expression:
    """The power of -inf is +inf, that of other negative numbers NaN, which roots should give."""
    return x if bounds(x)[0] > -math.inf else node("maximum", x, -FLOAT_MAX)


def rsqrt(x: Expression) -> Expression:
    return node("rsqrt", x)


def divide(a: Expression, b: Expression) -> Expression:
    """Correctly rounded, by the `divide` of VectorE; as a product only where that is the same.

    a * (1 / b) is a / b for all a if 1 / b is exact, as both then round the same number, and if b
    is 0 or infinite, where both give 0, an infinity or NaN of equal sign.
    """
    if b.is_constant and (inverse := _exact_inverse(b.value)) is not None:
        return multiply(a, inverse)
    if a.is_constant and a.value == 1.0:
        return node("reciprocal", b)
    return node("divide", a, b)


SMALLEST, SMALLEST_NORMAL = 2.0**-149, 2.0**-126


def _exact_inverse(value: float) -> float | None:
    """1 / value where that is a power of two, a zero or an infinity of float32."""
    if value == 0.0:
        return math.copysign(math.inf, value)
    if math.isinf(value):
        return math.copysign(0.0, value)
    inverse = 1.0 / value
    is_power = abs(math.frexp(value)[0]) == 0.5
    return inverse if is_power and SMALLEST_NORMAL <= abs(inverse) <= FLOAT_MAX else None


def power(base: Expression, exponent: Expression) -> Expression:
    if exponent.is_constant and exponent.value in _POWERS:
        return _POWERS[exponent.value](base)
    return node("power", base, exponent)


_POWERS: dict[float, Callable[[Expression], Expression]] = {
    1.0: lambda x: x,
    2.0: lambda x: node("table_square", x),
    3.0: lambda x: multiply(node("table_square", x), x),
    -1.0: lambda x: node("reciprocal", x),
}


SPLIT = 4097.0
"""2^12 + 1: splits a float32 into halves of 12 bits (Dekker)."""

MAX_QUOTIENT = 2.0**33
"""Below this quotient the steps of `remainder` are exact."""

REDUCTION_UNITS = (2.0**22, 2.0**11, 1.0)
"""Multiples of the divisor that `remainder` takes away in turn: each quotient has 12 bits."""


ORDINARY_DIVISORS = (2.0**-60, 2.0**100)
"""Where the steps of `remainder` neither overflow nor lose bits below the smallest numbers."""


def remainder(a: Expression, b: Expression) -> Expression:
    """a - b * trunc(a / b), exact, with the sign of a. In steps that are exact whatever the
    engine's `mod` does with its quotient; quotients from MAX_QUOTIENT on and extreme divisors are
    left to `mod`, which is assumed to be exact (backends/executor/semantics/alu.py)."""
    size, divisor = magnitude(a), magnitude(b)
    inverse = node("reciprocal", divisor)
    scaled = multiply(divisor, SPLIT)
    high = subtract(scaled, subtract(scaled, divisor))
    halves = high, subtract(divisor, high)
    rest = size
    for unit in REDUCTION_UNITS:
        rest = _reduced(rest, inverse, halves, unit)
    positive = add(rest, multiply(compare(rest, "LT", 0.0), divisor))
    few = compare(multiply(size, inverse), "LT", MAX_QUOTIENT)
    is_ordinary = compare(clamp(ORDINARY_DIVISORS[0], divisor, ORDINARY_DIVISORS[1]), "EQ", divisor)
    by_steps = Expression("logical_and", (few, is_ordinary), few.dtype, is_bool=True)
    found = select(by_steps, positive, node("mod", size, divisor), F32)
    return select(compare(size, "LT", divisor), a, with_sign_of(found, a), F32)


def _reduced(
    x: Expression, inverse: Expression, halves: tuple[Expression, Expression], unit: float
) -> Expression:
    """x less the multiple of divisor * unit nearest to it; every step is exact."""
    times = nearest(multiply(multiply(x, inverse), 1.0 / unit))
    for half in halves:
        x = subtract(x, multiply(times, multiply(half, unit)))
    return x


# ---- exponentials and logarithms -----------------------------------------------------------

EXPM1_SERIES = 0.25
"""Up to here expm1 is a polynomial: its seventh term is 5e-8 of the first."""


def expm1(x: Expression) -> Expression:
    """e^x - 1; near 0 the Taylor polynomial of degree 6. Relative error below 4e-7."""
    near = multiply(x, 1 / math.factorial(6))
    for degree in range(5, 0, -1):
        near = multiply(add(near, 1 / math.factorial(degree)), x)
    far = add(node("table_exp", x), -1.0)
    return select(compare(magnitude(x), "LT", EXPM1_SERIES), near, far, F32)


LOG_RANGE = (2.0**-60, 2.0**60)
"""Where the logarithm is taken directly; ScalarE's table is valid from 2^-64 to 2^64."""

TINY = 2.0**-100
"""A factor that makes every number in question vanish beside a logarithm, but not infinity."""


def log(x: Expression) -> Expression:
    """Directly where the table is valid; else 4 log(x^(1/4)), where an error of the root is small
    against the result. 0 gives -inf, negative numbers NaN."""
    low, high = bounds(x)
    if low >= LOG_RANGE[0] and high <= LOG_RANGE[1]:
        return node("table_log", x)
    inside = clamp(LOG_RANGE[0], x, LOG_RANGE[1])
    finite = _above_minus_infinity(x)
    root = node("power", finite, 0.25)
    by_root = node("table_log", clamp(2.0**-40, root, 2.0**40))
    at_zero = multiply(node("power", finite, -0.25), -TINY)
    outside = add(multiply(root, TINY), add(multiply(by_root, 4.0), at_zero))
    is_outside = compare(inside, "NE", x)
    return select(is_outside, outside, node("table_log", inside), F32)


def log1p(x: Expression) -> Expression:
    """log(u) + (x - (u - 1)) / u with u = 1 + x as rounded: the second term is what rounding took
    away. Relative error below 3e-7. It has the sign of x."""
    total = add(x, 1.0)
    bounded = x if bounds(x)[1] <= 2.0**60 else node("minimum", x, 2.0**60)
    rounded = total if bounded is x else add(bounded, 1.0)
    lost = subtract(bounded, add(rounded, -1.0))
    positive = rounded if bounds(x)[0] > -0.5 else node("maximum", rounded, 2.0**-30)
    return with_sign_of(add(log(total), multiply(lost, node("reciprocal", positive))), x)


# ---- trigonometry --------------------------------------------------------------------------


def sine(x: Expression) -> Expression:
    """The absolute error is below 5e-7 for every x."""
    return sine_of(Angle(x, is_cosine=False))


def cosine(x: Expression) -> Expression:
    """sin(x + pi / 2); as `sine`."""
    return sine_of(Angle(x, is_cosine=True))


def atan2(y: Expression, x: Expression) -> Expression:
    """By the arc tangent of a quotient in [0, 1], reflected where x is negative, -0 too, as its
    bits say. It has the sign of y."""
    sizes = [magnitude(v) for v in (y, x)]
    smaller, larger = node("minimum", *sizes), node("maximum", *sizes)
    finite = divide(smaller, node("maximum", larger, SMALLEST))
    quotient = select(compare(smaller, "EQ", math.inf), 1.0, finite, F32)
    angle = node("table_arctan", quotient)
    steep = compare(sizes[0], "GT", sizes[1])
    first = select(steep, subtract(math.pi / 2, angle), angle, F32)
    is_negative = compare(bits(cast(x, F32), I32), "LT", 0.0)
    return with_sign_of(select(is_negative, subtract(math.pi, first), first, F32), y)


ERFC_NEAR = (
    2.326819970068386e-2, -1.387039388740657e-1, 3.687424674597105e-1, -5.824733027278666e-1,
    6.210004621745983e-1, -4.944515323274145e-1, 3.404879937665872e-1, -2.741127028184656e-1,
    5.638259427386472e-1,
)  # fmt: skip
ERFC_FAR = (
    -1.047766399936249e1, 1.297719955372516e1, -7.495518717768503, 2.921019019210786,
    -1.015265279202700, 4.218463358204948e-1, -2.820767439740514e-1, 5.641895067754075e-1,
)  # fmt: skip
"""|x| exp(x^2) erfc(|x|) as polynomials in 1 / x^2, highest power first, for |x| in [1, 2] and
above (the Cephes library's erfcf)."""


def erfc(x: Expression) -> Expression:
    """1 - erf(x) below 1; above by exp(-x^2) / |x| times a polynomial, reflected for negative x."""
    size = node("maximum", magnitude(x), 1.0)
    inverse = node("reciprocal", size)
    square = multiply(inverse, inverse)
    far = select(
        compare(size, "LT", 2.0), _polynomial(ERFC_NEAR, square), _polynomial(ERFC_FAR, square), F32
    )
    power = node("table_exp", multiply(multiply(size, size), -1.0))
    tail = multiply(multiply(power, inverse), far)
    reflected = select(compare(x, "LT", 0.0), subtract(2.0, tail), tail, F32)
    near = subtract(1.0, node("table_erf", x))
    return select(compare(magnitude(x), "LT", 1.0), near, reflected, F32)


def _polynomial(coefficients: Sequence[float], x: Expression) -> Expression:
    total = add(multiply(x, coefficients[0]), coefficients[1])
    for coefficient in coefficients[2:]:
        total = add(multiply(total, x), coefficient)
    return total


def cbrt(x: Expression) -> Expression:
    """exp(log|x| / 3), made exact by two Newton steps y - (y - |x| / y^2) / 3, with the sign of x.
    |x| is brought near 1 by powers of 8 first. Zeros, infinities and NaN are their own roots."""
    size = magnitude(x)
    is_large, is_small = compare(size, "GT", 2.0**60), compare(size, "LT", 2.0**-60)
    near = select(is_large, multiply(size, 2.0**-90), size, F32)
    near = clamp(2.0**-62, select(is_small, multiply(size, 2.0**90), near, F32), 2.0**62)
    y = node("table_exp", multiply(log(near), 1 / 3))
    for _ in range(2):
        y = add(multiply(subtract(y, divide(near, multiply(y, y))), -1 / 3), y)
    y = select(is_large, multiply(y, 2.0**30), select(is_small, multiply(y, 2.0**-30), y, F32), F32)
    signed = select(compare(x, "LT", 0.0), multiply(y, -1.0), y, F32)
    return select(compare(add(x, x), "EQ", x), x, signed, F32)


# ---- the table -----------------------------------------------------------------------------

TABLES = {
    "abs": "abs",
    "erf": "erf",
    "exp": "exp",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "logistic": "sigmoid",
    "relu": "relu",
    "silu": "silu",
    "square": "square",
    "tanh": "tanh",
}
"""Neuron ops that are one function of ScalarE, valid everywhere."""

PRIMITIVES = ("add", "subtract", "multiply", "maximum", "minimum", "reciprocal")

_FUNCTIONS: dict[str, Callable[..., Expression]] = {
    "atan2": atan2,
    "cbrt": cbrt,
    "ceil": ceil,
    "cosine": cosine,
    "divide": divide,
    "erfc": erfc,
    "expm1": expm1,
    "floor": floor,
    "log": log,
    "log1p": log1p,
    "negate": lambda x: multiply(x, -1.0),
    "power": power,
    "remainder": remainder,
    "round_even": round_even,
    "rsqrt": rsqrt,
    "sign": sign,
    "sine": sine,
    "sqrt": sqrt,
}


def rewrite_float(e: Expression) -> Expression:
    """A neuron op on floats in the vocabulary of expression_nodes.py."""
    if e.op == "maximum" and (x := _rectified(e)) is not None:
        return Expression("table_relu", (x,), e.dtype)
    if e.op in PRIMITIVES:
        return e
    if e.op in TABLES:
        return Expression(f"table_{TABLES[e.op]}", e.args, e.dtype)
    return in_dtype(_FUNCTIONS[e.op](*e.args), e.dtype)


def _rectified(e: Expression) -> Expression | None:
    """x of max(x, +0), which ScalarE can do with a scale and a shift."""
    for x, other in (e.args, e.args[::-1]):
        if is_positive_zero(other) and not x.is_constant:
            return x
    return None


FLOAT_OPS = frozenset({*PRIMITIVES, *TABLES, *_FUNCTIONS})
__all__ = ["FLOAT_OPS", "constant", "rewrite_float", "truncated"]
