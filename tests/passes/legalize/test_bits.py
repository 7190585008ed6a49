"""Bits of numbers: bitcasts, counts of bits, shifts, fewer bits of precision; from JAX to checked
streams, against XLA on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import jax
import ml_dtypes
import numpy as np
import pytest

import axonc

KINDS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
KINDS_OF_FLOATS = {"float16": "uint16", "bfloat16": "uint16", "float32": "uint32"}


def numbers(kind: str) -> np.ndarray:
    """[4, 8], the extremes among them."""
    if kind in KINDS_OF_FLOATS:
        return numbers(KINDS_OF_FLOATS[kind]).view(np.dtype(getattr(ml_dtypes, kind, kind)))
    limits, generator = np.iinfo(kind), np.random.default_rng(5)
    drawn = generator.integers(limits.min, limits.max, 26, dtype=kind, endpoint=True)
    edges = np.array([0, 1, 2, limits.max, limits.min, limits.max - 1], kind)
    return np.concatenate([drawn, edges]).reshape(4, 8)


def check(function: Callable[..., jax.Array], *inputs: np.ndarray) -> None:
    """Equal bits; any NaN for NaN."""
    with jax.enable_x64(True):
        lowered = jax.jit(function, keep_unused=True).lower(*inputs)
        expected = np.asarray(jax.jit(function)(*inputs))
    (found,) = axonc.compile(lowered).run(*inputs, checked=True)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if found.dtype.kind not in "iub":
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        found, expected = (np.where(np.isnan(a), 0, a).astype(a.dtype) for a in (found, expected))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("after", ("int8", "uint16", "bfloat16", "float32", "int64", "uint64"))
@pytest.mark.parametrize("before", ("uint8", "int16", "float16", "uint32", "float32", "int64"))
def test_bitcast_between_any_widths(before: str, after: str) -> None:
    x, kind = numbers(before), np.dtype(getattr(ml_dtypes, after, after))
    parts = kind.itemsize // x.dtype.itemsize
    x = x.reshape(-1, parts) if parts > 1 else x
    check(lambda x: jax.lax.bitcast_convert_type(x, kind), x)


@pytest.mark.parametrize("kind", KINDS)
def test_counts_of_bits(kind: str) -> None:
    check(jax.lax.population_count, numbers(kind))
    check(jax.lax.clz, numbers(kind))


@pytest.mark.parametrize("name", ("shift_left", "shift_right_logical", "shift_right_arithmetic"))
@pytest.mark.parametrize("kind", KINDS)
def test_shifts_by_nothing_and_by_the_width_and_more(kind: str, name: str) -> None:
    width = 8 * np.dtype(kind).itemsize
    distances = np.array([0, 1, width - 1, width, width + 1, width // 2, 100, 7]).astype(kind)
    check(getattr(jax.lax, name), numbers(kind), np.tile(distances, (4, 1)))


@pytest.mark.parametrize("bits", ((5, 10), (8, 7), (4, 3), (2, 23), (5, 0), (1, 1), (11, 52)))
@pytest.mark.parametrize("kind", KINDS_OF_FLOATS)
def test_reduce_precision(kind: str, bits: tuple[int, int]) -> None:
    check(lambda x: jax.lax.reduce_precision(x, *bits), numbers(kind))


def test_numbers_are_rounded_before_their_bits_are_taken() -> None:
    def function(x: jax.Array) -> jax.Array:
        return jax.lax.bitcast_convert_type(x.astype("bfloat16") * 3, np.uint16) + 1

    check(function, np.linspace(-3, 3, 64, dtype=np.float32))
