"""The elementwise operations of the `neuron` dialect, one entry each. No MLIR in here.

An entry's `function` is the reference semantics on numpy arrays of the computation dtype (float32,
or float64 for a reference run; integers in their own dtype), before rounding to the result type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from axonc.backends.numerics.error_function import erf as _erf_float32
from axonc.backends.numerics.signed_zeros import maximum, minimum, sign

FLOAT = frozenset({"f32", "tf32", "bf16", "f16", "f8E5M2", "f8E4M3", "f8E3M4"})
SIGNED = frozenset({"i8", "i16", "i32"})
UNSIGNED = frozenset({"ui8", "ui16", "ui32"})
INTEGER = SIGNED | UNSIGNED
BOOL = frozenset({"i1"})
NUMBER = FLOAT | INTEGER
ANY = NUMBER | BOOL
"""Spellings of MLIR element types, by kind."""

Evaluator = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Elementwise:
    """One elementwise operation."""

    name: str
    arity: int
    function: Evaluator
    """Numpy semantics."""
    dtypes: frozenset[str]
    """Element types of operands and result."""
    summary: str
    composite: str = ""
    """The StableHLO composite of the same operands and meaning, if front ends write one."""


def erf(x: np.ndarray) -> np.ndarray:
    """Error function in the precision of `x`."""
    if x.dtype == np.float64:
        return np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x
    return _erf_float32(np.asarray(x, np.float32))


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x), precise where that is small."""
    exact = np.vectorize(math.erfc, otypes=[np.float64])(x) if x.size else x
    return np.asarray(exact, x.dtype)


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), Phi the normal distribution, by erf; -inf gives 0 as the limit says."""
    scaled = x * x.dtype.type(math.sqrt(0.5))
    return np.where(np.isneginf(x), 0, 0.5 * x * (1 + erf(scaled))).astype(x.dtype)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh approximation of gelu: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    inner = x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
    return np.where(np.isneginf(x), 0, 0.5 * x * (1 + np.tanh(inner))).astype(x.dtype)


def silu(x: np.ndarray) -> np.ndarray:
    """x * logistic(x); -inf gives 0 as the limit says."""
    return np.where(np.isneginf(x), 0, x * logistic(x)).astype(x.dtype)


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quotient; integers round towards zero, x / 0 is -1 (all bits set) as StableHLO says."""
    if a.dtype.kind == "f":
        return a / b
    safe = np.where(b == 0, 1, b)
    wide = a.astype(np.int64), safe.astype(np.int64)
    quotient = np.abs(wide[0]) // np.abs(wide[1]) * np.sign(wide[0]) * np.sign(wide[1])
    return np.where(b == 0, -1, quotient).astype(a.dtype)


def remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Remainder with the sign of the dividend; integer x % 0 is x as StableHLO says."""
    if a.dtype.kind == "f":
        return np.fmod(a, b)
    return np.where(b == 0, a, np.fmod(a, np.where(b == 0, 1, b))).astype(a.dtype)


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a ** b; a negative integer exponent gives 0, except for the bases 1 and -1."""
    if a.dtype.kind == "f" or b.dtype.kind == "u":
        return a**b
    result = a ** np.maximum(b, 0)
    sign = np.where(b % 2 == 0, 1, a)
    return np.where(b >= 0, result, np.where(np.abs(a) == 1, sign, 0)).astype(a.dtype)


def _shift(operation: Callable[..., np.ndarray], beyond: Evaluator) -> Evaluator:
    """A shift whose distance may reach the width; there, `beyond(a)`."""

    def shifted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        width = a.dtype.itemsize * 8
        inside = (b >= 0) & (b < width)
        return np.where(inside, operation(a, np.where(inside, b, 0)), beyond(a)).astype(a.dtype)

    return shifted


