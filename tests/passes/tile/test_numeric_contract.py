"""The executor keeps what docs/reference/numerics.md promises, over the whole range of each
type."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from neuron_graphs import Graph, run
from source_tree import ROOT

from axonc.dialects.attributes import NUMPY_DTYPES
from axonc.dialects.neuron.table import ELEMENTWISE, FLOAT
from axonc.passes.tile.elementwise.float_rewrites import FLOAT_OPS
from axonc.passes.tile.elementwise.numeric_contract import EITHER, PROMISES, Promise
from axonc.tools import gen_docs
from axonc.tools.numerics_page import numerics_page

UNARY = [p for p in PROMISES if p.operands == 1]
BINARY = [p for p in PROMISES if p.operands == 2]
DIGITS = {"f32": 24, "bf16": 8, "f16": 11}
LEAST_EXPONENT = {"f32": -126, "bf16": -126, "f16": -14}
ROWS = 128


EXACT: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "atan2": np.arctan2,
    "ceil": np.ceil,
    "cosine": np.cos,
    "exp": np.exp,
    "expm1": np.expm1,
    "floor": np.floor,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "negate": np.negative,
    "reciprocal": np.reciprocal,
    "relu": lambda x: np.where(x <= 0, 0.0, x),
    "remainder": np.fmod,
    "round_even": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sign": lambda x: np.where(x == 0, x, np.sign(x)),
    "sine": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}
"""float64 functions; the others are those of the operations' table, in float64."""


def all_values(element: str) -> np.ndarray:
    """All numbers of a 16-bit type, [128, 512], as float64."""
    bits = np.arange(2**16, dtype=np.uint16)
    return bits.view(NUMPY_DTYPES[element]).astype(np.float64).reshape(ROWS, -1)


def spread_values(count: int, first: int = 0) -> np.ndarray:
    """float32 values at equal distances among all bit patterns, [128, count / 128]."""
    step = 2**32 // count
    bits = (np.arange(count, dtype=np.uint64) * step + first % step).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64).reshape(ROWS, -1)


def unit(x: np.ndarray, element: str) -> np.ndarray:
    """The distance of neighbouring numbers of the type around x."""
    exponent = np.frexp(np.where(np.isfinite(x), x, 1.0))[1] - 1
    return 2.0 ** (np.maximum(exponent, LEAST_EXPONENT[element]) - DIGITS[element] + 1)


def allowed(promise: Promise, exact: np.ndarray, element: str) -> np.ndarray:
    """The error allowed: that of float32, and a rounding of a narrower type."""
    wide = np.maximum(promise.units * unit(exact, "f32"), promise.absolute)
    return wide if element == "f32" else wide + 0.5 * unit(exact, element)


def check(promise: Promise, found: np.ndarray, exact: np.ndarray, element: str) -> None:
    found = found.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    finite = np.isfinite(exact) & np.isfinite(found)
    error = np.abs(found - exact, where=finite, out=np.zeros_like(exact))
    excess = error - allowed(promise, exact, element)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess[worst] <= 0, (
        found[worst],
        exact[worst],
        error[worst] / unit(exact, element)[worst],
    )
    largest = float(
        np.finfo(NUMPY_DTYPES[element]).max
        if element != "bf16"
        else ml_dtypes.finfo("bfloat16").max
    )
    overflows = ~np.isnan(exact) & ~finite
    beyond = np.abs(exact) >= largest * (1 - 2.0**-20)
    assert (beyond | ~overflows).all(), "an infinity where a number is due, or the other way round"
    assert (np.sign(found) == np.sign(exact))[overflows].all()
    if promise.zeros == EITHER:
        return
    zeros = (found == 0) & (exact == 0)
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(exact[zeros]))


def apply(name: str, arrays: tuple[np.ndarray, ...], element: str) -> tuple[np.ndarray, np.ndarray]:
    """(what the machine gives, the float64 result)."""
    graph = Graph()
    operands = [graph.input(a, element) for a in arrays]
    with np.errstate(all="ignore"):
        function = EXACT.get(name) or ELEMENTWISE[name].function
        exact = function(*(o.array.astype(np.float64) for o in operands))
    made = graph.fused(operands, arrays[0].shape, lambda r: r.op(name, r.arguments, exact))
    return run(graph, made)[0], exact


@pytest.mark.parametrize("element", ["bf16", "f16"])
@pytest.mark.parametrize("promise", UNARY, ids=lambda p: p.op)
def test_all_values_of_16_bits(promise: Promise, element: str) -> None:
    check(promise, *apply(promise.op, (all_values(element),), element), element)


@pytest.mark.parametrize("promise", UNARY, ids=lambda p: p.op)
def test_spread_float32_values(promise: Promise) -> None:
    check(promise, *apply(promise.op, (spread_values(2**15, 77),), "f32"), "f32")


@pytest.mark.slow
@pytest.mark.parametrize("promise", UNARY, ids=lambda p: p.op)
def test_a_million_float32_values(promise: Promise) -> None:
    for first in range(8):
        values = spread_values(2**17, first * 4099)
        check(promise, *apply(promise.op, (values,), "f32"), "f32")


def pairs(element: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of all sizes with others of all sizes and with near ones."""
    rng = np.random.default_rng(1)
    values = (spread_values(2**14) if element == "f32" else all_values(element)).reshape(-1)
    a, b = rng.permutation(values), rng.permutation(values)
    near = rng.permutation(values) * rng.choice([1, 2, 3, 41, 0.5], values.size)
    return tuple(np.concatenate(v).reshape(ROWS, -1) for v in ((a, values), (b, near)))  # type: ignore[return-value]


@pytest.mark.parametrize("element", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("promise", BINARY, ids=lambda p: p.op)
def test_pairs(promise: Promise, element: str) -> None:
    with np.errstate(all="ignore"):
        operands = pairs(element)
    check(promise, *apply(promise.op, operands, element), element)


def test_every_float_operation_has_a_promise() -> None:
    promised = {p.op for p in PROMISES}
    assert len(promised) == len(PROMISES)
    floats = {name for name, entry in ELEMENTWISE.items() if entry.dtypes & FLOAT}
    assert floats & FLOAT_OPS == promised


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / gen_docs.PAGE).with_name("numerics.md").read_text(encoding="utf-8")
    assert page == numerics_page(), "run: python -m axonc.tools.gen_docs"
