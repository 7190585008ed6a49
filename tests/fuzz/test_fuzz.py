"""A fixed sample of the fuzzer's programs and near-misses; a larger one with the slow tests."""

from __future__ import annotations

import pytest

from axonc.tools.fuzz.campaign import NEAR_MISSES, PROGRAMS, Case, Summary, try_case
from axonc.tools.fuzz.modes import MODES

PER_TEST = 6


def slices(quick: int, slow: int) -> list[object]:
    """First seeds: of some slices for every run, of others for the slow ones."""
    late = [pytest.param(n * PER_TEST, marks=pytest.mark.slow) for n in range(quick, slow)]
    return [*(n * PER_TEST for n in range(quick)), *late]


def check(family: str, first: int, mode: str = "") -> None:
    summary = Summary()
    for seed in range(first, first + PER_TEST):
        summary.add(try_case(Case(family, seed, mode)))
    assert not summary.bad, summary.text()


@pytest.mark.parametrize("first", slices(8, 60))
def test_random_programs(first: int) -> None:
    check(PROGRAMS, first)


@pytest.mark.parametrize("first", slices(10, 60))
def test_near_misses(first: int) -> None:
    check(NEAR_MISSES, first)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode(mode: str) -> None:
    check(PROGRAMS, 10_000, mode)
    check(PROGRAMS, 20_000, mode)
