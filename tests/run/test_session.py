"""State that stays in device memory between calls: donated arguments, mutated buffers."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.backends.program import TensorKind

RNG = np.random.default_rng(11)
ROWS, WIDTH = 24, 16


def step(cache: jax.Array, row: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A running sum over a cache [2, ROWS, WIDTH] with a new row at `at`."""
    cache = jax.lax.dynamic_update_slice(cache, row[:, None], (0, at, 0))
    return cache.sum(axis=1), cache


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def compiled(function: object = step, **options: object) -> axonc.Executable:
    arguments = floats(2, ROWS, WIDTH), floats(2, WIDTH), np.int32(0)
    return axonc.compile(jax.jit(function, **{"donate_argnums": 0, **options}).lower(*arguments))


def hbm_bytes_written(executable: axonc.Executable) -> int:
    timeline = executable.machine().timeline()
    return timeline.hbm_bytes - timeline.hbm_read_bytes


def test_a_donated_argument_is_updated_in_place() -> None:
    executable = compiled()
    (out,) = [t for t in executable.compiled.tensors(TensorKind.OUTPUT) if t.alias]
    (cache,) = [t for t in executable.compiled.tensors(TensorKind.INPUT) if t.name == "cache"]
    assert (out.alias, out.address) == ("cache", cache.address)
    assert hbm_bytes_written(executable) == 2 * (2 * WIDTH) * 4  # the row and the sums
    assert hbm_bytes_written(compiled(donate_argnums=())) > cache.size_bytes


def test_a_session_keeps_the_state_and_gives_the_other_results() -> None:
    executable = compiled()
    session = executable.session(executable.zero_state(), checked=True)
    assert [i.name for i in session.inputs] == ["row", "at"]
    assert [r.name for r in session.results] == ["result.0"]
    cache = np.zeros((2, ROWS, WIDTH), np.float32)
    for at in (3, 0, 3, ROWS + 5):
        row = floats(2, WIDTH)
        sums, cache = map(np.asarray, step(cache, row, at))
        (found,) = session.run(row, np.int32(at))
        np.testing.assert_allclose(found, sums, atol=1e-5)
    np.testing.assert_array_equal(session.state()["cache"], cache)


def test_sessions_do_not_share_memory_and_run_takes_all_inputs() -> None:
    executable = compiled()
    first, second = floats(2, ROWS, WIDTH), floats(2, ROWS, WIDTH)
    sessions = [executable.session({"cache": c}) for c in (first, second)]
    row = floats(2, WIDTH)
    whole = executable.run(first, row, np.int32(1))
    found = [s.run({"row": row, "at": np.int32(1)})[0] for s in sessions]
    for cache, sums in zip((first, second), found, strict=True):
        np.testing.assert_allclose(sums, step(cache, row, 1)[0], atol=1e-5)
    np.testing.assert_array_equal(whole[1], sessions[0].state()["cache"])
    np.testing.assert_array_equal(whole[0], found[0])


