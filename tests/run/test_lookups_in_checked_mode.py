"""Indices outside of tables: defined (the nearest row), told in checked mode with op and line; and
how much checked mode has looked at."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.tools.cli import main

ROWS, WIDTH = 64, 8
TABLE = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)


def rows(table: jax.Array, ids: jax.Array) -> jax.Array:
    return table.at[ids].get(mode="promise_in_bounds")  # the line that is named


LINE = rows.__code__.co_firstlineno + 1


def compiled(function: Callable[..., object], *arguments: object) -> axonc.Executable:
    return axonc.compile(jax.jit(function).lower(*arguments))


def findings(function: Callable[..., object], *arguments: object) -> list[str]:
    """What a checked run tells; its results are those of XLA."""
    executable = compiled(function, *arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = executable.run(*jax.tree.leaves(arguments), checked=True)
    expected = jax.tree.leaves(jax.jit(function)(*arguments))
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)
    told = [str(w.message) for w in caught if w.category is axonc.FindingWarning]
    assert told == list(executable.check_report.findings)
    return told


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
@pytest.mark.parametrize("ids", [[1, 70, 3], [70], [[70]]])
def test_an_index_outside_is_told_with_line_and_table(ids: object, dtype: type) -> None:
    (line,) = findings(rows, TABLE, np.array(ids, dtype))
    assert f"{Path(__file__).name}:{LINE}:" in line and "gather" in line
    assert "index 70 lies outside of its table (0 to 63)" in line


def test_a_negative_index_after_python_s_wrap() -> None:
    (line,) = findings(rows, TABLE, np.array([-70, 1], np.int32))
    assert "index -6 lies outside of its table (0 to 63)" in line


def test_indices_inside_are_not_told() -> None:
    assert findings(rows, TABLE, np.array([0, 63, -1, -64], np.int32)) == []


def test_computed_indices_are_looked_at_too() -> None:
    def after(table: jax.Array, ids: jax.Array) -> jax.Array:
        return rows(table, jnp.cumsum(ids))

    (line,) = findings(after, TABLE, np.array([30, 30, 30], np.int32))
    assert "index 90 lies outside" in line


def test_two_indexed_dims() -> None:
    def elements(table: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
        return table.at[i, j].get(mode="promise_in_bounds")

    i, j = np.array([1, 2], np.int32), np.array([3, 9], np.int32)
    (line,) = findings(elements, TABLE, i, j)
    assert "index 9 lies outside of its table (0 to 7)" in line
    (line,) = findings(elements, TABLE, i - 90, j)
    assert "index -25 lies outside of its table" in line


def test_a_lookup_that_selects_by_its_indices_means_it() -> None:
    def filled(table: jax.Array, ids: jax.Array) -> jax.Array:
        return table.at[ids].get(mode="fill", fill_value=0)

    def masked(table: jax.Array, ids: jax.Array) -> jax.Array:
        return jnp.where((ids >= 0)[:, None], table[ids], 0)

    ids = np.array([1, -100, 70], np.int32)
    assert findings(filled, TABLE, ids) == []
    assert findings(masked, TABLE, ids) == []


def test_slices_are_limited_on_purpose() -> None:
    def window(table: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(table, (at, 0), (4, WIDTH))

    assert findings(window, TABLE, np.int32(70)) == []


def test_embeddings_of_torch_and_programs_from_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Embedding(ROWS, WIDTH)).eval()
    program = torch.export.export(module, (torch.tensor([[1, 2, 3]]),))
    axonc.compile(program).save(tmp_path / "p.axon")
    executable = axonc.load(tmp_path / "p.axon")
    for call in (executable.run, executable):
        with pytest.warns(axonc.FindingWarning, match=r"0/embedding\): index 70 lies out") as told:
            call(np.array([[1, 2, 70]]), checked=True)
        assert told[0].filename == __file__  # the line that made the call


def test_how_much_was_looked_at() -> None:
    executable = compiled(rows, TABLE, np.array([1, 2], np.int32))
    executable.run(TABLE, np.array([1, 2], np.int32))
    assert executable.check_report.instructions == 0  # a fast run looks at nothing
    executable.run(TABLE, np.array([1, 2], np.int32), checked=True)
    first = executable.check_report
    executable.run(TABLE, np.array([1, 2], np.int32), checked=True)
    assert executable.check_report == first
    assert first.accesses > first.instructions > 0 and first.findings == ()
    streams = executable.machine("checked").timeline(record=True).instruction_count
    assert first.instructions <= sum(streams.values())


def test_a_session_tells_it_too() -> None:
    def step(total: jax.Array, ids: jax.Array, table: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = total + rows(table, ids)
        return total, total.sum()

    total, ids = np.zeros((2, WIDTH), np.float32), np.array([1, 70], np.int32)
    lowered = jax.jit(step, donate_argnums=0).lower(total, ids, TABLE)
    session = axonc.compile(lowered).session({"total": total}, checked=True)
    with pytest.warns(axonc.FindingWarning, match="index 70 lies outside"):
        session.run(ids, TABLE)
    session.run(np.array([1, 2], np.int32), TABLE)
    assert session.check_report.findings == () and session.check_report.instructions > 0


def test_the_command_line_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, inputs = tmp_path / "p.axon", tmp_path / "in.npz"
    compiled(rows, TABLE, np.array([1, 2], np.int32)).save(program)
    for ids, code, said in (
        ([1, 2], 0, "checked: nothing found in "),
        ([1, 70], 1, "checked: 1 finding in "),
    ):
        np.savez(inputs, table=TABLE, ids=np.array(ids, np.int32))
        assert main(["run", str(program), "--inputs", str(inputs), "--checked"]) == code
        told = capsys.readouterr()
        assert said in told.out and "instructions and" in told.out
        assert ("finding: " in told.err and f":{LINE}:" in told.err) == bool(code)
    assert main(["run", str(program), "--inputs", str(inputs)]) == 0
    assert "checked" not in capsys.readouterr().out
