"""Threads of native code: every call is made once, whichever of them sleeps, fails or forks."""

from __future__ import annotations

import gc
import os
import threading
import time

import numpy as np
import pytest

from axonc.backends.executor.native.native_code import NativeModule, Task, has_wide_vectors
from axonc.backends.executor.native.native_pool import (
    REST_SECONDS,
    SPIN_SECONDS,
    NativePool,
    PreparedJob,
    shared_pool,
)
from axonc.backends.executor.native.workers import available_cpus

pytestmark = pytest.mark.skipif(not has_wide_vectors(), reason="this CPU has no 512-bit vectors")

COUNT_UP = """
llvm.func @count_up(%task: !llvm.ptr) {
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %loops_p = llvm.getelementptr %task[1] : (!llvm.ptr) -> !llvm.ptr, i64
  %loops = llvm.load %loops_p : !llvm.ptr -> i64
  scf.for %i = %c0 to %loops step %c1 : i64 {
    llvm.call_intrinsic "llvm.x86.sse2.pause"() : () -> ()
  }
  %before = llvm.atomicrmw add %task, %c1 acq_rel : !llvm.ptr, i64
  llvm.return
}
"""


@pytest.fixture(scope="module")
def count_up() -> NativeModule:
    return NativeModule(COUNT_UP)


def job_of(
    module: NativeModule, pool: NativePool, calls: int, loops: int = 0
) -> tuple[PreparedJob, list[Task]]:
    """A job whose calls count up a word of their own, each after some time."""
    tasks = [Task.of([0, loops], ()) for _ in range(calls)]
    return PreparedJob(pool, [(module.address("count_up"), task) for task in tasks]), tasks


def counts(tasks: list[Task]) -> list[int]:
    return [int(task.arguments[0]) for task in tasks]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("calls", [1, 2, 9])
def test_every_call_is_made_once_per_run(count_up, threads, calls):
    pool = shared_pool(threads)
    job, tasks = job_of(count_up, pool, calls, loops=20)
    for run in range(1, 300):
        job.run()
        assert counts(tasks) == [run] * calls


def test_threads_that_sleep_are_woken(count_up):
    pool = shared_pool(2)
    job, tasks = job_of(count_up, pool, 2, loops=100_000)
    for _ in range(3):
        time.sleep(20 * SPIN_SECONDS)
        job.run()
    assert counts(tasks) == [3, 3]


def test_the_calling_thread_takes_what_is_left_after_its_own_work(count_up):
    job, tasks = job_of(count_up, shared_pool(1), 5)
    seen: list[tuple[int, list[int]]] = []
    job.run(lambda: seen.append((threading.get_ident(), counts(tasks))))
    assert seen == [(threading.get_ident(), [0] * 5)]
    assert counts(tasks) == [1] * 5


def test_an_error_of_the_own_work_arrives_when_all_calls_are_over(count_up):
    job, tasks = job_of(count_up, shared_pool(2), 4, loops=1000)

    def own() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        job.run(own)
    assert counts(tasks) == [1] * 4


def test_a_pool_in_use_is_no_obstacle(count_up):
    """Several programs in threads of one process."""
    pool = shared_pool(2)
    jobs = [job_of(count_up, pool, 3, loops=50) for _ in range(4)]
    users = [
        threading.Thread(target=lambda job=job: [job.run() for _ in range(200)]) for job, _ in jobs
    ]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert [counts(tasks) for _, tasks in jobs] == [[200] * 3] * 4


def test_jobs_may_go_as_soon_as_they_are_done(count_up):
    pool = shared_pool(4)
    for _ in range(300):
        job, tasks = job_of(count_up, pool, 3)
        job.run()
        assert counts(tasks) == [1] * 3
        del job, tasks
        gc.collect(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_works_without_the_threads(count_up):
    pool = shared_pool(2)
    job, tasks = job_of(count_up, pool, 3)
    job.run()
    child = os.fork()
    if child == 0:
        job.run()
        os._exit(0 if counts(tasks) == [2] * 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_end_of_a_pool(count_up):
    pool = NativePool(3)
    job, tasks = job_of(count_up, pool, 3)
    job.run()
    pool._end()
    assert not any(thread._thread.is_alive() for thread in pool.threads)
    assert counts(tasks) == [1] * 3


def test_threads_rest_when_they_kept_others_waiting(count_up):
    pool = NativePool(2)
    job, tasks = job_of(count_up, pool, 2)
    assert pool.acquire()
    pool.release()
    pool.rest()
    assert not pool.acquire()
    job.run()
    assert counts(tasks) == [1, 1]
    time.sleep(1.5 * REST_SECONDS)
    assert pool.acquire()
    pool.release()
    pool._end()


@pytest.mark.parametrize(("cpu_seconds", "rests"), [(1.9e-3, False), (1.0e-3, True)])
def test_threads_rest_when_they_are_no_help(cpu_seconds, rests):
    pool = NativePool(2)
    for _ in range(6):
        assert pool.acquire()
        pool.release()
        pool.note(1e-3, cpu_seconds)
    assert pool.acquire() is not rests
    pool._end()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not Linux")
@pytest.mark.skipif(available_cpus() < 2, reason="one CPU")
def test_threads_keep_off_the_cpu_of_the_caller():
    allowed = os.sched_getaffinity(0)
    pool = NativePool(2)
    try:
        for cpu in sorted(allowed)[:2]:
            os.sched_setaffinity(0, {cpu})
            assert pool.acquire()
            pool.release()
            assert os.sched_getaffinity(pool.threads[0]._thread.native_id) == allowed - {cpu}
    finally:
        os.sched_setaffinity(0, allowed)
        pool._end()


def test_words_lie_on_cache_lines():
    assert Task.of([1, 2, 3], ()).arguments.ctypes.data % 64 == 0
    np.testing.assert_array_equal(Task.of([1, -2], ()).arguments, [1, -2])
