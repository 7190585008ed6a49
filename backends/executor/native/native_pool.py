"""Threads for native code. Handing a job over takes about a microsecond, where a thread that waits
in Python needs 50 or more: it has to be woken, and to get the interpreter's lock.

A thread looks for work for SPIN_SECONDS after its last job, then it sleeps until it is woken. Where
other processes have the CPUs, threads would only take time from the one that waits for them: then
the pool rests.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from queue import SimpleQueue

import numpy as np

from axonc.backends.executor.native.native_code import NativeModule, Task, native_module
from axonc.backends.executor.native.pool_code import Job, Mailbox, pool_module

Closure = Callable[[], None]

SPIN_SECONDS = 100e-6
PAUSE_SECONDS = 25e-9
"""One look, with the pause in it, on a Zen 5; some twice as long on recent Intel CPUs."""

_SPINS = int(SPIN_SECONDS / PAUSE_SECONDS)


class _Thread:
    """A thread with its mailbox."""

    def __init__(self, number: int) -> None:
        values = [0] * Mailbox.WORDS
        values[Mailbox.SPINS] = _SPINS
        self.box = Task.of(values, ())
        self.words = self.box.arguments
        self._wake: SimpleQueue[None] = SimpleQueue()
        name = f"axonc-native-{number}"
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        serve = self.box.call(_module().function("serve"))
        while not self.words[Mailbox.STOP]:
            serve()
            if self.words[Mailbox.ASLEEP]:
                self._wake.get()
                self.words[Mailbox.ASLEEP] = 0

    def move_to(self, cpus: set[int]) -> None:
        """Run on these CPUs alone."""
        if self._thread.native_id is not None:
            os.sched_setaffinity(self._thread.native_id, cpus)

    @property
    def is_asleep(self) -> bool:
        return bool(self.words[Mailbox.ASLEEP])

    def wake(self) -> None:
        """If it is asleep and was not woken yet."""
        if self.is_asleep and self._wake.empty():
            self._wake.put(None)

    def end(self) -> None:
        self.words[Mailbox.STOP] = 1
        self._wake.put(None)
        self._thread.join()


LOST_SECONDS = 1e-3
"""A wait this long for a piece tells of other processes on the CPUs: a time slice is some
milliseconds, a piece takes less than one."""

TRIAL_SECONDS = 5e-3
LEAST_CPUS = 1.15
"""CPU seconds per second that jobs of so many seconds get, or the threads are no help. Jobs that
have to wake a thread first do not count."""

REST_SECONDS = 20e-3
"""How long the threads sleep then."""


class PreparedJob:
    """Calls of native code that may run at the same time: (function, task) each. Run it again and
    again, never from two threads at once."""

    def __init__(self, pool: NativePool, calls: Sequence[tuple[int, Task]]) -> None:
        addresses = [word for function, task in calls for word in (function, task.address)]
        values = [0] * Job.CALLS + addresses
        values[Job.COUNT] = len(calls)
        self._pool = pool
        self._job = Task.of(values, tuple(task for _, task in calls))
        self._words = self._job.arguments
        self._together = self._functions([thread.words for thread in pool.threads])
        self._alone = self._functions([])["run"]

    def _functions(self, boxes: list[np.ndarray]) -> dict[str, Closure]:
        """What to do with the job and these mailboxes."""
        addresses = [box.ctypes.data for box in boxes]
        letter = Task.of([self._words.ctypes.data, _SPINS, len(boxes), *addresses], (self._job,))
        return {name: letter.call(_module().function(name)) for name in ("post", "finish", "run")}

    def run(self, own: Closure | None = None) -> None:
        """Returns when all calls have been made. `own` runs on this thread, which then takes part
        in what is left. If the pool is busy with another job, this one does without it."""
        if not self._pool.acquire():
            try:
                if own is not None:
                    own()
            finally:
                self._alone()
            return
        is_awake = not self._pool.has_sleepers
        begin, begin_cpu = time.perf_counter(), time.process_time()
        try:
            self._make(own)
        finally:
            if is_awake:
                self._pool.note(time.perf_counter() - begin, time.process_time() - begin_cpu)
            self._pool.release()

    def _make(self, own: Closure | None) -> None:
        functions = self._together
        if own is None and not self._pool.has_sleepers:
            functions["run"]()
        else:
            functions["post"]()
            self._pool.wake()
            try:
                if own is not None:
                    own()
            finally:
                functions["finish"]()
        if self._words[Job.DONE] < self._words[Job.COUNT]:
            self._wait()

    def _wait(self) -> None:
        """A thread has lost its CPU, or has much to do."""
        begin = time.perf_counter()
        while self._words[Job.DONE] < self._words[Job.COUNT]:
            time.sleep(0)
        if time.perf_counter() - begin > LOST_SECONDS:
            self._pool.rest()


class _Places:
    """Where threads run. A scheduler may leave a thread for many milliseconds on the CPU of the one
    that woke it although another is free; on Linux the pool's threads keep off that CPU."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None) if hasattr(os, "sched_setaffinity") else None
        self._current: Callable[[], int] | None = getattr(libc, "sched_getcpu", None)
        self._allowed = os.sched_getaffinity(0) if self._current is not None else set()
        self._last = -1

    def keep_apart(self, threads: Sequence[_Thread]) -> None:
        """Away from where the calling thread is."""
        current = self._current() if self._current is not None else self._last
        if current == self._last:
            return
        self._last = current
        others = self._allowed - {current}
        for thread in threads if others else ():
            thread.move_to(others)


