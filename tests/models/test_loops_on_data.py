"""Loops and branches that depend on data, as branches of the sequencers, against XLA, in both
modes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc
from axonc.tools.cli import main

X = np.linspace(0.1, 1, 4 * 8, dtype=np.float32).reshape(4, 8)
W = np.random.default_rng(3).normal(scale=0.4, size=(8, 8)).astype(np.float32)

Function = Callable[..., object]


def assert_as_xla(function: Function, *arguments: object, rtol: float = 1e-5) -> axonc.Executable:
    executable = axonc.compile(jax.jit(function, keep_unused=True).lower(*arguments))
    expected = jax.tree.leaves(jax.jit(function)(*arguments))
    for checked in (True, False):
        results = executable.run(*arguments, checked=checked)
        for found, wanted in zip(results, expected, strict=True):
            assert found.dtype == wanted.dtype
            np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-6)
    return executable


def counted(n: jax.Array, begin: object, step: Callable[[jax.Array, object], object]) -> object:
    return lax.fori_loop(0, n, step, begin)


def newton(a: jax.Array) -> jax.Array:
    return lax.while_loop(
        lambda y: jnp.any(jnp.abs(y * y - a) > 1e-4), lambda y: 0.5 * (y + a / y), jnp.ones_like(a)
    )


def power_iteration(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    def step(s: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        v = a @ s[0]
        v = v / jnp.sqrt((v * v).sum())
        return v, s[0], jnp.abs(v - s[0]).max()

    start = (jnp.full(8, 8**-0.5), jnp.zeros(8), jnp.float32(1))
    return lax.while_loop(lambda s: s[2] > 1e-3, step, start)[:2]


def doubled_until(limit: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The carried mask decides."""
    return lax.while_loop(
        lambda s: jnp.any(s[0]), lambda s: (s[1] * 2 < limit, s[1] * 2), (x < limit, x)
    )


