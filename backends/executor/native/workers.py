"""Threads for large matrix products: numpy lets other threads run while it multiplies.

OpenBLAS has threads too, but they wait by spinning, which is ruinous where CPUs are shared, and
their number changes last bits: it gets one while programs run (`blas_threads`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property, partial

import numpy as np

MAX_WORKERS = 8
"""Products of a block are too small to gain from more."""


def available_cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Runs independent tasks at the same time. count: how many tasks make sense, at least 1."""

    def __init__(self, count: int | None = None) -> None:
        self.count = min(available_cpus(), MAX_WORKERS) if count is None else count

    def run(
        self, tasks: Sequence[Callable[[], None]], own: Callable[[], None] | None = None
    ) -> None:
        """Returns when all tasks are done. Raises: what a failing task raises.

        own: runs on the calling thread, which then takes part in what is left of the tasks.
        """
        left = deque(tasks)
        others = min(self.count, len(tasks) + (own is not None)) - 1
        futures = [self._pool.submit(_quietly, partial(_work_off, left)) for _ in range(others)]
        try:
            if own is not None:
                own()
            _work_off(left)
        finally:
            begun = [future for future in futures if not future.cancel()]
            wait(begun)
        for future in begun:
            future.result()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max(self.count - 1, 1), thread_name_prefix="axonc-product")


def _work_off(left: deque[Callable[[], None]]) -> None:
    """Run tasks until none is left to begin."""
    while True:
        try:
            task = left.popleft()
        except IndexError:
            return
        task()


def _quietly(task: Callable[[], None]) -> None:
    """numpy's error state belongs to a thread; the executor runs without warnings."""
    with np.errstate(all="ignore"):
        task()
