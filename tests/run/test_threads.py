"""Calls from several threads: each has the results of its own arrays, in every mode."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

import axonc

THREADS = 8
RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def compiled(
    function: Callable[..., object], *arguments: object, **options: object
) -> axonc.Executable:
    return axonc.compile(jax.jit(function, **options).lower(*arguments))


def small() -> axonc.Executable:
    return compiled(lambda x, y: x * 2 + y, floats(8, 16), floats(8, 16))


def in_threads(work: Callable[[int], int]) -> int:
    """The sum of what `work` gives for each thread's number; all begin together."""
    gate = threading.Barrier(THREADS)

    def begin(number: int) -> int:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(begin, range(THREADS)))


def wrong_calls(
    executable: axonc.Executable, calls: int, **options: object
) -> Callable[[int], int]:
    """How many of a thread's calls have a result that is not exactly 2 x + y of its own x and y:
    small whole numbers, so that float32 is exact."""

    def work(number: int) -> int:
        wrong = 0
        for call in range(calls):
            x = np.full((8, 16), number * 1000 + call, np.float32)
            y = np.full((8, 16), -number, np.float32)
            (found,) = executable.run(x, y, **options)
            wrong += not np.array_equal(found, 2 * x + y)
        return wrong

    return work


def test_run_from_eight_threads_gives_each_call_its_own_result() -> None:
    assert in_threads(wrong_calls(small(), 250)) == 0  # 2,000 calls


def test_checked_runs_from_eight_threads() -> None:
    assert in_threads(wrong_calls(small(), 10, checked=True)) == 0


def test_fast_and_checked_runs_at_the_same_time() -> None:
    executable = small()

    def work(number: int) -> int:
        return wrong_calls(executable, 10, checked=bool(number % 2))(number)

    assert in_threads(work) == 0


def test_executables_at_the_same_time_share_native_threads() -> None:
    """Products and elementwise work large enough to be cut into pieces for the pool's threads."""
    w = floats(512, 512)
    executables = [compiled(lambda x, w=w: jnp.tanh(x @ w), floats(512, 512)) for _ in range(2)]
    inputs = [floats(512, 512) for _ in range(THREADS)]
    expected = [executables[0].run(x)[0] for x in inputs]
    np.testing.assert_allclose(expected[0], np.tanh(inputs[0] @ w), atol=1e-4)

    def work(number: int) -> int:
        executable, x = executables[number % 2], inputs[number]
        return sum(not np.array_equal(executable.run(x)[0], expected[number]) for _ in range(25))

    assert in_threads(work) == 0


def test_every_thread_may_have_a_session() -> None:
    def add(total: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return total + x, total[0] * 2

    executable = compiled(add, floats(4, 8), floats(4, 8), donate_argnums=0)

    def work(number: int) -> int:
        session = executable.session({"total": np.zeros((4, 8), np.float32)})
        x = np.full((4, 8), number + 1, np.float32)
        wrong = 0
        for call in range(50):
            (found,) = session.run(x)
            wrong += not np.array_equal(found, np.full(8, 2 * call * (number + 1)))
        return wrong + (not np.array_equal(session.state()["total"], 50 * x))

    assert in_threads(work) == 0


def test_calls_of_one_session_from_threads_lose_nothing() -> None:
    def add(total: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return total + x, total[0]

    executable = compiled(add, floats(4, 8), floats(4, 8), donate_argnums=0)
    session = executable.session({"total": np.zeros((4, 8), np.float32)})
    one = np.ones((4, 8), np.float32)
    in_threads(lambda _: len([session.run(one) for _ in range(50)]))
    np.testing.assert_array_equal(session.state()["total"], THREADS * 50 * one)


def test_a_profile_has_the_outputs_of_its_own_call() -> None:
    """Of a program whose addresses depend on data."""
    table = np.arange(64 * 8, dtype=np.float32).reshape(64, 8)
    executable = compiled(
        lambda t, n: jax.lax.dynamic_slice(t, (n, 0), (2, 8)) + 1, table, np.int32(0)
    )

    def work(number: int) -> int:
        rows = [executable.profile(table, np.int32(number)).outputs[0] for _ in range(10)]
        return sum(not np.array_equal(row, table[number : number + 2] + 1) for row in rows)

    assert in_threads(work) == 0
