"""Weights are what they were: a program remembers what is in the files it refers to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from small_models import DENSE, dense_arrays, dense_oracle

import axonc
from axonc.tools.cli import main

CHANGED = "has changed since the program was compiled"


def program_in(folder: Path, suffix: str = ".safetensors", **options: object) -> Path:
    """DENSE and its weight file w<suffix>, by reference."""
    weights = {n: a for n, a in dense_arrays().items() if n != "x"}
    file = folder / f"w{suffix}"
    save_file(weights, file) if suffix == ".safetensors" else np.savez(file, **weights)
    axonc.compile(DENSE, weights=file, **options).save(folder / "p.axon")
    return folder / "p.axon"


def rewrite(file: Path, *, same_times: bool = False) -> None:
    """Other numbers, of the same size, in place."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-400, os.SEEK_END)
        stream.write(bytes(64))
    if same_times:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def check_runs(executable: axonc.Executable, atol: float = 2e-6) -> None:
    arrays = dense_arrays()
    y, _ = executable.run(arrays["x"])
    np.testing.assert_allclose(y, dense_oracle(**arrays)[0], atol=atol)


@pytest.mark.parametrize("same_times", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight_dtype": "int8"}])
def test_a_changed_number_is_an_error(
    tmp_path: Path, options: dict[str, object], same_times: bool
) -> None:
    program = program_in(tmp_path, **options)
    rewrite(tmp_path / "w.safetensors", same_times=same_times)
    executable = axonc.load(program)  # what needs no weights still can be asked
    assert executable.modelled_seconds > 0
    for checked in (True, False):
        with pytest.raises(axonc.UsageError, match=f"w.safetensors {CHANGED}"):
            executable.run(dense_arrays()["x"], checked=checked)
    trusted = axonc.load(program, trust_weights=True)
    assert trusted.run(dense_arrays()["x"])[0].shape == (4, 16)


def test_a_changed_npz_is_an_error(tmp_path: Path) -> None:
    program = program_in(tmp_path, ".npz")
    check_runs(axonc.load(program))
    time.sleep(0.01)
    weights = dense_arrays()
    np.savez(tmp_path / "w.npz", w=weights["w"] + 1, b=weights["b"])
    with pytest.raises(axonc.UsageError, match=f"w.npz {CHANGED}"):
        axonc.load(program).run(weights["x"])


def test_the_command_line_says_so_and_can_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = str(program_in(tmp_path))
    rewrite(tmp_path / "w.safetensors")
    assert main(["run", program, "--random-inputs", "0"]) == 2
    assert CHANGED in capsys.readouterr().err
    assert main(["run", program, "--random-inputs", "0", "--trust-weights"]) == 0
    assert main(["inspect", program]) == 0


def test_a_file_that_was_only_touched_or_copied_back_is_the_same(tmp_path: Path) -> None:
    program = program_in(tmp_path)
    file = tmp_path / "w.safetensors"
    executable = axonc.load(program)
    check_runs(executable)
    os.utime(file, (0, 0))
    check_runs(executable)
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    check_runs(axonc.load(program))


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_write_while_the_program_is_held_is_noticed(tmp_path: Path, is_loaded: bool) -> None:
    """The numbers are used where they lie in the file."""
    program, file = program_in(tmp_path), tmp_path / "w.safetensors"
    executable = axonc.load(program) if is_loaded else axonc.compile(DENSE, weights=file)
    check_runs(executable)
    rewrite(file)
    with pytest.raises(axonc.UsageError, match="w.safetensors has changed since"):
        executable.run(dense_arrays()["x"])
    with pytest.raises(axonc.UsageError, match="w.safetensors has changed since"):
        executable.save(tmp_path / "q.axon")
    assert not (tmp_path / "q.axon").exists()


def test_another_file_under_the_name_changes_nothing_that_is_loaded(tmp_path: Path) -> None:
    program_in(tmp_path)
    executable = axonc.load(tmp_path / "p.axon")
    zeros = {n: np.zeros_like(a) for n, a in dense_arrays().items() if n != "x"}
    save_file(zeros, tmp_path / "new.safetensors")
    os.replace(tmp_path / "new.safetensors", tmp_path / "w.safetensors")
    check_runs(executable)


def dense_with_arrays() -> axonc.Executable:
    weights = {n: a for n, a in dense_arrays().items() if n != "x"}
    return axonc.compile(DENSE, weights=weights)


def test_a_loaded_program_saved_again_keeps_its_weights(tmp_path: Path) -> None:
    first, second, alone = (tmp_path / name for name in ("p.axon", "q.axon", "alone"))
    dense_with_arrays().save(first)
    loaded = axonc.load(first)
    loaded.save(second)
    assert second.read_bytes() == first.read_bytes()
    loaded.save(first)  # onto itself
    check_runs(loaded)
    alone.mkdir()
    os.replace(first, alone / "p.axon")
    second.unlink()
    check_runs(axonc.load(alone / "p.axon"))


def test_a_program_of_files_saved_elsewhere_still_finds_them(tmp_path: Path) -> None:
    program = program_in(tmp_path)
    (tmp_path / "below").mkdir()
    axonc.load(program).save(tmp_path / "below" / "q.axon")
    check_runs(axonc.load(tmp_path / "below" / "q.axon"))
    axonc.load(program).save(tmp_path / "below" / "r.axon", embed_weights=True)
    (tmp_path / "w.safetensors").unlink()
    check_runs(axonc.load(tmp_path / "below" / "r.axon"))


def test_derived_weights_saved_again(tmp_path: Path) -> None:
    """8-bit numbers and scales, made from an array that travels in the file."""
    lowered = jax.jit(lambda w, x: x @ w).lower(
        np.ones((64, 64), np.float32), np.ones((8, 64), np.float32)
    )
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    executable = axonc.compile(lowered, weights={"w": w}, weight_dtype="int8")
    x = np.ones((8, 64), np.float32)
    expected = executable.run(x)[0]
    np.testing.assert_allclose(expected, x @ w, atol=0.5)
    executable.save(tmp_path / "p.axon")
    axonc.load(tmp_path / "p.axon").save(tmp_path / "q.axon")
    (tmp_path / "p.axon").unlink()
    np.testing.assert_array_equal(axonc.load(tmp_path / "q.axon").run(x)[0], expected)
