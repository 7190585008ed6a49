"""max8, find_index8 and match_replace8 against plain Python."""

from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DTYPES

Execute = Callable[..., dict[str, np.ndarray]]

RNG = np.random.default_rng(31)


@pytest.mark.parametrize("dtype", ["f32", "bf16", "i8"])
def test_max8_descends(execute: Execute, dtype: str) -> None:
    x = from_float32((RNG.standard_normal((4, 3, 10)) * 20).astype(np.float32), DTYPES[dtype])
    found = execute("max8", {"src": x}, {"dst": ((4, 8), "f32")})["dst"]
    for row, values in zip(to_float32(x, DTYPES[dtype]).reshape(4, -1), found, strict=True):
        assert values.tolist() == sorted(row.tolist(), reverse=True)[:8]


def test_max8_with_infinities_and_exactly_eight(execute: Execute) -> None:
    x = np.array([[3.0, -np.inf, 0.0, np.inf, -0.0, 1e-40, -5.0, 3.0]], np.float32)
    found = execute("max8", {"src": x}, {"dst": ((1, 8), "f32")})["dst"]
    assert found.tolist() == [[np.inf, 3.0, 3.0, np.float32(1e-40), 0.0, 0.0, -5.0, -np.inf]]


def first_positions(row: list[float], values: list[float]) -> list[int | None]:
    """Positions of each value, equal values taking successive occurrences."""
    used: dict[float, int] = {}
    result: list[int | None] = []
    for value in values:
        places = [i for i, element in enumerate(row) if element == value]
        seen = used.get(value, 0)
        result.append(places[seen] if seen < len(places) else None)
        used[value] = seen + 1
    return result


@pytest.mark.parametrize(("dtype", "missing"), [("u16", 0xFFFF), ("u32", 0xFFFFFFFF)])
def test_find_index8(execute: Execute, dtype: str, missing: int) -> None:
    x = RNG.integers(0, 12, (8, 40)).astype(np.float32)
    values = RNG.integers(0, 14, (8, 8)).astype(np.float32)
    found = execute("find_index8", {"src": x, "values": values}, {"dst": ((8, 8), dtype)})["dst"]
    for row in range(8):
        expected = first_positions(x[row].tolist(), values[row].tolist())
        assert found[row].tolist() == [missing if p is None else p for p in expected]


def test_find_index8_after_max8_gives_a_top8(execute: Execute) -> None:
    x = RNG.standard_normal((4, 100)).astype(np.float32)
    values = execute("max8", {"src": x}, {"dst": ((4, 8), "f32")})["dst"]
    found = execute("find_index8", {"src": x, "values": values}, {"dst": ((4, 8), "u32")})["dst"]
    assert np.array_equal(found, np.argsort(-x, axis=1)[:, :8])


def test_find_index8_zeros_are_equal_and_nan_is_nowhere(execute: Execute) -> None:
    x = np.array([[np.nan, -0.0] + [5.0] * 6], np.float32)
    values = np.array([[0.0, np.nan, 5.0] + [7.0] * 5], np.float32)
    found = execute("find_index8", {"src": x, "values": values}, {"dst": ((1, 8), "u16")})["dst"]
    assert found.tolist() == [[1, 0xFFFF, 2] + [0xFFFF] * 5]


def test_match_replace8(execute: Execute) -> None:
    x = RNG.integers(0, 6, (8, 4, 5)).astype(np.float32)
    values = RNG.integers(0, 8, (8, 8)).astype(np.float32)
    found = execute(
        "match_replace8", {"src": x, "values": values}, {"dst": ((8, 20), "f32")}, imm=-1.0
    )["dst"]
    for row in range(8):
        expected = x[row].reshape(-1).tolist()
        for position in first_positions(list(expected), values[row].tolist()):
            if position is not None:
                expected[position] = -1.0
        assert found[row].tolist() == expected