PROGRAMS: dict[str, tuple[Function, tuple[object, ...]]] = {
    "swapped": (lambda n, a, b: counted(n, (a, b), lambda i, s: (s[1], s[0])), (3, X, X * 2)),
    "swapped and turned": (
        lambda n, a, b: counted(n, (a, b), lambda i, s: (s[1].T, s[0].T)),
        (3, X, (X * 2).T),
    ),
    "reversed": (lambda n, a: counted(n, a, lambda i, s: s[::-1]), (3, X)),
    "a counter in the body": (lambda n, a: counted(n, a, lambda i, s: s * 0.5 + i), (7, X)),
    "inner bounds of the outer counter": (
        lambda n, a: counted(n, a, lambda i, s: counted(i + 1, s, lambda j, t: t * 0.5 + j)),
        (4, X),
    ),
    "a weight": (lambda n, a, w: counted(n, a, lambda i, s: jnp.tanh(s @ w)), (4, X, W)),
    "rows one after the other": (
        lambda n, a: counted(
            n, a, lambda i, s: lax.dynamic_update_index_in_dim(s, s[i] * 2 + 1, i + 1, 0)
        ),
        (3, X),
    ),
    "a loop in the condition": (
        lambda n, a: lax.while_loop(
            lambda s: lax.while_loop(lambda t: t * t < s[0], lambda t: t + 1, 0) < n,
            lambda s: (s[0] + 3, s[1] * 2),
            (0, a),
        ),
        (4, X),
    ),
    "newton": (newton, (X,)),
    "power iteration": (power_iteration, (X.T @ X,)),
    "a mask": (doubled_until, (np.float32(20), X)),
    "a loop after a loop": (
        lambda n, a: counted(n, counted(n, a, lambda i, s: s + i).T, lambda i, s: s * 2),
        (3, X),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_loops(name: str) -> None:
    function, arguments = PROGRAMS[name]
    arrays = [np.int32(a) if isinstance(a, int) else a for a in arguments]
    assert_as_xla(function, *arrays, rtol=1e-3 if name == "power iteration" else 1e-5)


@pytest.mark.parametrize("n", [-1, 0, 1, 6])
def test_any_number_of_iterations(n: int) -> None:
    assert_as_xla(lambda n, x: counted(n, x, lambda i, s: s + i * x), np.int32(n), X)


def test_the_time_belongs_to_a_run() -> None:
    executable = axonc.compile(jax.jit(lambda n, x: counted(n, x, lambda i, s: s * 2)).lower(1, X))
    with pytest.raises(axonc.ExecutionError, match="time of this program depends on its data"):
        _ = executable.modelled_seconds
    executable.run(np.int32(1), X)
    short = executable.modelled_seconds
    executable.run(np.int32(20), X)
    assert executable.modelled_seconds > short


def test_a_program_file_keeps_loops(tmp_path: Path) -> None:
    function = lambda n, x: counted(n, x, lambda i, s: s * 2 + i)  # noqa: E731
    path = tmp_path / "loop.axon"
    axonc.compile(jax.jit(function).lower(1, X)).save(path)
    loaded = axonc.load(path)
    assert loaded.time_depends_on_data
    for checked in (True, False):
        (found,) = loaded.run(np.int32(4), X, checked=checked)
        np.testing.assert_allclose(found, function(4, X), rtol=1e-5)


def test_inspect_says_that_time_depends_on_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "loop.axon"
    executable = axonc.compile(jax.jit(lambda n, x: counted(n, x, lambda i, s: -s)).lower(1, X))
    executable.save(path)
    assert main(["inspect", str(path)]) == 0
    assert "modelled time: depends on data" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["modelled_seconds"] is None
    assert facts["time_depends_on_data"]
    assert facts["instructions"]["sync"] > 0
    assert main(["profile", str(path)]) == 1
    assert "'axonc profile' takes --inputs" in capsys.readouterr().err


def test_the_time_of_a_checked_run_is_known(tmp_path: Path) -> None:
    executable = axonc.compile(jax.jit(lambda n, x: counted(n, x, lambda i, s: -s)).lower(1, X))
    executable.run(np.int32(3), X, checked=True)
    checked = executable.modelled_seconds
    executable.run(np.int32(3), X)
    assert executable.modelled_seconds == checked


def test_state_that_a_loop_updates_stays_in_a_session() -> None:
    def step(n: jax.Array, state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = lax.fori_loop(0, n, lambda i, s: s * 0.5 + x, state)
        return state, state.sum()

    executable = axonc.compile(jax.jit(step, donate_argnums=1).lower(1, X, X))
    session = executable.session({"state": X}, checked=True)
    state = X
    for n in (2, 0, 3):
        state, total = step(np.int32(n), state, X)
        np.testing.assert_allclose(session.run(np.int32(n), X)[0], total, rtol=1e-5)
    np.testing.assert_allclose(session.state()["state"], state, rtol=1e-5)


BRANCHES = [
    lambda n, x: counted(n, x, lambda i, s: s * 2),
    lambda n, x: x + 1,
    lambda n, x: counted(n, x, lambda i, s: s + i),
]


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 5])
def test_branches_with_loops_are_jumped_to(number: int) -> None:
    """The loop of a branch that is not taken might never end."""
    executable = assert_as_xla(
        lambda k, n, x: lax.switch(k, BRANCHES, n, x), np.int32(number), np.int32(3), X
    )
    assert executable.time_depends_on_data


@pytest.mark.parametrize("taken", [True, False])
def test_dear_branches_are_jumped_to(taken: bool) -> None:
    w = np.random.default_rng(4).normal(scale=0.05, size=(512, 512)).astype(np.float32)
    executable = assert_as_xla(
        lambda p, x, w: lax.cond(p, lambda y: jnp.tanh(y @ w @ w), lambda y: y @ w.T @ w, x),
        np.bool_(taken),
        w,
        w,
        rtol=1e-3,
    )
    assert executable.time_depends_on_data


def test_a_long_loop_of_known_length_stays_a_loop() -> None:
    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(h @ W + x)
        for _ in range(12):
            h = h * 0.9 + 0.01
        return h, h.sum()

    xs = np.random.default_rng(5).normal(size=(301, 4, 8)).astype(np.float32)
    executable = assert_as_xla(lambda h, xs: lax.scan(step, h, xs), X, xs, rtol=1e-4)
    assert not executable.time_depends_on_data
    instructions = sum(len(data) for data in executable.compiled.program.streams.values())
    assert instructions < 301 * 30 * 64
    profile = executable.profile()
    assert "wait at a barrier" in profile.summary()
    # Rows are read and written where they lie, whatever is carried beside them.
    assert profile.hbm_bytes_read < 4 * xs.nbytes


def test_an_old_value_is_handed_on_though_its_place_is_written() -> None:
    """What the loop carries second is the first of the iteration before, and is never read in the
    body; the first is updated row by row."""

    def function(n: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(i: jax.Array, s: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return s[0].at[i % 4].set(s[0][3 - i % 4] * 2), s[0]

        return lax.fori_loop(0, n, step, (x, jnp.zeros_like(x)))

    for n in (1, 2, 5):
        assert_as_xla(function, np.int32(n), X)