def _shift_right_logical(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    return (a.view(unsigned) >> b.astype(unsigned)).view(a.dtype)


def _unsigned(x: np.ndarray) -> np.ndarray:
    """The bits of integers, as 64-bit natural numbers."""
    return x.view(f"u{x.dtype.itemsize}").astype(np.uint64)


def popcnt(x: np.ndarray) -> np.ndarray:
    """How many bits are set."""
    places = np.arange(8 * x.dtype.itemsize, dtype=np.uint64)
    return ((_unsigned(x)[..., None] >> places) & np.uint64(1)).sum(-1).astype(x.dtype)


def count_leading_zeros(x: np.ndarray) -> np.ndarray:
    """Zero bits above the highest that is set; the width for 0."""
    used = np.frexp(_unsigned(x).astype(np.float64))[1]
    return (8 * x.dtype.itemsize - used).astype(x.dtype)


_ENTRIES = (
    Elementwise("abs", 1, np.abs, NUMBER, "absolute value"),
    Elementwise("cbrt", 1, np.cbrt, FLOAT, "cube root, of negative numbers too"),
    Elementwise("ceil", 1, np.ceil, FLOAT, "smallest integer not below x"),
    Elementwise("cosine", 1, np.cos, FLOAT, "cos(x)"),
    Elementwise("erf", 1, erf, FLOAT, "error function", composite="chlo.erf"),
    Elementwise("erfc", 1, erfc, FLOAT, "1 - erf(x)", composite="chlo.erfc"),
    Elementwise("exp", 1, np.exp, FLOAT, "e ** x"),
    Elementwise("expm1", 1, np.expm1, FLOAT, "e ** x - 1, precise near 0"),
    Elementwise("floor", 1, np.floor, FLOAT, "largest integer not above x"),
    Elementwise("gelu", 1, gelu, FLOAT, "x * Phi(x), by erf"),
    Elementwise("gelu_tanh", 1, gelu_tanh, FLOAT, "gelu by its tanh approximation"),
    Elementwise("log", 1, np.log, FLOAT, "natural logarithm"),
    Elementwise("log1p", 1, np.log1p, FLOAT, "log(1 + x), precise near 0"),
    Elementwise("logistic", 1, logistic, FLOAT, "1 / (1 + exp(-x))"),
    Elementwise("negate", 1, np.negative, NUMBER, "-x"),
    Elementwise("not", 1, np.invert, INTEGER | BOOL, "bitwise complement; logical for i1"),
    Elementwise("count_leading_zeros", 1, count_leading_zeros, INTEGER, "zero bits from the top"),
    Elementwise("popcnt", 1, popcnt, INTEGER, "how many bits are set"),
    Elementwise("reciprocal", 1, np.reciprocal, FLOAT, "1 / x"),
    Elementwise("relu", 1, lambda x: maximum(x, x.dtype.type(0)), NUMBER, "max(x, 0)"),
    Elementwise("round_even", 1, np.rint, FLOAT, "nearest integer, ties to even"),
    Elementwise("rsqrt", 1, lambda x: 1 / np.sqrt(x), FLOAT, "1 / sqrt(x)"),
    Elementwise("sign", 1, sign, NUMBER, "-1, 0 or 1; NaN for NaN"),
    Elementwise("silu", 1, silu, FLOAT, "x * logistic(x)"),
    Elementwise("sine", 1, np.sin, FLOAT, "sin(x)"),
    Elementwise("sqrt", 1, np.sqrt, FLOAT, "square root"),
    Elementwise("square", 1, np.square, NUMBER, "x * x"),
    Elementwise("tanh", 1, np.tanh, FLOAT, "hyperbolic tangent"),
    Elementwise("add", 2, np.add, NUMBER, "a + b; integers wrap"),
    Elementwise("subtract", 2, np.subtract, NUMBER, "a - b; integers wrap"),
    Elementwise("multiply", 2, np.multiply, NUMBER, "a * b; integers wrap"),
    Elementwise("divide", 2, divide, NUMBER, "a / b; integers round towards zero"),
    Elementwise("maximum", 2, maximum, ANY, "larger one; NaN if either is; or for i1"),
    Elementwise("minimum", 2, minimum, ANY, "smaller one; NaN if either is; and for i1"),
    Elementwise("power", 2, power, NUMBER, "a ** b"),
    Elementwise("remainder", 2, remainder, NUMBER, "remainder, sign of a"),
    Elementwise("atan2", 2, np.arctan2, FLOAT, "angle of the point (b, a)"),
    Elementwise("and", 2, np.bitwise_and, INTEGER | BOOL, "bitwise and"),
    Elementwise("or", 2, np.bitwise_or, INTEGER | BOOL, "bitwise or"),
    Elementwise("xor", 2, np.bitwise_xor, INTEGER | BOOL, "bitwise exclusive or"),
    Elementwise(
        "shift_left", 2, _shift(np.left_shift, np.zeros_like), INTEGER, "a << b, 0 beyond the width"
    ),
    Elementwise(
        "shift_right_logical",
        2,
        _shift(_shift_right_logical, np.zeros_like),
        INTEGER,
        "a >> b filling zeros, 0 beyond the width",
    ),
    Elementwise(
        "shift_right_arithmetic",
        2,
        _shift(np.right_shift, lambda a: np.where(a < 0, -1, 0)),
        INTEGER,
        "a >> b filling the sign",
    ),
)

ELEMENTWISE: dict[str, Elementwise] = {entry.name: entry for entry in _ENTRIES}
"""Operations whose operands and result all have one type. `compare`, `select` and `convert` are
elementwise too, as `bitcast` is, but their types differ; see `ELEMENTWISE_OPS` of
axonc.dialects.neuron.ops."""

COMPOSITES = (
    *(entry.composite for entry in _ENTRIES if entry.composite),
    "axonc.gelu",
    "axonc.softmax",
    "axonc.layer_norm",
    "axonc.rms_norm",
)
"""StableHLO composites with a neuron operation of the same meaning: they stay whole until they are
legalized."""

COMPARISONS: dict[str, Evaluator] = {
    "EQ": np.equal,
    "NE": np.not_equal,
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
}
"""What `compare` does, by `direction`."""

REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "sum": np.add.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "product": np.multiply.reduce,
    "and": np.bitwise_and.reduce,
    "or": np.bitwise_or.reduce,
}
"""What `reduce` does, by `kind`."""

SCATTERED: dict[str, frozenset[str]] = {"set": ANY, "add": NUMBER, "max": ANY, "min": ANY}
"""Element types of `scatter_rows`, by `kind`."""

COLLECTIVES = frozenset(
    f"neuron.{name}"
    for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute")
)
"""Operations in which cores communicate: never dropped, though nothing reads the result here, as
another core waits for this one."""

CORE_REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "sum": np.add,
    "max": np.maximum,
    "min": np.minimum,
}
"""What `all_reduce` and `reduce_scatter` do, by `kind`."""
