"""What the functions of ScalarE compute, in float32.

The hardware evaluates piece-wise polynomials that are not published; these are the mathematical
functions, each within 4 units in the last place or 2e-7 * max(1, |x|), whichever is larger
(tests/backends/executor/semantics/test_activation.py). At infinities the limit is taken, so
silu(-inf) is 0. Outside a function's valid range (backends/isa/activation_functions.py) the
hardware gives garbage; here the result is NaN (assumed: garbage that is noticed).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from axonc.backends.isa.activation_functions import (
    ACTIVATION_BY_NAME,
    ACTIVATION_FUNCTIONS,
    EVERYWHERE,
    Interval,
)
from axonc.backends.numerics.error_function import erf

Unary = Callable[[np.ndarray], np.ndarray]

_ZERO, _HALF, _ONE, _TWO = (np.float32(value) for value in (0, 0.5, 1, 2))
_LARGE = np.float32(1e38)  # finite stand-in for infinity, as 0 * infinity is NaN
_SQRT_HALF = np.float32(math.sqrt(0.5))
_SQRT_2_OVER_PI = np.float32(math.sqrt(2 / math.pi))
_INV_SQRT_2PI = np.float32(1 / math.sqrt(2 * math.pi))
_TWO_OVER_SQRT_PI = np.float32(2 / math.sqrt(math.pi))
_GELU_CUBE = np.float32(0.044715)
_GELU_SIGMOID = np.float32(1.702)
_MISH_LINEAR = np.float32(20)  # from here tanh(softplus(x)) is 1 in float32


def _finite(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -_LARGE, _LARGE)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    result = np.exp(-x)
    result += _ONE
    return np.divide(_ONE, result, out=result)


def _times_sigmoid(x: np.ndarray, factor: np.float32) -> np.ndarray:
    result = np.exp(x * -factor)
    result += _ONE
    return np.divide(np.maximum(x, -_LARGE), result, out=result)


def _times_sigmoid_dx(x: np.ndarray, factor: np.float32) -> np.ndarray:
    """Derivative of x * sigmoid(factor * x): s + factor * x * s * sigmoid(-factor * x)."""
    x = _finite(x)
    s = _sigmoid(x * factor)
    return s + factor * x * s * _sigmoid(x * -factor)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, _ZERO) + np.log1p(np.exp(-np.abs(x)))


def _mish(x: np.ndarray) -> np.ndarray:
    """tanh(log(1 + e)) = n / (n + 2) with n = e * (e + 2)."""
    e = np.exp(np.minimum(x, _MISH_LINEAR))
    n = e * (e + _TWO)
    return np.maximum(x, -_LARGE) * (n / (n + _TWO))


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    result = erf(x * _SQRT_HALF)
    result += _ONE
    result *= _HALF
    return result


def _gelu(x: np.ndarray) -> np.ndarray:
    result = _normal_cdf(x)
    result *= np.maximum(x, -_LARGE)
    return result


def _gelu_dx(x: np.ndarray) -> np.ndarray:
    x = _finite(x)
    return _normal_cdf(x) + x * (np.exp(x * x * -_HALF) * _INV_SQRT_2PI)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    result = x * x
    result *= _GELU_CUBE
    result += _ONE
    result *= x
    result *= _SQRT_2_OVER_PI
    np.tanh(result, out=result)
    result += _ONE
    result *= _HALF
    result *= np.maximum(x, -_LARGE)
    return result


FUNCTIONS: dict[str, Unary] = {
    "copy": lambda x: x,
    "square": np.square,
    "relu": lambda x: np.maximum(x, _ZERO) + _ZERO,  # of -0: 0
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "log": np.log,
    "softplus": _softplus,
    "mish": _mish,
    "sigmoid": _sigmoid,
    "silu": lambda x: _times_sigmoid(x, _ONE),
    "silu_dx": lambda x: _times_sigmoid_dx(x, _ONE),
    "tanh": np.tanh,
    "gelu": _gelu,
    "gelu_dx": _gelu_dx,
    "gelu_tanh": _gelu_tanh,
    "gelu_sigmoid": lambda x: _times_sigmoid(x, _GELU_SIGMOID),
    "gelu_sigmoid_dx": lambda x: _times_sigmoid_dx(x, _GELU_SIGMOID),
    "erf": erf,
    "erf_dx": lambda x: np.exp(-x * x) * _TWO_OVER_SQRT_PI,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: _ONE / np.sqrt(x),
    "reciprocal": lambda x: _ONE / x,
    "sin": np.sin,
    "arctan": np.arctan,
}
"""float32 array -> float32 array, the mathematical function on the whole line."""

_LIMITED = {f.name: f.valid for f in ACTIVATION_FUNCTIONS if f.valid != EVERYWHERE}


def evaluate(name: str, x: np.ndarray, report: Callable[[str], None] | None = None) -> np.ndarray:
    """Function `name` of float32 `x` as ScalarE gives it: NaN outside the valid range.

    report: called with one sentence if some element (that is not NaN already) is outside.
    """
    result = FUNCTIONS[name](x)
    if name not in _LIMITED:
        return result
    outside = ~inside(x, _LIMITED[name])
    if not outside.any():
        return result
    if report is not None:
        _report_outside(name, x[outside], report)
    return np.where(outside, np.float32(np.nan), result)


def inside(x: np.ndarray, intervals: tuple[Interval, ...]) -> np.ndarray:
    """Which elements lie in one of the closed intervals; the limits are rounded to float32."""
    result = (x >= np.float32(intervals[0][0])) & (x <= np.float32(intervals[0][1]))
    for low, high in intervals[1:]:
        result |= (x >= np.float32(low)) & (x <= np.float32(high))
    return result


def _report_outside(name: str, values: np.ndarray, report: Callable[[str], None]) -> None:
    numbers = values[~np.isnan(values)]
    if numbers.size:
        limits = " or ".join(f"[{low:g}, {high:g}]" for low, high in ACTIVATION_BY_NAME[name].valid)
        report(
            f"activation {name}: {numbers.size} input(s) outside its valid range {limits}, "
            f"for example {numbers[0]:g}; the hardware's result is garbage"
        )
