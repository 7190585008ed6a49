"""Threads for large products: everything is done, errors arrive, the results do not change."""

from __future__ import annotations

import threading
import time
import warnings

import numpy as np
import pytest

from axonc.backends.executor.blocks.matmul_products import _product
from axonc.backends.executor.native.workers import Workers, available_cpus


def test_all_tasks_are_done():
    done: list[int] = []
    Workers(3).run([lambda n=n: done.append(n) for n in range(7)])
    assert sorted(done) == list(range(7))


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_of_a_task_arrives(failing):
    def task(number: int) -> None:
        if number == failing:
            raise ValueError(f"task {number}")

    with pytest.raises(ValueError, match=f"task {failing}"):
        Workers(2).run([lambda n=n: task(n) for n in range(3)])


def test_tasks_give_no_warnings():
    def overflow() -> None:
        np.multiply(np.float32(3e38), np.full(4, 3e38, np.float32))

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        Workers(2).run([overflow, overflow])


def test_count_is_at_least_one():
    assert available_cpus() >= 1
    assert Workers().count >= 1


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(("rows", "columns"), [(64, 33), (33, 64), (1, 8), (8, 1)])
def test_pieces_make_the_whole_product(parts, rows, columns):
    rng = np.random.default_rng(parts)
    first = rng.standard_normal((20, rows)).astype(np.float32)
    second = rng.standard_normal((20, columns)).astype(np.float32)
    out = np.full((rows, columns), np.nan, np.float32)
    _product(lambda: first, lambda: second, out, parts, Workers(2))()
    expected = first.astype(np.float64).T @ second.astype(np.float64)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_own_work_is_done_by_the_calling_thread_beside_the_tasks(count):
    threads: list[int] = []
    done: list[int] = []
    tasks = [lambda n=n: done.append(n) for n in range(5)]
    Workers(count).run(tasks, lambda: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]
    assert sorted(done) == list(range(5))


def test_an_error_of_the_own_work_arrives_when_no_task_is_running():
    running: list[bool] = []

    def task() -> None:
        running.append(True)
        time.sleep(0.01)
        running.pop()

    def own() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        Workers(2).run([task, task], own)
    assert not running
