"""Sorting networks as data, run on numpy arrays."""

from __future__ import annotations

import numpy as np
import pytest

from axonc.passes.tile.ops.sort_steps import (
    Exchange,
    Loops,
    Regroup,
    Step,
    leading_steps,
    sorting_steps,
)

NOBODY_READS = -1e9


def places(start: int, loops: Loops) -> np.ndarray:
    found = np.array([start])
    for stride, size in loops:
        found = (found[:, None] + stride * np.arange(size)).reshape(-1)
    return found


def exchanged(step: Exchange, before: np.ndarray) -> np.ndarray:
    after = before.copy()
    low, high = places(step.low, step.low_loops), places(step.high, step.high_loops)
    assert len({*low, *high}) == 2 * len(low), "an element is exchanged once"
    smaller = np.minimum(before[:, low], before[:, high])
    larger = np.maximum(before[:, low], before[:, high])
    if step.direction is not None:
        turned = (np.arange(len(before)) >> step.direction & 1)[:, None] == 1
        smaller, larger = np.where(turned, larger, smaller), np.where(turned, smaller, larger)
    after[:, low] = smaller
    after[:, high] = NOBODY_READS if step.keeps_low else larger
    return after


def run(steps: list[Step], row: np.ndarray, chunks: int) -> np.ndarray:
    data = row.reshape(chunks, -1)
    for step in steps:
        if isinstance(step, Exchange):
            data = exchanged(step, data)
        elif isinstance(step, Regroup):
            data = data[:, : step.kept].reshape(step.chunks, -1)
        else:  # both ways exchange the same two dims
            data = data.reshape(chunks, chunks, -1).swapaxes(0, 1).reshape(chunks, -1)
    return data.reshape(-1)


CASES = [(1 << k, 1 << q) for k in range(1, 11) for q in range(k // 2 + 1)]


@pytest.mark.parametrize(("length", "chunks"), CASES)
def test_rows_are_sorted(length: int, chunks: int) -> None:
    row = np.random.default_rng(length).integers(0, length, length).astype(np.float64)
    found = run(list(sorting_steps(length, chunks)), row, chunks)
    np.testing.assert_array_equal(found, np.sort(row))


@pytest.mark.parametrize(("length", "chunks"), CASES)
def test_the_first_elements_are_sorted(length: int, chunks: int) -> None:
    row = np.random.default_rng(length).integers(0, length, length).astype(np.float64)
    kept = 1
    while kept <= length // chunks:
        found = run(list(leading_steps(length, chunks, kept)), row, chunks)
        np.testing.assert_array_equal(found[:kept], np.sort(row)[:kept])
        kept *= 2
