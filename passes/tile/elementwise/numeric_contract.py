"""What each float operation promises over its whole domain, as data.

docs/reference/numerics.md is generated from here, and tests/passes/tile/test_numeric_contract.py
holds the executor to it: all 2^16 values of bf16 and f16, and float32 values spread over all bit
patterns.
"""

from __future__ import annotations

from dataclasses import dataclass

EVERY = "as IEEE 754"
EITHER = "either"


@dataclass(frozen=True)
class Promise:
    """What one op promises of its results."""

    op: str
    """The op's name, without its dialect."""
    units: float
    """The largest error in units in the last place of the float32 result (0.5: correctly rounded;
    0: exact)."""
    absolute: float
    """Errors up to here are allowed, too."""
    zeros: str
    """The sign of results that are zero."""
    special: str
    """Results for NaN and infinities, or at them."""
    by: str
    """What computes it."""
    operands: int = 1

    @property
    def text(self) -> str:
        """The error in words."""
        words = _UNITS.get(self.units, f"{self.units:g} ULP")
        if not self.absolute:
            return words
        return f"{words} or {self.absolute:g}" if self.units else f"{self.absolute:g}"


_UNITS = {0: "exact", 0.5: "correctly rounded"}
_ODD = "sign of x"
_LIMITS = "the limits at infinity; NaN for NaN"

PROMISES: tuple[Promise, ...] = (
    Promise("abs", 0, 0, "+0", EVERY, "VectorE or ScalarE `abs`"),
    Promise("negate", 0, 0, "the other zero", EVERY, "a product with -1"),
    Promise("sign", 0, 0, _ODD, EVERY, "ScalarE `sign`, the sign bit by VectorE"),
    Promise("relu", 0, 0, "+0", EVERY, "VectorE or ScalarE `relu`"),
    Promise("round_even", 0, 0, _ODD, EVERY, "a store as i32, the sign bit by VectorE"),
    Promise("floor", 0, 0, _ODD, EVERY, "`round_even`, less 1 where that is above x"),
    Promise("ceil", 0, 0, _ODD, EVERY, "`round_even`, plus 1 where that is below x"),
    Promise("square", 0.5, 0, "+0", EVERY, "VectorE or ScalarE `square`"),
    Promise("reciprocal", 0.5, 0, _ODD, EVERY, "VectorE `reciprocal`"),
    Promise("sqrt", 2, 0, _ODD, EVERY, "GpSimdE `pow`"),
    Promise("cbrt", 2, 0, _ODD, EVERY, "`exp` of a third of `log`, two Newton steps"),
    Promise("rsqrt", 2, 0, "+0", EVERY, "GpSimdE `rsqrt`"),
    Promise("exp", 4, 0, "+0", EVERY, "ScalarE `exp`"),
    Promise("expm1", 10, 0, _ODD, EVERY, "a polynomial below 0.25, `exp` above"),
    Promise("log", 4, 0, "+0", EVERY, "ScalarE `log`; of x^(1/4) outside of its range"),
    Promise("log1p", 8, 0, _ODD, EVERY, "`log` of 1 + x and what rounding that took away"),
    Promise("logistic", 4, 1e-38, "+0", _LIMITS, "ScalarE `sigmoid`"),
    Promise("tanh", 4, 0, _ODD, _LIMITS, "ScalarE `tanh`"),
    Promise("erf", 4, 2e-7, _ODD, _LIMITS, "ScalarE `erf`"),
    Promise("erfc", 64, 0, "+0", _LIMITS, "`erf` below 1, `exp` times a polynomial above"),
    Promise("gelu", 4, 4e-7, EITHER, _LIMITS, "ScalarE `gelu`"),
    Promise("gelu_tanh", 4, 4e-7, EITHER, _LIMITS, "ScalarE `gelu_tanh`"),
    Promise("silu", 4, 1e-36, EITHER, _LIMITS, "ScalarE `silu`"),
    Promise("sine", 0, 5e-7, "sign of x at zeros", "NaN for both", "ScalarE `sin` of x less turns"),
    Promise("cosine", 0, 5e-7, "none", "NaN for both", "ScalarE `sin` of x less turns"),
    Promise("add", 0.5, 0, EVERY, EVERY, "VectorE `add`", 2),
    Promise("subtract", 0.5, 0, EVERY, EVERY, "VectorE `subtract`", 2),
    Promise("multiply", 0.5, 0, EVERY, EVERY, "VectorE `multiply`", 2),
    Promise("divide", 0.5, 0, EVERY, EVERY, "VectorE `divide`", 2),
    Promise("maximum", 0, 0, "+0 above -0", "NaN if one is", "VectorE `max`", 2),
    Promise("minimum", 0, 0, "-0 below +0", "NaN if one is", "VectorE `min`", 2),
    Promise(
        "remainder", 0, 0, "sign of a", EVERY, "exact steps of 12 bits; GpSimdE, VectorE `mod`", 2
    ),
    Promise("atan2", 8, 0, "sign of y", EVERY, "ScalarE `arctan` of a quotient up to 1", 2),
    Promise("power", 4, 0, EVERY, EVERY, "GpSimdE `pow`", 2),
)
"""Sums, products and softmax, norms and other reductions are not here: their error depends on how
many numbers they take together."""
