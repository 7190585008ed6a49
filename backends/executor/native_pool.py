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

from axonc.backends.executor.native_code import NativeModule, Task
from axonc.backends.executor.pool_code import Job, Mailbox, pool_module

Closure = Callable[[], None]

SPIN_SECONDS = 200e-6
PAUSE_SECONDS = 15e-9
"""One look, with the pause in it (a pause takes 40 to 65 cycles on x86)."""

_SPINS = int(SPIN_SECONDS / PAUSE_SECONDS)


class PreparedJob:
    """Calls of native code that may run at the same time: (function, task) each."""

    def __init__(self, calls: Sequence[tuple[int, Task]]) -> None:
        addresses = [word for function, task in calls for word in (function, task.address)]
        values = np.zeros(Job.CALLS + len(addresses), np.int64)
        values[Job.COUNT], values[Job.SPINS] = len(calls), _SPINS
        values[Job.CALLS :] = addresses
        self.task = Task.of(values.tolist(), tuple(task for _, task in calls))
        self.words = self.task.arguments
        self.finish = self.task.call(_module().function("finish"))

    def begin(self) -> None:
        """No call has been made. NEXT comes last: from then on a thread may take part."""
        self.words[Job.DONE] = 0
        self.words[Job.NEXT] = 0

    @property
    def is_done(self) -> bool:
        return bool(self.words[Job.DONE] >= self.words[Job.COUNT])


class _Thread:
    """A thread with its mailbox."""

    def __init__(self, number: int) -> None:
        values = [0] * Mailbox.WORDS
        values[Mailbox.SPINS] = _SPINS
        self.box = Task.of(values, ())
        self.words = self.box.arguments
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._letter = Task.of([self.words.ctypes.data, 0], ())
        self._post = self._letter.call(_module().function("post"))
        self._take_back = self._letter.call(_module().function("take_back"))
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

    def give(self, job: PreparedJob) -> None:
        self._letter.arguments[1] = job.words.ctypes.data
        self._post()
        if self.words[Mailbox.ASLEEP]:
            self._wake.put(None)

    def take_back(self) -> None:
        """The thread no longer looks at the job it was given."""
        self._take_back()
        while self.words[Mailbox.BUSY]:
            time.sleep(0)

    def end(self) -> None:
        self.words[Mailbox.STOP] = 1
        self._wake.put(None)
        self._thread.join()


class NativePool:
    """`count` - 1 threads beside the one that calls `run`."""

    def __init__(self, count: int) -> None:
        self._threads = [_Thread(number) for number in range(count - 1)]
        self._in_use = threading.Lock()
        self._process = os.getpid()
        atexit.register(self._end)

    def run(self, job: PreparedJob, own: Closure | None = None) -> None:
        """Returns when all calls have been made. `own` runs on this thread, which then takes part
        in what is left. A job of another thread has the pool: this one does without."""
        job.begin()
        if self._process != os.getpid() or not self._in_use.acquire(blocking=False):
            _alone(job, own)
            return
        try:
            for thread in self._threads:
                thread.give(job)
            _alone(job, own)
        finally:
            for thread in self._threads:
                thread.take_back()
            self._in_use.release()

    def _end(self) -> None:
        if self._process == os.getpid():
            for thread in self._threads:
                thread.end()


def _alone(job: PreparedJob, own: Closure | None) -> None:
    try:
        if own is not None:
            own()
    finally:
        job.finish()
        while not job.is_done:  # a thread with a call in hand has lost its CPU
            time.sleep(0)


@cache
def shared_pool(count: int) -> NativePool:
    """The pool of this process with `count` threads in all."""
    return NativePool(count)


@cache
def _module() -> NativeModule:
    return NativeModule(pool_module())
