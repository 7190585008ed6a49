"""Stochastic rounding: to one of the two neighbours, the nearer the likelier.

Source: machine.md#rounding (rounding-modes.rst: the probability is proportional to the distance).
The bits that decide are ours: the hardware's generator is not published
(machine.md#what-is-not-published).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from axonc.backends.numerics.dtypes import DType


@dataclass(frozen=True)
class FloatFormat:
    """What rounding has to know of a float type."""

    mantissa_bits: int
    """Explicit bits of the mantissa."""
    min_exponent: int
    """The exponent of the smallest normal number, a power of 2."""


FLOAT_FORMATS: dict[str, FloatFormat] = {
    "f32": FloatFormat(23, -126),
    "tf32": FloatFormat(10, -126),
    "bf16": FloatFormat(7, -126),
    "f16": FloatFormat(10, -14),
    "f8e5m2": FloatFormat(2, -14),
    "f8e4m3": FloatFormat(3, -6),
    "f8e3m4": FloatFormat(4, -2),
}


def round_stochastically(array: np.ndarray, dtype: DType, rng: np.random.Generator) -> np.ndarray:
    """float32 whose values `dtype` can hold, each a neighbour of the one in `array`.

    Above the largest finite value the next neighbour is the power of two after it, which the cast
    turns into an infinity (assumed). Draws one random number per element.
    """
    magnitude = np.abs(array.astype(np.float64))
    exponents = _quantum_exponents(magnitude, dtype)
    with np.errstate(invalid="ignore"):  # infinities and NaNs pass through unchanged
        scaled = np.ldexp(magnitude, -exponents)
        lower = np.floor(scaled)
        lower += rng.random(array.shape) < scaled - lower
        rounded = np.ldexp(lower, exponents)
    with np.errstate(over="ignore"):
        return np.copysign(rounded, array).astype(np.float32)


def _quantum_exponents(magnitude: np.ndarray, dtype: DType) -> np.ndarray:
    """Exponent of the distance between the neighbours around each value."""
    if not dtype.is_float:
        return np.zeros(magnitude.shape, np.int32)
    layout = FLOAT_FORMATS[dtype.name]
    exponents = np.frexp(magnitude)[1] - 1  # 1 <= value / 2^exponent < 2
    return np.maximum(exponents, layout.min_exponent) - layout.mantissa_bits
