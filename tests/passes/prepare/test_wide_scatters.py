"""Scatters of 64-bit integers, in fast and checked mode, against Python's integers and JAX."""

from __future__ import annotations

from collections.abc import Callable
from operator import add, and_, mul, or_, xor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile_integers import HOSTILE

import axonc
from axonc.diagnostics import UnsupportedOpError

RNG = np.random.default_rng(7)
COMBINED: dict[str, Callable[[int, int], int]] = {
    "add": add, "and": and_, "maximum": max, "minimum": min, "multiply": mul, "or": or_, "xor": xor,
}  # fmt: skip
TYPES = {"int64": "i64", "uint64": "ui64"}


def hostile(*shape: int, dtype: str = "int64") -> np.ndarray:
    return RNG.choice(np.array(HOSTILE, np.int64), shape).view(dtype)


def run_both(program: object, *arrays: np.ndarray) -> np.ndarray:
    """The result of fast mode, which is that of checked mode."""
    executable = axonc.compile(program)
    (fast,), (checked,) = (executable.run(*arrays, checked=c) for c in (False, True))
    np.testing.assert_array_equal(fast, checked)
    return fast


def scatter_of(kind: str, dtype: str, windows: int, rows: int = 9) -> str:
    """Of windows of 2 rows and 3 columns, into rows of 3, at rows that are given."""
    element = TYPES[dtype]
    table, update = f"tensor<{rows}x3x{element}>", f"tensor<{windows}x2x3x{element}>"
    return f"""func.func @main(%x: {table}, %i: tensor<{windows}x1xi64>, %u: {update}) -> {table} {{
      %0 = "stablehlo.scatter"(%x, %i, %u) ({{
        ^bb0(%a: tensor<{element}>, %b: tensor<{element}>):
          %c = stablehlo.{kind} %a, %b : tensor<{element}>
          stablehlo.return %c : tensor<{element}>
      }}) {{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1, 2],
            inserted_window_dims = [], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>}}
        : ({table}, tensor<{windows}x1xi64>, {update}) -> {table}
      return %0 : {table}
    }}"""


def expected(kind: str, x: np.ndarray, rows: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Window by window, in Python's integers; windows that are not wholly inside are dropped."""
    found = x.astype(object)
    for row, update in zip(rows[:, 0], updates.astype(object), strict=True):
        if 0 <= row <= len(x) - len(update):
            for place, new in np.ndenumerate(update):
                where = (int(row) + place[0], place[1])
                found[where] = COMBINED[kind](found[where], new)
    return np.array([v % 2**64 for v in found.flat], np.uint64).view(x.dtype).reshape(x.shape)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", COMBINED)
def test_windows_that_overlap_are_combined_and_those_beyond_dropped(kind: str, dtype: str) -> None:
    """7 ends exactly with the table; 8 and -1 reach beyond; 2^32 + 1 would be 1 in a word."""
    rows = np.array([[3], [4], [3], [8], [-1], [7], [2**32 + 1], [0]], np.int64)
    x, updates = hostile(9, 3, dtype=dtype), hostile(len(rows), 2, 3, dtype=dtype)
    found = run_both(scatter_of(kind, dtype, len(rows)), x, rows, updates)
    np.testing.assert_array_equal(found, expected(kind, x, rows, updates))


@pytest.mark.parametrize("kind", ["maximum", "minimum"])
def test_extremes_of_more_windows_than_are_written_one_by_one(kind: str) -> None:
    rows = RNG.integers(-1, 40, (1500, 1))
    x, updates = hostile(40, 3), hostile(1500, 2, 3)
    found = run_both(scatter_of(kind, "int64", 1500, 40), x, rows, updates)
    np.testing.assert_array_equal(found, expected(kind, x, rows, updates))


def test_low_words_decide_among_equal_high_words_only() -> None:
    """The largest low words belong to numbers whose high word is not the largest."""
    x = np.full((9, 3), 2**40 + 1, np.int64)
    updates = np.array([2**40 + 2, 2**39 + 2**32 - 1, -1])[:, None, None] * np.ones((1, 2, 3), int)
    rows = np.array([[2], [2], [2]], np.int64)
    found = run_both(scatter_of("maximum", "int64", 3), x, rows, updates)
    np.testing.assert_array_equal(found, expected("maximum", x, rows, updates))


PLACES = np.array([0, 9, 4, 0, 0, 12], np.int64)

PROGRAMS: dict[str, tuple[Callable[..., object], tuple[np.ndarray, ...]]] = {
    "elements": (
        lambda x, i, u: x.at[i].multiply(u),
        (hostile(10), PLACES, hostile(6)),
    ),
    "batches": (
        jax.vmap(lambda x, i, u: x.at[i].max(u)),
        (hostile(3, 8), RNG.integers(0, 9, (3, 5)), hostile(3, 5)),
    ),
    "batches of products": (
        jax.vmap(lambda x, i, u: x.at[i].multiply(u)),
        (hostile(2, 5), RNG.integers(0, 6, (2, 4)), hostile(2, 4)),
    ),
    "columns": (
        lambda x, i, u: x.at[:, i].min(u),
        (hostile(4, 10, dtype="uint64"), PLACES, hostile(4, 6, dtype="uint64")),
    ),
    "known places": (
        lambda x, u: x.at[np.array([1, 1, 0]), np.array([2, 2, 1])].multiply(u),
        (hostile(3, 4, 2), hostile(3, 2)),
    ),
    "one place": (lambda x, i, u: x.at[i].min(u), (hostile(7, 2), np.array(-1), hostile(2))),
    "segments": (
        lambda x, i: jax.ops.segment_max(x, i, num_segments=12),
        (hostile(40), RNG.integers(0, 12, 40)),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_give_what_jax_gives(name: str) -> None:
    function, arrays = PROGRAMS[name]
    with jax.enable_x64(True):
        jitted = jax.jit(function)
        wanted = np.asarray(jitted(*map(jnp.asarray, arrays)))
        lowered = jitted.lower(*arrays)
    found = run_both(lowered, *arrays)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_other_combinations_are_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedOpError, match="scatter of 64-bit integers by stablehlo.subtract"
    ):
        axonc.compile(scatter_of("subtract", "int64", 4))


def test_products_of_too_many_windows_are_refused_with_the_limit() -> None:
    with pytest.raises(UnsupportedOpError, match=r"scatter of 1500 windows by (?s:.*)at most 1024"):
        axonc.compile(scatter_of("multiply", "int64", 1500))
