"""Arithmetic on complex numbers that are pairs of reals, by StableHLO on float32.

`exponential`, `log`, `log_plus_one` and `sqrt` are upstream's, whose bounds hold everywhere
(`stablehlo-complex-math-expander`); the others are here. Quotients and magnitudes are computed from
numbers divided by the larger part first, so that no square overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch_mlir import ir

from axonc.passes.prepare import words

LARGEST = 3.4028234663852886e38


@dataclass(frozen=True)
class Complex:
    """Complex numbers as two tensors of f32, of one shape."""

    re: ir.Value
    """The real parts."""
    im: ir.Value
    """The imaginary parts."""

    @property
    def parts(self) -> tuple[ir.Value, ir.Value]:
        return self.re, self.im

    def each(self, function: Callable[[ir.Value], ir.Value]) -> Complex:
        """What is done to both parts alike."""
        return Complex(function(self.re), function(self.im))


def _unary(name: str, x: ir.Value) -> ir.Value:
    return words.create(name, (x,), x.type)


def absolute(x: ir.Value) -> ir.Value:
    return _unary("abs", x)


def negated(x: ir.Value) -> ir.Value:
    return _unary("negate", x)


def of_real(x: ir.Value) -> Complex:
    return Complex(x, words.filled(0.0, x.type))


def filled(re: float, im: float, like: Complex) -> Complex:
    return Complex(words.filled(re, like.re.type), words.filled(im, like.re.type))


def select(predicate: ir.Value, a: Complex, b: Complex) -> Complex:
    return Complex(words.select(predicate, a.re, b.re), words.select(predicate, a.im, b.im))


# ---- sums and products ---------------------------------------------------------------------


def add(a: Complex, b: Complex) -> Complex:
    return Complex(words.add(a.re, b.re), words.add(a.im, b.im))


def subtract(a: Complex, b: Complex) -> Complex:
    return Complex(words.subtract(a.re, b.re), words.subtract(a.im, b.im))


def negate(a: Complex) -> Complex:
    return a.each(negated)


def multiply(a: Complex, b: Complex) -> Complex:
    re = words.subtract(words.multiply(a.re, b.re), words.multiply(a.im, b.im))
    im = words.add(words.multiply(a.re, b.im), words.multiply(a.im, b.re))
    return Complex(re, im)


def scaled(a: Complex, factor: float) -> Complex:
    return a.each(lambda x: words.multiply(x, factor))


def divide(a: Complex, b: Complex) -> Complex:
    """a conj(b / s) / |b / s|^2 / s with s the larger part of b. A divisor of 0 gives a / 0 by
    parts, an infinite one zeros."""
    largest = words.maximum(absolute(b.re), absolute(b.im))
    is_zero = words.compare(largest, "EQ", 0.0)
    size = words.minimum(words.select(is_zero, 1.0, largest), LARGEST)
    near = b.each(lambda x: words.divide(_bounded(x), size))
    square = words.add(words.multiply(near.re, near.re), words.multiply(near.im, near.im))
    product = multiply(a, Complex(near.re, negated(near.im)))
    found = product.each(lambda x: words.divide(words.divide(x, square), size))
    infinite = words.compare(largest, "EQ", float("inf"))
    finite = words.compare(words.maximum(absolute(a.re), absolute(a.im)), "LE", LARGEST)
    found = select(
        words.both(infinite, finite), found.each(lambda x: words.multiply(x, 0.0)), found
    )
    return select(is_zero, a.each(lambda x: words.divide(x, absolute(b.re))), found)


def _bounded(x: ir.Value) -> ir.Value:
    """Infinities as the largest number; NaN stays."""
    return words.maximum(words.minimum(x, LARGEST), -LARGEST)


def magnitude(a: Complex) -> ir.Value:
    """sqrt(re^2 + im^2): infinite if a part is, whatever the other one is."""
    re, im = (absolute(x) for x in a.parts)
    large, small = words.maximum(re, im), words.minimum(re, im)
    safe = words.select(words.compare(large, "EQ", 0.0), 1.0, large)
    ratio = words.divide(small, safe)
    root = _unary("sqrt", words.add(words.multiply(ratio, ratio), 1.0))
    infinite = (words.compare(x, "EQ", float("inf")) for x in (re, im))
    return words.select(words.either(*infinite), float("inf"), words.multiply(large, root))


def sign(a: Complex) -> Complex:
    """a / |a|; 0 of 0."""
    size = magnitude(a)
    is_zero = words.compare(size, "EQ", 0.0)
    safe = words.select(is_zero, 1.0, size)
    return select(is_zero, a, a.each(lambda x: words.divide(x, safe)))


# ---- hyperbolic and trigonometric functions ------------------------------------------------

SATURATED = 9.0
"""From here on tanh of a real is 1 to float32's last bit."""


