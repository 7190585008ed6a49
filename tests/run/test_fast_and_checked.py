"""Fast and checked mode agree as `axonc.backends.executor.agreement` says, type by type, with
native code and without."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import axonc
from axonc.backends.executor import agreement, machine

RNG = np.random.default_rng(0)
TYPES = {"f32": np.float32, "bf16": ml_dtypes.bfloat16, "f16": np.float16}
BOUNDS = {row.what: row for row in agreement.AGREEMENTS}
Function = Callable[..., jax.Array]


def norm(x: jax.Array, y: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(centred.var(-1, keepdims=True) + 1e-5)).astype(x.dtype)


FUNCTIONS: dict[str, dict[str, Function]] = {
    agreement.SAME: {
        "arithmetic": lambda x, y: (x + y * x - y) / y,
        "root": lambda x, y: jnp.sqrt(y) + jax.lax.rsqrt(y),
        "log and sine": lambda x, y: jnp.log(y) + jnp.sin(x),
        "largest": lambda x, y: x.max(-1) + jnp.where(x[:, 0] > y[:, 0], x[:, 1], y[:, 1]),
        "transpose": lambda x, y: jnp.concatenate([x.T, y.T], 1),
    },
    agreement.EXPONENTIALS: {
        "exp": lambda x, y: jnp.exp(x),
        "tanh": lambda x, y: jnp.tanh(x),
        "logistic": lambda x, y: jax.nn.sigmoid(x),
        "silu": lambda x, y: jax.nn.silu(x),
    },
    agreement.GELU: {
        "gelu": lambda x, y: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x, y: jax.nn.gelu(x, approximate=True),
        "erf": lambda x, y: jax.lax.erf(x),
    },
    agreement.SUMS: {"sum": lambda x, y: x.sum(-1), "mean": lambda x, y: x.mean(-1)},
    agreement.PRODUCTS: {"product": lambda x, y: x @ y.T},
    agreement.SOFTMAX: {"softmax": lambda x, y: jax.nn.softmax(x)},
    agreement.NORMS: {"norm": norm},
}
CASES = [(what, name) for what, found in FUNCTIONS.items() for name in found]


def in_all_modes(function: Function, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    """The result in checked mode, and in fast mode with and without native code."""
    lowered = jax.jit(function, keep_unused=True).lower(*arrays)
    is_wide = machine.has_wide_vectors()
    found = {"checked": axonc.compile(lowered).run(*arrays, checked=True)[0]}
    for mode in "native", "numpy":
        wide = is_wide and mode == "native"
        with mock.patch.object(machine, "has_wide_vectors", lambda wide=wide: wide):
            (found[mode],) = axonc.compile(lowered).run(*arrays)
    return found


def unit(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """One unit in the last place of `dtype` at |x|."""
    info = ml_dtypes.finfo(dtype)
    size = np.maximum(np.abs(x), float(info.smallest_normal))
    return np.exp2(np.floor(np.log2(size))) * float(info.eps)


def magnitudes(what: str, x: np.ndarray, y: np.ndarray) -> np.ndarray | float:
    """The sum of what each element of the result is a sum of, each taken positive."""
    if what == agreement.SUMS:
        return np.abs(x.astype(np.float64)).sum(-1)
    if what == agreement.PRODUCTS:
        return np.abs(x.astype(np.float64)) @ np.abs(y.astype(np.float64)).T
    return 0.0


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("what,name", CASES, ids=lambda text: text[:12])
def test_floats_differ_by_no_more_than_is_stated(what: str, name: str, kind: str) -> None:
    dtype = np.dtype(TYPES[kind])
    x = (RNG.standard_normal((130, 261)) * 3).astype(dtype)
    y = np.abs(RNG.standard_normal((130, 261)) + 0.1).astype(dtype) + dtype.type(0.05)
    found = in_all_modes(FUNCTIONS[what][name], x, y)
    checked, row = found["checked"].astype(np.float64), BOUNDS[what]
    bound = row.ulps * unit(checked, np.dtype(np.float32)) + row.absolute
    bound = bound + row.of_magnitudes * magnitudes(what, x, y)
    if kind != "f32" and bound.any():
        bound = bound + agreement.NARROW * unit(checked, dtype)
    for mode in "native", "numpy":
        fast = found[mode].astype(np.float64)
        difference = np.abs(
            np.where(fast == checked, 0, fast) - np.where(fast == checked, 0, checked)
        )
        assert (difference <= bound).all(), (mode, float((difference - bound).max()))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64])
def test_integers_are_the_same(dtype: type) -> None:
    info = np.iinfo(dtype)
    x = RNG.integers(info.min, info.max, (37, 65), dtype, endpoint=True)
    y = RNG.integers(info.min, info.max, (37, 65), dtype, endpoint=True)

    def function(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.cumsum(x * y + jnp.maximum(x, y), axis=1, dtype=x.dtype) ^ (x > y)

    with jax.enable_x64(True):
        found = in_all_modes(function, x, y)
    for mode in "native", "numpy":
        np.testing.assert_array_equal(found[mode], found["checked"])


def test_the_stated_bounds_are_texts() -> None:
    assert BOUNDS[agreement.SAME].text == "the same bits"
    assert BOUNDS[agreement.PRODUCTS].text == r"2^-21 Σ\|x\|"
    assert BOUNDS[agreement.GELU].text == "8 ULP + 2^-20"
