"""Threads for native code. Handing a job over takes about a microsecond, where a thread that waits
in Python needs 50 or more: it has to be woken, and to get the interpreter's lock.

A thread looks for work for SPIN_SECONDS after its last job, then it sleeps until it is woken; so
other processes lose little of a shared CPU, and nothing while no program runs.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from queue import SimpleQueue

import numpy as np

from axonc.backends.executor.native_code import NativeModule, Task, native_module
from axonc.backends.executor.pool_code import Job, Mailbox, pool_module

Closure = Callable[[], None]

SPIN_SECONDS = 200e-6
PAUSE_SECONDS = 15e-9
"""One look, with the pause in it (a pause takes 40 to 65 cycles on x86)."""

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

    def wake(self) -> None:
        """If it is asleep."""
        if self.words[Mailbox.ASLEEP]:
            self._wake.put(None)

    def end(self) -> None:
        self.words[Mailbox.STOP] = 1
        self._wake.put(None)
        self._thread.join()


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
        self._alone = self._functions([])

    def _functions(self, boxes: list[np.ndarray]) -> dict[str, Closure]:
        """What to do with the job and these mailboxes."""
        addresses = [box.ctypes.data for box in boxes]
        letter = Task.of([self._words.ctypes.data, _SPINS, len(boxes), *addresses], (self._job,))
        return {name: letter.call(_module().function(name)) for name in ("post", "finish", "run")}

    def run(self, own: Closure | None = None) -> None:
        """Returns when all calls have been made. `own` runs on this thread, which then takes part
        in what is left. If the pool is busy with another job, this one does without it."""
        if not self._pool.acquire():
            self._make(self._alone, own)
            return
        try:
            self._make(self._together, own)
        finally:
            self._pool.release()

    def _make(self, functions: dict[str, Closure], own: Closure | None) -> None:
        if own is None:
            functions["run"]()
        else:
            functions["post"]()
            self._pool.wake()
            try:
                own()
            finally:
                functions["finish"]()
        while self._words[Job.DONE] < self._words[Job.COUNT]:  # a thread has lost its CPU
            time.sleep(0)


class NativePool:
    """`count` - 1 threads beside the one that runs a job."""

    def __init__(self, count: int) -> None:
        self.threads = [_Thread(number) for number in range(count - 1)]
        self._in_use = threading.Lock()
        self._process = os.getpid()
        atexit.register(self._end)

    def acquire(self) -> bool:
        """Whether the threads are free; not in a forked process, which has none."""
        return self._process == os.getpid() and self._in_use.acquire(blocking=False)

    def release(self) -> None:
        """The job is done. Threads that slept through it are woken for the next one."""
        for thread in self.threads:
            while thread.words[Mailbox.BUSY]:  # it has lost its CPU
                time.sleep(0)
            thread.wake()
        self._in_use.release()

    def wake(self) -> None:
        for thread in self.threads:
            thread.wake()

    def _end(self) -> None:
        if self._process == os.getpid():
            for thread in self.threads:
                thread.end()


@cache
def shared_pool(count: int) -> NativePool:
    """The pool of this process with `count` threads in all."""
    return NativePool(count)


@cache
def _module() -> NativeModule:
    return native_module(pool_module())