class NativePool:
    """`count` - 1 threads beside the one that runs a job."""

    def __init__(self, count: int) -> None:
        self.threads = [_Thread(number) for number in range(count - 1)]
        self._in_use = threading.Lock()
        self._process = os.getpid()
        self._places = _Places()
        self._rests_until = 0.0
        self._seconds = self._cpu_seconds = 0.0
        atexit.register(self._end)

    def acquire(self) -> bool:
        """Whether there are threads for a job; a forked process has none."""
        if not self.threads or self._process != os.getpid():
            return False
        if time.perf_counter() < self._rests_until:
            return False
        if not self._in_use.acquire(blocking=False):
            return False
        self._places.keep_apart(self.threads)
        return True

    def rest(self) -> None:
        """The CPUs are busy with something else: for some time every job does without threads."""
        self._rests_until = time.perf_counter() + REST_SECONDS

    def note(self, seconds: float, cpu_seconds: float) -> None:
        """What a job took, of this process in all."""
        self._seconds += seconds
        self._cpu_seconds += cpu_seconds
        if self._seconds > TRIAL_SECONDS:
            if self._cpu_seconds < LEAST_CPUS * self._seconds:
                self.rest()
            self._seconds = self._cpu_seconds = 0.0

    def release(self) -> None:
        """The job is done."""
        for thread in self.threads:
            while thread.words[Mailbox.BUSY]:  # it has lost its CPU
                time.sleep(0)
        self._in_use.release()

    @property
    def has_sleepers(self) -> bool:
        return any(thread.is_asleep for thread in self.threads)

    def wake(self) -> None:
        """Those that sleep."""
        for thread in self.threads:
            thread.wake()

    def _end(self) -> None:
        if self._process == os.getpid():
            for thread in self.threads:
                thread.end()


_POOLS_LOCK = threading.Lock()


def shared_pool(count: int) -> NativePool:
    """The pool of this process with `count` threads in all. Jobs of several threads may use it: one
    at a time has its threads, the others do without."""
    with _POOLS_LOCK:
        return _pool_of(count)


@cache
def _pool_of(count: int) -> NativePool:
    return NativePool(count)


@cache
def _module() -> NativeModule:
    return native_module(pool_module())
