"""MLIR text of float32 functions on vectors of 16: what native code computes per element.

Sums, products and quotients are those of IEEE 754, so they have the bits that numpy gives. The
functions follow `semantics.activation`, within the same bounds (tests/backends/executor/
test_native_elementwise.py); fused multiply-adds and an own exponential make their last bits
different.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from axonc.backends.numerics import error_function

LANES = 16
"""float32 elements of a 512-bit register."""

F = "vector<16xf32>"
I = "vector<16xi32>"  # noqa: E741
MASK = "vector<16xi1>"


class VectorCode:
    """Lines of a function's text. Methods add lines and return the name of the result.

    prefix: of names, which must differ where lines of several get into one function.
    """

    def __init__(self, prefix: str = "t") -> None:
        self._prefix = prefix
        self.constants: list[str] = []
        self.lines: list[str] = []
        self._known: dict[tuple[int, str], str] = {}
        self._count = 0

    def value(self, text: str) -> str:
        """A new value defined by `text`."""
        self._count += 1
        name = f"%{self._prefix}{self._count}"
        self.lines.append(f"{name} = {text}")
        return name

    def constant(self, number: float) -> str:
        """A vector of a float32 number."""
        bits = int(np.float32(number).view(np.uint32))
        return self._splat(bits, F, f"dense<0x{bits:08X}>")

    def integer(self, number: int) -> str:
        """A vector of a 32-bit integer."""
        return self._splat(number, I, f"dense<{number}>")

    def _splat(self, key: int, kind: str, text: str) -> str:
        name = self._known.get((key, kind))
        if name is None:
            name = self._known[key, kind] = f"%{self._prefix}_k{len(self._known)}"
            self.constants.append(f"{name} = arith.constant {text} : {kind}")
        return name

    def add(self, a: str, b: str) -> str:
        return self.value(f"arith.addf {a}, {b} : {F}")

    def subtract(self, a: str, b: str) -> str:
        return self.value(f"arith.subf {a}, {b} : {F}")

    def multiply(self, a: str, b: str) -> str:
        return self.value(f"arith.mulf {a}, {b} : {F}")

    def divide(self, a: str, b: str) -> str:
        return self.value(f"arith.divf {a}, {b} : {F}")

    def maximum(self, a: str, b: str) -> str:
        """NaN if one is."""
        return self.value(f"arith.maximumf {a}, {b} : {F}")

    def minimum(self, a: str, b: str) -> str:
        """NaN if one is."""
        return self.value(f"arith.minimumf {a}, {b} : {F}")

    def multiply_add(self, a: str, b: str, c: str) -> str:
        """a * b + c, rounded once."""
        return self.value(f"llvm.intr.fma({a}, {b}, {c}) : ({F}, {F}, {F}) -> {F}")

    def where(self, condition: str, a: str, b: str, kind: str = F) -> str:
        return self.value(f"arith.select {condition}, {a}, {b} : {MASK}, {kind}")

    def at_most(self, x: str, limit: float) -> str:
        """NaN stays."""
        bound = self.constant(limit)
        return self.where(self.value(f"arith.cmpf ogt, {x}, {bound} : {F}"), bound, x)

    def at_least(self, x: str, limit: float) -> str:
        """NaN stays."""
        bound = self.constant(limit)
        return self.where(self.value(f"arith.cmpf olt, {x}, {bound} : {F}"), bound, x)

    def bits(self, x: str) -> str:
        return self.value(f"arith.bitcast {x} : {F} to {I}")

    def from_bits(self, x: str) -> str:
        return self.value(f"arith.bitcast {x} : {I} to {F}")

    def integers(self, op: str, a: str, b: str) -> str:
        return self.value(f"arith.{op} {a}, {b} : {I}")

    def magnitude(self, x: str) -> str:
        bits = self.integers("andi", self.bits(x), self.integer(0x7FFFFFFF))
        return self.from_bits(bits)

    def with_sign_of(self, magnitude: str, x: str) -> str:
        sign = self.integers("andi", self.bits(x), self.integer(-(1 << 31)))
        return self.from_bits(self.integers("ori", self.bits(magnitude), sign))

    def polynomial(self, coefficients: tuple[float, ...], x: str) -> str:
        """Horner's rule; coefficients from the lowest power up."""
        result = self.constant(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            result = self.multiply_add(result, x, self.constant(coefficient))
        return result


_EXP_TAIL = (
    0.5,
    0.16666512191295624,
    0.0416661873459816,
    0.008369598537683487,
    0.0013951719738543034,
)
"""(e^r - 1 - r) / r^2 in powers of r, |r| <= ln(2) / 2: a weighted least-squares fit; e^r is 3.4e-9
off."""

_LN2 = np.float32(math.log(2))
_LN2_REST = math.log(2) - float(_LN2)
_ROUNDER = 1.5 * 2**23
"""Added to a small number it leaves the nearest integer in the low bits."""


def _reduced(code: VectorCode, x: str) -> tuple[str, str, str]:
    """(n as integer, n as float, e^r - 1) with x = n * ln(2) + r, n the nearest integer."""
    rounder = code.constant(_ROUNDER)
    shifted = code.multiply_add(x, code.constant(1 / math.log(2)), rounder)
    number = code.integers("subi", code.bits(shifted), code.bits(rounder))
    n = code.subtract(shifted, rounder)
    rest = code.multiply_add(n, code.constant(-float(_LN2)), x)
    rest = code.multiply_add(n, code.constant(-_LN2_REST), rest)
    tail = code.multiply(code.polynomial(_EXP_TAIL, rest), rest)
    return number, n, code.multiply_add(tail, rest, rest)


def _power_of_two(code: VectorCode, number: str) -> str:
    biased = code.integers("addi", number, code.integer(127))
    return code.from_bits(code.integers("shli", biased, code.integer(23)))


def exp(code: VectorCode, x: str) -> str:
    """e^x; infinity from 88.73, denormal results rounded once, 0 from -104."""
    inside = code.at_least(code.at_most(x, 89.0), -104.5)
    number, _, minus_one = _reduced(code, inside)
    half = code.integers("shrsi", number, code.integer(1))
    rest = code.integers("subi", number, half)
    value = code.add(minus_one, code.constant(1))
    return code.multiply(code.multiply(value, _power_of_two(code, half)), _power_of_two(code, rest))


def _negative(code: VectorCode, x: str) -> str:
    return code.from_bits(code.integers("xori", code.bits(x), code.integer(-(1 << 31))))


def _one_plus_exp_of_minus(code: VectorCode, x: str) -> str:
    return code.add(exp(code, _negative(code, x)), code.constant(1))


def _above_minus_infinity(code: VectorCode, x: str) -> str:
    """A finite stand-in, as 0 times infinity is NaN."""
    return code.at_least(x, -1e38)


def sigmoid(code: VectorCode, x: str) -> str:
    return code.divide(code.constant(1), _one_plus_exp_of_minus(code, x))


def silu(code: VectorCode, x: str) -> str:
    return code.divide(_above_minus_infinity(code, x), _one_plus_exp_of_minus(code, x))


def tanh(code: VectorCode, x: str) -> str:
    """t / (t + 2) with t = e^(2|x|) - 1; 1 from |x| = 10."""
    doubled = code.at_most(code.multiply(code.magnitude(x), code.constant(2)), 20.0)
    number, _, minus_one = _reduced(code, doubled)
    power = _power_of_two(code, number)
    t = code.multiply_add(power, minus_one, code.subtract(power, code.constant(1)))
    ratio = code.divide(t, code.add(t, code.constant(2)))
    return code.with_sign_of(ratio, x)


def erf(code: VectorCode, x: str) -> str:
    """The two polynomials of `numerics.error_function`, added as there; exactly 1 from 4."""
    whole = code.magnitude(x)
    magnitude = code.at_most(whole, 4.0)
    beyond = exp(code, code.polynomial(error_function.LOG_ERFC, magnitude))
    at_split = float(error_function.ERFC_AT_SPLIT)
    beyond = code.subtract(code.constant(at_split), code.at_most(beyond, at_split))
    below = code.at_most(magnitude, float(error_function.SPLIT))
    squared = code.multiply(below, below)
    tail = code.polynomial(error_function.SMALL, squared)
    result = code.add(code.multiply_add(tail, below, below), beyond)
    is_one = code.value(f"arith.cmpf oge, {whole}, {code.constant(4.0)} : {F}")
    return code.with_sign_of(code.where(is_one, code.constant(1), result), x)


def _gate(code: VectorCode, x: str, odd: str) -> str:
    """x * (1 + odd) / 2."""
    half = code.multiply(code.add(odd, code.constant(1)), code.constant(0.5))
    return code.multiply(half, _above_minus_infinity(code, x))


def gelu(code: VectorCode, x: str) -> str:
    return _gate(code, x, erf(code, code.multiply(x, code.constant(math.sqrt(0.5)))))


def gelu_tanh(code: VectorCode, x: str) -> str:
    factor = code.multiply_add(code.multiply(x, x), code.constant(0.044715), code.constant(1))
    scaled = code.multiply(code.multiply(factor, x), code.constant(math.sqrt(2 / math.pi)))
    return _gate(code, x, tanh(code, scaled))


FUNCTIONS: dict[str, Callable[..., str]] = {
    "copy": lambda code, x: x,
    "square": lambda code, x: code.multiply(x, x),
    "relu": lambda code, x: code.maximum(x, code.constant(0)),
    "abs": lambda code, x: code.magnitude(x),
    "exp": exp,
    "sigmoid": sigmoid,
    "silu": silu,
    "tanh": tanh,
    "erf": erf,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "reciprocal": lambda code, x: code.divide(code.constant(1), x),
}
"""One operand."""

OPERATORS: dict[str, Callable[..., str]] = {
    "add": VectorCode.add,
    "subtract": VectorCode.subtract,
    "multiply": VectorCode.multiply,
    "divide": VectorCode.divide,
    "max": VectorCode.maximum,
    "min": VectorCode.minimum,
}
"""Two operands."""
