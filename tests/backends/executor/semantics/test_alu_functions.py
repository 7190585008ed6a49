"""Every ALU operator on edge values, against float64 or Python's integers."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.executor.semantics.alu import (
    BIT_FUNCTIONS,
    FLOAT_FUNCTIONS,
    INTEGER_EXACT,
    INTEGER_FUNCTIONS,
    REDUCTIONS,
)
from axonc.backends.isa.alu import ALU_BY_CODE, ALU_BY_NAME, ALU_OPS, AluKind

EDGES = np.array(
    [
        *(0.0, 1.0, 1.5, 2.0, 3.0, 0.1, 5.75, 1e-40, 1e-45, 1.1754944e-38, 3.4028235e38),
        *(-0.0, -1.0, -1.5, -2.0, -3.0, -0.1, -5.75, -1e-40, -3.4028235e38),
        *(16777216.0, 16777215.0, np.inf, -np.inf, np.nan),
    ],
    np.float32,
)
FIRST, SECOND = (grid.reshape(-1) for grid in np.meshgrid(EDGES, EDGES))


def _python_mod(a: float, b: float) -> float:
    """a % b with the sign of b, NaN where IEEE has no remainder."""
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or b == 0:
        return math.nan
    return a % b


def _nan_or(function: Callable[[float, float], float]) -> Callable[[float, float], float]:
    return lambda a, b: math.nan if math.isnan(a) or math.isnan(b) else function(a, b)


EXACT: dict[str, Callable] = {
    "bypass": lambda a, b: a,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: np.divide(a, b),
    "max": np.vectorize(_nan_or(max)),
    "min": np.vectorize(_nan_or(min)),
    "mod": np.vectorize(_python_mod),
    "abs_max": np.vectorize(lambda a, b: a if abs(a) > abs(b) else b),
    "abs_min": np.vectorize(lambda a, b: a if abs(a) < abs(b) else b),
    "abs": lambda a, b: np.abs(a),
    "square": lambda a, b: a * a,
    "relu": np.vectorize(lambda a, b: math.nan if math.isnan(a) else max(a, 0.0)),
    "reciprocal": lambda a, b: np.divide(1.0, a),
    "is_equal": np.vectorize(lambda a, b: float(a == b)),
    "not_equal": np.vectorize(lambda a, b: float(a != b)),
    "is_ge": np.vectorize(lambda a, b: float(a >= b)),
    "is_gt": np.vectorize(lambda a, b: float(a > b)),
    "is_le": np.vectorize(lambda a, b: float(a <= b)),
    "is_lt": np.vectorize(lambda a, b: float(a < b)),
    "logical_and": np.vectorize(lambda a, b: float(a != 0 and b != 0)),
    "logical_or": np.vectorize(lambda a, b: float(a != 0 or b != 0)),
    "logical_xor": np.vectorize(lambda a, b: float((a != 0) != (b != 0))),
    "logical_not": np.vectorize(lambda a, b: float(a == 0)),
}
"""In float64: rounding its result to float32 once more is harmless for these operators."""

CLOSE = {"pow": lambda a, b: np.power(a, b), "rsqrt": lambda a, b: 1 / np.sqrt(a)}


@pytest.mark.parametrize("op", sorted(EXACT))
def test_float_operator_is_correctly_rounded(op: str) -> None:
    with np.errstate(all="ignore"):
        expected = EXACT[op](FIRST.astype(np.float64), SECOND.astype(np.float64))
        expected = np.asarray(expected, np.float64).astype(np.float32)
        found = FLOAT_FUNCTIONS[op](FIRST, SECOND)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("op", sorted(CLOSE))
def test_float_operator_within_two_ulp(op: str) -> None:
    with np.errstate(all="ignore"):
        expected = CLOSE[op](FIRST.astype(np.float64), SECOND.astype(np.float64))
        found = FLOAT_FUNCTIONS[op](FIRST, SECOND).astype(np.float64)
        rounded = expected.astype(np.float32)
        ulp = np.spacing(np.abs(rounded)).astype(np.float64)
    finite = np.isfinite(rounded)
    assert np.array_equal(found[~finite], rounded[~finite], equal_nan=True)
    assert (np.abs(found[finite] - expected[finite]) <= 2 * ulp[finite]).all()


def test_signed_zeros_are_kept() -> None:
    zeros = np.array([-0.0], np.float32)
    for op in ("add", "bypass", "subtract"):
        other = np.array([0.0 if op == "subtract" else -0.0], np.float32)
        assert np.signbit(FLOAT_FUNCTIONS[op](zeros, other)[0])


WORDS = [0, 1, 2, 3, 7, -1, -2, -3, 2**24 + 1, -(2**24) - 1, 2**31 - 1, -(2**31), 12345, -54321]

INTEGERS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "mod": lambda a, b: a if b == 0 else a % b,
    "pow": lambda a, b: a**b if b >= 0 else (0 if a == 0 else math.trunc(float(a) ** b)),
    "max": max,
    "min": min,
    "abs_max": lambda a, b: a if abs(a) > abs(b) else b,
    "abs_min": lambda a, b: a if abs(a) < abs(b) else b,
    "bypass": lambda a, b: a,
    "abs": lambda a, b: abs(a),
    "square": lambda a, b: a * a,
    "relu": lambda a, b: max(a, 0),
    "is_equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "is_ge": lambda a, b: a >= b,
    "is_gt": lambda a, b: a > b,
    "is_le": lambda a, b: a <= b,
    "is_lt": lambda a, b: a < b,
    "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_or": lambda a, b: bool(a) or bool(b),
    "logical_xor": lambda a, b: bool(a) != bool(b),
    "logical_not": lambda a, b: not a,
}


def wrapped(value: int) -> int:
    """`value` modulo 2^32 as a signed number."""
    return (int(value) + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("op", sorted(INTEGERS))
def test_integer_operator_is_exact_modulo_2_to_32(op: str) -> None:
    exponents = [b for b in WORDS if abs(b) < 20] if op == "pow" else WORDS
    pairs = [(a, b) for a in WORDS for b in exponents]
    first, second = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    found = INTEGER_FUNCTIONS[op](first, second).astype(np.int32)
    assert found.tolist() == [wrapped(INTEGERS[op](a, b)) for a, b in pairs]


def test_every_exact_operator_is_tested() -> None:
    assert INTEGER_EXACT == set(INTEGERS)


@pytest.mark.parametrize("width", [8, 16, 32])
def test_bit_operators(width: int) -> None:
    mask = (1 << width) - 1
    values = [0, 1, 2, 5, mask, mask >> 1, (mask >> 1) + 1, 0x5A & mask]
    amounts = [0, 1, 3, width - 1, width, width + 1, mask]
    expected = {
        "bitwise_and": lambda a, b: a & b,
        "bitwise_or": lambda a, b: a | b,
        "bitwise_xor": lambda a, b: a ^ b,
        "bitwise_not": lambda a, b: ~a & mask,
        "logical_shift_left": lambda a, b: (a << b) & mask if b < width else 0,
        "logical_shift_right": lambda a, b: a >> b,
        "bypass": lambda a, b: a,
    }
    assert set(expected) == set(BIT_FUNCTIONS)
    pairs = [(a, b) for a in values for b in amounts]
    first, second = (np.array(side, f"u{width // 8}") for side in zip(*pairs, strict=True))
    for op, reference in expected.items():
        found = BIT_FUNCTIONS[op](first, second)
        assert found.dtype == first.dtype
        assert found.tolist() == [reference(a, b) for a, b in pairs], op


def test_the_table_and_the_functions_agree() -> None:
    for op in ALU_OPS:
        functions = BIT_FUNCTIONS if op.kind is AluKind.BITVEC else FLOAT_FUNCTIONS
        assert op.name in functions
        assert not op.reduces or op.name in REDUCTIONS or op.name == "subtract"
    assert len(ALU_BY_NAME) == len(ALU_BY_CODE) == len(ALU_OPS)
    assert set(FLOAT_FUNCTIONS) | set(BIT_FUNCTIONS) == set(ALU_BY_NAME)
    assert set(EXACT) | set(CLOSE) == set(FLOAT_FUNCTIONS)
