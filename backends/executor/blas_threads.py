"""One BLAS thread while programs run, however many the environment asks for.

BLAS cuts a product for its threads, and pieces of other sizes are summed in another order: the last
bits of a result would depend on OPENBLAS_NUM_THREADS and on the number of CPUs. Small products are
faster with one thread as well (others wait by spinning); large ones have threads of their own
(`native.workers`), whose pieces do not depend on how many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS libraries of this process compute on the thread that calls them. The number is one of
    the process: it is what it was before when the last of the runs at that time has ended."""
    limit = _limit()
    limit.begin()
    try:
        yield
    finally:
        limit.end()


class _Limit:
    """Counts the runs; the first one limits the libraries, the last one restores them."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        # Finding the libraries takes milliseconds, and numpy's is loaded once and for all.
        self._libraries: Any = ThreadpoolController()
        self._lock = threading.Lock()
        self._runs = 0
        self._limiter: Any = None

    def begin(self) -> None:
        with self._lock:
            if not self._runs:
                self._limiter = self._libraries.limit(limits=1, user_api="blas")
            self._runs += 1

    def end(self) -> None:
        with self._lock:
            self._runs -= 1
            if not self._runs:
                self._limiter.restore_original_limits()


_LIMIT_LOCK = threading.Lock()


def _limit() -> _Limit:
    """The one of this process: two would restore each other's limit."""
    with _LIMIT_LOCK:
        return _made_once()


@cache
def _made_once() -> _Limit:
    return _Limit()
