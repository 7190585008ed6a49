"""What the ALU operators compute: float32 functions, integer functions, bit functions.

Names and kinds are those of backends/isa/alu.py. Comparisons and logical operators give 1 or 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from axonc.backends.isa.alu import ALU_BY_NAME, AluKind
from axonc.backends.numerics.signed_zeros import maximum, minimum
from axonc.diagnostics import ExecutionError

Binary = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ZERO, _ONE = np.float32(0), np.float32(1)


def _truth(function: Callable[..., np.ndarray]) -> Binary:
    """`function`, whose result is a bool array, with 1.0 and 0.0 as results."""

    def as_float32(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return function(a, b).astype(np.float32)

    return as_float32


def _larger_magnitude(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.abs(a) > np.abs(b), a, b)


def _smaller_magnitude(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.abs(a) < np.abs(b), a, b)


FLOAT_FUNCTIONS: dict[str, Binary] = {
    "bypass": lambda a, b: a,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "max": maximum,
    "min": minimum,
    "pow": np.power,
    "mod": np.mod,
    "abs_max": _larger_magnitude,
    "abs_min": _smaller_magnitude,
    "abs": lambda a, b: np.abs(a),
    "square": lambda a, b: np.square(a),
    "relu": lambda a, b: np.maximum(a, _ZERO) + _ZERO,
    "rsqrt": lambda a, b: _ONE / np.sqrt(a),
    "reciprocal": lambda a, b: _ONE / a,
    "is_equal": _truth(np.equal),
    "not_equal": _truth(np.not_equal),
    "is_ge": _truth(np.greater_equal),
    "is_gt": _truth(np.greater),
    "is_le": _truth(np.less_equal),
    "is_lt": _truth(np.less),
    "logical_and": _truth(np.logical_and),
    "logical_or": _truth(np.logical_or),
    "logical_xor": _truth(np.logical_xor),
    "logical_not": _truth(lambda a, b: np.logical_not(a)),
}
"""float32 arrays (or scalars) -> float32 array; correctly rounded, but pow and rsqrt (2 ulp)."""


def _integer_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quotient rounded towards zero; -1 when b is 0 (assumed)."""
    quotient = np.abs(a) // np.where(b == 0, 1, np.abs(b))
    return np.where(b == 0, -1, np.where((a < 0) != (b < 0), -quotient, quotient))


def _integer_mod(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Remainder with the sign of b; a when b is 0 (assumed)."""
    return np.where(b == 0, a, a % np.where(b == 0, 1, b))


def _integer_power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a^b modulo 2^64; for b < 0 the quotient 1 / a^-b rounded towards zero (0 when a is 0)."""
    inverse = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0))
    return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0)))


INTEGER_FUNCTIONS: dict[str, Binary] = FLOAT_FUNCTIONS | {
    "divide": _integer_divide,
    "mod": _integer_mod,
    "pow": _integer_power,
    "max": np.maximum,
    "min": np.minimum,
    "relu": lambda a, b: np.maximum(a, 0),
}
"""int64 arrays that hold 32-bit integers -> the exact result, or 1.0 and 0.0 of comparisons.

Only `INTEGER_EXACT` names may be looked up; sums and products are exact modulo 2^64.
"""

INTEGER_EXACT = frozenset(INTEGER_FUNCTIONS) - {"rsqrt", "reciprocal"}
"""Operators that GpSimdE computes on integers without going through float32 (machine.md#arithmetic
names add, subtract, multiply and power; the others are assumed: the engine is programmable)."""


def _shift_left(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    width = a.dtype.itemsize * 8
    return np.where(b < width, a << np.minimum(b, width - 1), np.zeros((), a.dtype))


def _shift_right(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    width = a.dtype.itemsize * 8
    return np.where(b < width, a >> np.minimum(b, width - 1), np.zeros((), a.dtype))


BIT_FUNCTIONS: dict[str, Binary] = {
    "bypass": lambda a, b: a,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_not": lambda a, b: np.invert(a),
    "logical_shift_left": _shift_left,
    "logical_shift_right": _shift_right,
}
"""Arrays of one unsigned type -> array of that type."""

REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "multiply": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}
"""ufuncs whose `reduce` is the operator's reduction; `subtract` is first minus the rest."""


UNARY = frozenset(op.name for op in ALU_BY_NAME.values() if op.arity == 1)
"""Operators that ignore their second operand."""


def is_bitvec(op: str) -> bool:
    """Whether `op` works on bit patterns."""
    return ALU_BY_NAME[op].kind is AluKind.BITVEC


_SHORT_ROW = 8
"""numpy reduces so few neighbours slower than whole arrays; the result is the same."""


def reduce_last_axis(op: str, array: np.ndarray) -> np.ndarray:
    """`op` over the last axis, left to right in meaning; float32 sums are pairwise (numpy's order).

    The hardware's order of additions is not published; pairwise is at least as accurate as any.
    """
    if op == "subtract":
        return array[..., 0] - np.add.reduce(array[..., 1:], axis=-1)
    if op in ("max", "min") and 1 < array.shape[-1] <= _SHORT_ROW:
        parts = [array[..., n] for n in range(array.shape[-1])]
        return functools.reduce(REDUCTIONS[op], parts)
    return REDUCTIONS[op].reduce(array, axis=-1)


def as_unsigned(array: np.ndarray) -> np.ndarray:
    """The bits of an integer array as unsigned numbers of the same width."""
    return array.view(f"u{array.dtype.itemsize}")


def integer_immediate(value: float, op: str) -> int:
    """A float32 immediate of a bit or integer operator, which must be a whole number."""
    if not float(value).is_integer():
        raise ExecutionError(
            f"immediate {value} of {op} is not an integer",
            hint="bitwise operators take whole numbers; use a [P, 1] tile for other bit patterns",
        )
    return int(value)
