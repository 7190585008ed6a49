"""Activation functions against float64, their valid ranges, and the instruction around them."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.executor.native.elementwise_code import Kernel, elementwise_module
from axonc.backends.executor.native.native_code import NativeModule, Task, has_wide_vectors
from axonc.backends.executor.native.vector_code import FUNCTIONS as NATIVE
from axonc.backends.executor.semantics.activation import FUNCTIONS, evaluate, inside
from axonc.backends.isa.activation_functions import (
    ACTIVATION_BY_CODE,
    ACTIVATION_BY_NAME,
    ACTIVATION_FUNCTIONS,
    EVERYWHERE,
)
from axonc.backends.numerics.cast import from_float32
from axonc.backends.numerics.dtypes import DTYPES

Execute = Callable[..., dict[str, np.ndarray]]

ERF = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def cdf(x: np.ndarray) -> np.ndarray:
    return (1 + ERF(x / math.sqrt(2))) / 2


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid_dx(x: np.ndarray, c: float) -> np.ndarray:
    s = sigmoid(c * x)
    return s + c * x * s * (1 - s)


REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "copy": lambda x: x,
    "square": lambda x: x * x,
    "relu": lambda x: np.where(x > 0, x, 0),
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "log": np.log,
    "softplus": lambda x: np.logaddexp(0, x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "silu_dx": lambda x: sigmoid_dx(x, 1.0),
    "tanh": np.tanh,
    "gelu": lambda x: x * cdf(x),
    "gelu_dx": lambda x: cdf(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "gelu_tanh": gelu_tanh,
    "gelu_sigmoid": lambda x: x * sigmoid(1.702 * x),
    "gelu_sigmoid_dx": lambda x: sigmoid_dx(x, 1.702),
    "erf": ERF,
    "erf_dx": lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "sin": np.sin,
    "arctan": np.arctan,
}

NAMES = [f.name for f in ACTIVATION_FUNCTIONS]
LIMITED = [f.name for f in ACTIVATION_FUNCTIONS if f.valid != EVERYWHERE]
WITHOUT_TAIL = {"copy", "square", "relu", "abs", "sign", "exp", "log", "sqrt", "rsqrt", "tanh"}


def samples(name: str) -> np.ndarray:
    """Dense around zero, and every magnitude of the valid range."""
    spread = 10.0 ** np.linspace(-45, 38, 4001)
    x = np.concatenate((np.linspace(-30, 30, 60_001), spread, -spread, [0.0])).astype(np.float32)
    return x[inside(x, ACTIVATION_BY_NAME[name].valid)]


@pytest.mark.parametrize("name", NAMES)
def test_error_bound(name: str) -> None:
    """4 units in the last place, or 2e-7 * max(1, |x|) where a tail cancels."""
    x = samples(name)
    with np.errstate(all="ignore"):
        found = evaluate(name, x)
    assert found.dtype == np.float32
    check_bound(name, x, found)


def check_bound(name: str, x: np.ndarray, found: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        expected = REFERENCES[name](x.astype(np.float64))
        rounded = expected.astype(np.float32)
    finite = np.isfinite(rounded)
    assert np.array_equal(found[~finite], rounded[~finite])
    ulp = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    allowed = 4 * ulp
    if name not in WITHOUT_TAIL:
        allowed = np.maximum(allowed, 2e-7 * np.maximum(1, np.abs(x[finite].astype(np.float64))))
    error = np.abs(found[finite].astype(np.float64) - expected[finite])
    worst = int(np.argmax(error / allowed))
    assert error[worst] <= allowed[worst], (x[finite][worst], error[worst], allowed[worst])


LIMITS = {  # at -inf, at +inf
    "copy": (-np.inf, np.inf),
    "square": (np.inf, np.inf),
    "relu": (0, np.inf),
    "abs": (np.inf, np.inf),
    "sign": (-1, 1),
    "exp": (0, np.inf),
    "softplus": (0, np.inf),
    "mish": (0, np.inf),
    "sigmoid": (0, 1),
    "silu": (0, np.inf),
    "silu_dx": (0, 1),
    "tanh": (-1, 1),
    "gelu": (0, np.inf),
    "gelu_dx": (0, 1),
    "gelu_tanh": (0, np.inf),
    "gelu_sigmoid": (0, np.inf),
    "gelu_sigmoid_dx": (0, 1),
    "erf": (-1, 1),
    "erf_dx": (0, 0),
}


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(LIMITED)))
def test_limits_and_nan(name: str) -> None:
    x = np.array([-np.inf, np.inf, np.nan, -3.4e38, 3.4e38], np.float32)
    with np.errstate(all="ignore"):
        found = evaluate(name, x)
    assert tuple(found[:2].tolist()) == LIMITS[name]
    assert np.isnan(found[2])
    assert not np.isnan(found[3:]).any()


@pytest.mark.parametrize("name", LIMITED)
def test_outside_the_valid_range_is_nan_and_reported(name: str) -> None:
    edges = np.array(ACTIVATION_BY_NAME[name].valid, np.float32)
    reports: list[str] = []
    with np.errstate(all="ignore"):
        assert not np.isnan(evaluate(name, edges, reports.append)).any()
        assert reports == []
        just_outside = np.nextafter(edges.max(), np.float32(np.inf))
        mixed = np.array([just_outside, edges.max(), np.nan], np.float32)
        found = evaluate(name, mixed, reports.append)
    assert np.isnan(found).tolist() == [True, False, True]
    assert len(reports) == 1
    assert reports[0].startswith(f"activation {name}: 1 input(s) outside its valid range [")


def test_zero_is_outside_of_what_has_no_finite_value_there() -> None:
    zero = np.zeros(1, np.float32)
    with np.errstate(all="ignore"):
        for name in ("log", "sqrt", "rsqrt", "reciprocal"):
            assert np.isnan(evaluate(name, zero)).all()


def test_a_nan_alone_is_not_reported() -> None:
    reports: list[str] = []
    evaluate("sqrt", np.array([np.nan, 4.0], np.float32), reports.append)
    assert reports == []


def test_tables_agree() -> None:
    assert set(FUNCTIONS) == set(ACTIVATION_BY_NAME) == set(REFERENCES)
    assert len(ACTIVATION_BY_CODE) == len(ACTIVATION_FUNCTIONS) == len(ACTIVATION_BY_NAME)


X = np.random.default_rng(4).standard_normal((4, 2, 5)).astype(np.float32)
COLUMN = np.array([[0.5], [-1.0], [2.0], [0.25]], np.float32)


def test_instruction_scales_then_adds_then_applies(execute: Execute) -> None:
    found = execute(
        "activation",
        {"src": X, "bias": COLUMN},
        {"dst": (X.shape, "f32")},
        func="tanh",
        scale=0.5,
    )["dst"]
    expected = np.tanh(X.astype(np.float64) * 0.5 + COLUMN.reshape(4, 1, 1))
    assert np.allclose(found, expected, rtol=0, atol=2e-7)


def test_instruction_with_a_scale_tile(execute: Execute) -> None:
    found = execute(
        "activation",
        {"src": X, "scale_tile": COLUMN},
        {"dst": (X.shape, "bf16")},
        func="copy",
        scale=7.0,
    )["dst"]
    assert np.array_equal(found, from_float32(X * COLUMN.reshape(4, 1, 1), DTYPES["bf16"]))


def test_instruction_accumulates_float32_results_before_the_cast(execute: Execute) -> None:
    found = execute(
        "activation",
        {"src": X},
        {"dst": (X.shape, "f8e4m3"), "accumulate": ((4, 1), "f32")},
        func="exp",
    )
    expected = np.exp(X.astype(np.float64)).reshape(4, -1).sum(axis=1, keepdims=True)
    assert np.allclose(found["accumulate"], expected, rtol=1e-6)
    assert np.array_equal(found["dst"], from_float32(np.exp(X), DTYPES["f8e4m3"]))


def test_instruction_copies_words_through_float32(execute: Execute) -> None:
    """ScalarE has no exact copy: integers above 2^24 are rounded (machine.md#arithmetic)."""
    words = np.array([[2**24 + 1, 3]], np.int32)
    found = execute("activation", {"src": words}, {"dst": ((1, 2), "i32")}, func="copy")
    assert found["dst"].tolist() == [[2**24, 3]]


def test_instruction_reports(execute: Execute) -> None:
    reports: list[str] = []
    execute(
        "activation",
        {"src": np.array([[-1.0, 0.5]], np.float32)},
        {"dst": ((1, 2), "f32")},
        func="log",
        report=reports.append,
    )
    assert len(reports) == 1 and "for example -1" in reports[0]


def native(name: str, x: np.ndarray) -> np.ndarray:
    """The function as native code, of one row."""
    kernel = Kernel((name, "r0"), ("f32",), "f32")
    found = np.empty_like(x)
    address, to = x.ctypes.data, found.ctypes.data
    words = [1, 1, x.size, address, 0, 0, to, 0, 0]
    module = NativeModule(elementwise_module(kernel))
    Task.of(words, (x, found)).call(module.function("kernel"))()
    return found


@pytest.mark.skipif(not has_wide_vectors(), reason="this CPU has no 512-bit vectors")
@pytest.mark.parametrize("name", sorted(set(NATIVE) - {"copy", "reciprocal"}))
def test_native_code_has_the_same_bound_and_limits(name: str) -> None:
    x = samples(name)
    check_bound(name, x, native(name, x))
    edges = np.array([-np.inf, np.inf, np.nan, -3.4e38, 3.4e38], np.float32)
    found = native(name, edges)
    assert tuple(found[:2].tolist()) == LIMITS[name]
    assert np.isnan(found[2])
    assert not np.isnan(found[3:]).any()
