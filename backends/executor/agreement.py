"""How far results of fast mode may lie from those of checked mode.

Both compute what the streams say. Checked mode does it instruction by instruction with numpy; fast
mode joins instructions and compiles them (docs/design/0013), which adds sums in another order and
has an exponential of its own. `tests/run/test_fast_and_checked.py` holds both to every line; the
page docs/reference/numerics.md shows them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Of one kind of operations: |fast - checked| is at most the sum of the parts."""

    what: str
    ulps: float = 0
    """Of the float32 result."""
    of_magnitudes: float = 0
    """Times the sum of what is added, each taken positive; of a row for norms."""
    absolute: float = 0

    @property
    def text(self) -> str:
        parts = [f"{self.ulps:g} ULP"] if self.ulps else []
        parts += [f"{_power(self.of_magnitudes)} Σ\\|x\\|"] if self.of_magnitudes else []
        parts += [_power(self.absolute)] if self.absolute else []
        return " + ".join(parts) or "the same bits"


def _power(number: float) -> str:
    mantissa, exponent = float(number).hex().split("p")
    assert float.fromhex(mantissa + "p0") == 1
    return f"2^{int(exponent)}"


SAME = (
    "integers, booleans; what moves, compares, chooses; sums, products, quotients, roots, "
    "logarithms, sines of elements"
)
EXPONENTIALS = "exponentials; tanh, logistic and silu, which contain one"
GELU = "erf and gelu"
SUMS = "sums and means over dims"
PRODUCTS = "matrix products, convolutions"
SOFTMAX = "softmax"
NORMS = "layer norm, RMS norm"

AGREEMENTS = (
    Agreement(SAME),
    Agreement(EXPONENTIALS, ulps=8),
    Agreement(GELU, ulps=8, absolute=2.0**-20),
    Agreement(SUMS, of_magnitudes=2.0**-22),
    Agreement(PRODUCTS, of_magnitudes=2.0**-21),
    Agreement(SOFTMAX, ulps=32),
    Agreement(NORMS, ulps=8, absolute=2.0**-18),
)

NARROW = 1
"""Units of bf16 or f16 that a result of that type may differ by besides: two float32 numbers next
to each other may be rounded to different sides."""