def test_state_that_is_not_updated_in_place_is_carried_over() -> None:
    def scaled(cache: jax.Array, row: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
        return cache[0, at], cache * 0.5 + row[:, None]

    executable = compiled(scaled)
    assert not any(t.alias for t in executable.compiled.tensors(TensorKind.OUTPUT))
    cache = floats(2, ROWS, WIDTH)
    session = executable.session({"cache": cache})
    for at in range(3):
        row = floats(2, WIDTH)
        expected, cache = map(np.asarray, scaled(cache, row, at))
        np.testing.assert_allclose(session.run(row, np.int32(at))[0], expected, atol=1e-6)
    np.testing.assert_allclose(session.state()["cache"], cache, atol=1e-6)


def test_an_update_is_not_in_place_when_the_old_state_is_read_later() -> None:
    def both(cache: jax.Array, row: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
        new = jax.lax.dynamic_update_slice(cache, row[:, None], (0, at, 0))
        return new.sum(axis=1) @ (cache.sum(axis=1).T), new

    executable = compiled(both)
    cache, row = floats(2, ROWS, WIDTH), floats(2, WIDTH)
    expected = jax.jit(both)(cache, row, 2)
    found = executable.run(cache, row, np.int32(2), checked=True)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def test_two_states_swap_places() -> None:
    def swapped(pair: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[object, jax.Array]:
        a, b = pair
        new = jax.lax.dynamic_update_slice(a, x, (0, 1))
        return (b + 1, new), a[:1] + b[:1]

    pair = floats(4, 8), floats(4, 8)
    lowered = jax.jit(swapped, donate_argnums=0).lower(pair, floats(1, 2))
    executable = axonc.compile(lowered)
    session = executable.session({"pair.0": pair[0], "pair.1": pair[1]}, checked=True)
    for _ in range(3):
        x = floats(1, 2)
        pair, top = swapped(pair, x)
        np.testing.assert_array_equal(session.run(x)[0], top)
    for found, wanted in zip(session.state().values(), pair, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_state_survives_a_program_file(tmp_path: Path) -> None:
    compiled().save(tmp_path / "step.axon")
    loaded = axonc.load(tmp_path / "step.axon")
    assert [h.name for h in loaded.state_inputs] == ["cache"]
    session = loaded.session(loaded.zero_state())
    row = floats(2, WIDTH)
    np.testing.assert_allclose(session.run(row, np.int32(0))[0], row, atol=1e-6)


def test_state_survives_an_artifact() -> None:
    from axonc.frontends import import_program

    arguments = jnp.zeros((2, ROWS, WIDTH)), jnp.zeros((2, WIDTH)), np.int32(0)
    imported = import_program(jax.jit(step, donate_argnums=0).lower(*arguments))
    again = import_program(imported.module_bytes)
    assert imported.aliases == again.aliases == {"cache": "result.1"}


def test_donors_take_results_of_their_type() -> None:
    from axonc.frontends import import_program

    text = """func.func @main(%a: tensor<4xf32> {jax.buffer_donor = true}, %b: tensor<3xf32>
        {jax.buffer_donor = true}, %c: tensor<4xf32> {jax.buffer_donor = true})
        -> (tensor<4xf32>, tensor<4xf32>) {
      %0 = stablehlo.add %a, %c : tensor<4xf32>
      return %0, %c : tensor<4xf32>, tensor<4xf32> }"""
    assert import_program(text).aliases == {"arg0": "result0", "arg2": "result1"}


def test_mistakes_are_named() -> None:
    executable = compiled()
    with pytest.raises(axonc.UsageError, match=r"state 'cache' is missing"):
        executable.session({})
    with pytest.raises(axonc.UsageError, match=r"no state 'cach'"):
        executable.session({"cach": 0})
    with pytest.raises(axonc.ExecutionError, match=r"input 'cache' is float32\[2, 2\]"):
        executable.session({"cache": floats(2, 2)})
    with pytest.raises(axonc.UsageError, match="no state to keep"):
        compiled(donate_argnums=()).session({})
    with pytest.raises(axonc.ExecutionError, match="takes 2"):
        executable.session(executable.zero_state()).run(floats(2, WIDTH))


def test_mutated_buffers_of_torch() -> None:
    torch = pytest.importorskip("torch")

    class Cache(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(1, 4, ROWS, WIDTH))
            self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

        def forward(self, x: object, at: object) -> object:
            self.cache.index_copy_(2, at, x)
            self.steps.add_(1)
            return {"sum": self.cache.sum(2), "many": self.steps > 2}

    module = Cache().eval()
    example = torch.randn(1, 4, 1, WIDTH), torch.tensor([3])
    executable = axonc.compile(torch.export.export(module, example, strict=False))
    assert [str(r.name) for r in executable.results] == [
        "sum", "many", "updated.cache", "updated.steps",
    ]  # fmt: skip
    session = executable.session(executable.zero_state(), checked=True)
    for at in range(4):
        x = torch.randn(1, 4, 1, WIDTH)
        wanted = module(x, torch.tensor([at * 5]))
        found = session.run(x.numpy(), np.array([at * 5]))
        np.testing.assert_allclose(found[0], wanted["sum"].numpy(), atol=1e-5)
        np.testing.assert_array_equal(found[1], wanted["many"].numpy())
    np.testing.assert_array_equal(session.state()["cache"], module.cache.numpy())