def sinh_and_cosh(x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """From e = exp(|x|) - 1: sinh |x| = (e + e / (e + 1)) / 2, cosh x = 1 + e^2 / (2 (e + 1)).
    Above 80, where e may overflow, both are exp(|x| / 2)^2 / 2 to the last bit."""
    size = absolute(x)
    e = _unary("exponential_minus_one", size)
    more = words.add(e, 1.0)
    small = words.multiply(words.add(e, words.divide(e, more)), 0.5)
    cosine = words.add(words.multiply(words.multiply(e, words.divide(e, more)), 0.5), 1.0)
    half = _unary("exponential", words.multiply(size, 0.5))
    large = words.multiply(words.multiply(half, 0.5), half)
    is_large = words.compare(size, "GT", 80.0)
    sine = words.select(is_large, large, small)
    signed = words.select(words.compare(x, "LT", 0.0), negated(sine), sine)
    signed = words.select(words.compare(size, "EQ", 0.0), x, signed)
    return signed, words.select(is_large, large, cosine)


def _by_parts(trigonometric: ir.Value, hyperbolic: ir.Value) -> ir.Value:
    """A product in which 0 times infinity is 0, the limit along the real axis."""
    product = words.multiply(trigonometric, hyperbolic)
    return words.select(words.compare(trigonometric, "EQ", 0.0), trigonometric, product)


def sine(a: Complex) -> Complex:
    """sin(x) cosh(y) + i cos(x) sinh(y)."""
    high, low = sinh_and_cosh(a.im)
    return Complex(_by_parts(_unary("sine", a.re), low), _by_parts(high, _unary("cosine", a.re)))


def cosine(a: Complex) -> Complex:
    """cos(x) cosh(y) - i sin(x) sinh(y)."""
    high, low = sinh_and_cosh(a.im)
    im = _by_parts(high, _unary("sine", a.re))
    return Complex(words.multiply(_unary("cosine", a.re), low), negated(im))


def tanh(a: Complex) -> Complex:
    """With t = tan(y), s = sinh(x), c = cosh(x): (c s (1 + t^2) + i t) / (1 + s^2 (1 + t^2)); both
    are multiplied by cos(y)^2, as t may overflow. For large x: sign(x) + i sin(2 y) / 2 / s^2."""
    bounded = words.maximum(words.minimum(a.re, SATURATED), -SATURATED)
    s, c = sinh_and_cosh(bounded)
    up, along = _unary("sine", a.im), _unary("cosine", a.im)
    square = words.add(words.multiply(along, along), words.multiply(s, s))
    near = Complex(
        words.divide(words.multiply(s, c), square), words.divide(words.multiply(up, along), square)
    )
    size = absolute(a.re)
    decay = _unary("exponential", words.multiply(size, -1.0))
    im = words.multiply(
        words.multiply(words.multiply(up, along), decay), words.multiply(decay, 4.0)
    )
    far = Complex(_unary("sign", a.re), im)
    return select(words.compare(size, "GT", SATURATED), far, near)


def tan(a: Complex) -> Complex:
    """tan(z) = -i tanh(i z)."""
    turned = tanh(Complex(negated(a.im), a.re))
    return Complex(turned.im, negated(turned.re))


def logistic(a: Complex) -> Complex:
    """(1 + tanh(z / 2)) / 2."""
    half = scaled(tanh(scaled(a, 0.5)), 0.5)
    return Complex(words.add(half.re, 0.5), half.im)


def exponential_minus_one(a: Complex) -> Complex:
    """expm1(x) cos(y) - 2 sin(y / 2)^2 + i exp(x) sin(y)."""
    lost = _unary("sine", words.multiply(a.im, 0.5))
    less = words.multiply(words.multiply(lost, lost), -2.0)
    first = words.multiply(_unary("exponential_minus_one", a.re), _unary("cosine", a.im))
    im = words.multiply(_unary("exponential", a.re), _unary("sine", a.im))
    return Complex(words.add(first, less), im)


# ---- by way of others ----------------------------------------------------------------------


def log(a: Complex) -> Complex:
    """log|z| + i arg z: the parts by larger and smaller, so that no square overflows."""
    re, im = (absolute(x) for x in a.parts)
    large, small = words.maximum(re, im), words.minimum(re, im)
    ratio = words.divide(small, words.select(words.compare(large, "EQ", 0.0), 1.0, large))
    rest = _unary("log_plus_one", words.multiply(ratio, ratio))
    size = words.add(_unary("log", large), words.multiply(rest, 0.5))
    return Complex(size, words.create("atan2", (a.im, a.re), a.re.type))


def exponential(a: Complex) -> Complex:
    """exp(x) (cos y + i sin y); i 0 stays 0 where exp(x) is infinite."""
    size = _unary("exponential", a.re)
    im = words.multiply(size, _unary("sine", a.im))
    is_real = words.compare(a.im, "EQ", 0.0)
    return Complex(words.multiply(size, _unary("cosine", a.im)), words.select(is_real, a.im, im))


def power(a: Complex, b: Complex) -> Complex:
    """exp(b log a); of 0: 1 for the exponent 0, else 0."""
    found = exponential(multiply(b, log(a)))
    base_is_zero, exponent_is_zero = (
        words.both(words.compare(x.re, "EQ", 0.0), words.compare(x.im, "EQ", 0.0)) for x in (a, b)
    )
    at_zero = select(exponent_is_zero, filled(1.0, 0.0, a), filled(0.0, 0.0, a))
    return select(words.either(base_is_zero, exponent_is_zero), at_zero, found)


def root(a: Complex) -> Complex:
    """With t = sqrt((|x| + |z|) / 2): t + i y / 2 t to the right, else |y| / 2 t + i t with the
    sign of y."""
    half = words.multiply(absolute(a.re), 0.5)
    t = _unary("sqrt", words.add(half, words.multiply(magnitude(a), 0.5)))
    safe = words.select(words.compare(t, "EQ", 0.0), 1.0, t)
    other = words.divide(words.multiply(a.im, 0.5), safe)
    turned = words.select(words.compare(a.im, "LT", 0.0), negated(t), t)
    is_right = words.compare(a.re, "GE", 0.0)
    return select(is_right, Complex(t, other), Complex(absolute(other), turned))


def rsqrt(a: Complex) -> Complex:
    return divide(filled(1.0, 0.0, a), root(a))


def cbrt(a: Complex) -> Complex:
    """The principal one: exp(log(a) / 3)."""
    return power(a, filled(1 / 3, 0.0, a))


def atan2(a: Complex, b: Complex) -> Complex:
    """-i log((b + i a) / sqrt(a^2 + b^2))."""
    above = add(b, Complex(negated(a.im), a.re))
    found = log(divide(above, root(add(multiply(a, a), multiply(b, b)))))
    return Complex(found.im, negated(found.re))


# ---- order ---------------------------------------------------------------------------------


def compare(a: Complex, direction: str, b: Complex) -> ir.Value:
    """Equal in both parts, or not; other directions by the real parts, then the imaginary ones."""
    if direction in ("EQ", "NE"):
        parts = [words.compare(x, direction, y) for x, y in zip(a.parts, b.parts, strict=True)]
        return words.both(*parts) if direction == "EQ" else words.either(*parts)
    strict = direction[0] + "T"
    first = words.compare(a.re, strict, b.re)
    tie = words.both(words.compare(a.re, "EQ", b.re), words.compare(a.im, direction, b.im))
    return words.either(first, tie)


def maximum(a: Complex, b: Complex) -> Complex:
    return select(compare(a, "GE", b), a, b)


def minimum(a: Complex, b: Complex) -> Complex:
    return select(compare(a, "LE", b), a, b)
