"""Programs over cores from the command line, and pipelines of layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import axonc
from axonc.diagnostics import CompileError
from axonc.frontends import ImportedProgram, import_program
from axonc.partition.pipeline_parallel import split_into_stages
from axonc.tools.cli import main
from axonc.tools.core_report import core_facts

WIDTH, LAYERS = 32, 4


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {f"up{i}": (WIDTH, 2 * WIDTH) for i in range(LAYERS)}
    shapes |= {f"down{i}": (2 * WIDTH, WIDTH) for i in range(LAYERS)}
    return {n: random.normal(size=s, scale=0.2).astype(np.float32) for n, s in shapes.items()}


def model(w: dict[str, Any], x: Any, keep: Any) -> Any:
    """Four residual layers and a mask they all read; the hidden sums of the second are a result."""
    sums = []
    mask = jnp.where(keep > 0, 1.0, 0.5)[:, None]
    for i in range(LAYERS):
        hidden = jnp.tanh(x @ w[f"up{i}"]) * mask
        sums.append(hidden.sum(-1))
        x = x + hidden @ w[f"down{i}"]
    return x, sums[1]


def lowered() -> Any:
    types = {n: jax.ShapeDtypeStruct(v.shape, v.dtype) for n, v in weights().items()}
    x = jax.ShapeDtypeStruct((8, WIDTH), np.float32)
    return jax.jit(model).lower(types, x, jax.ShapeDtypeStruct((8,), np.float32))


@pytest.fixture(scope="module")
def program() -> ImportedProgram:
    return import_program(lowered(), weights=weights())


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "x": random.normal(size=(8, WIDTH)).astype(np.float32),
        "keep": np.array([1, 0] * 4, np.float32),
    }


@pytest.fixture(scope="module")
def expected(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(r) for r in model(weights(), **inputs)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: ImportedProgram) -> Path:
    """model.mlirbc, its weights and inputs, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.mlirbc").write_bytes(program.module_bytes)
    save_file({f"w.{n}": v for n, v in weights().items()}, "w.safetensors")
    return tmp_path


COMPILE = ["compile", "model.mlirbc", "--weights", "w.safetensors", "-o", "m.axon"]


@pytest.mark.parametrize("cores", [2, 4])
def test_a_pipeline_equals_one_core(
    program: ImportedProgram,
    inputs: dict[str, np.ndarray],
    expected: list[np.ndarray],
    cores: int,
) -> None:
    pipeline = axonc.compile(program, cores=cores, parallel="pipeline")
    for found, wanted in zip(pipeline.run(inputs, checked=True), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    facts = core_facts(pipeline)
    ends = [row["end_seconds"] for row in facts["per_core"]]
    assert ends == sorted(ends)
    assert 0 < facts["interval_seconds"] < pipeline.modelled_seconds


def test_stages_are_balanced_and_hold_their_weights_alone(program: ImportedProgram) -> None:
    stages = split_into_stages(program, LAYERS, "inf2")
    for i, stage in enumerate(stages):
        assert set(stage.program.weights) == {f"w.up{i}", f"w.down{i}"}
    costs = [stage.cost_seconds for stage in stages]
    assert max(costs) < 1.5 * min(costs)
    assert [stage.results for stage in stages] == [(), (1,), (), (0,)]
    assert [a.name for a in stages[2].program.inputs] == ["keep"]


def test_more_stages_than_places_are_refused(program: ImportedProgram) -> None:
    with pytest.raises(CompileError, match=r"can be cut into \d+ stages, not 24"):
        axonc.compile(program, cores=24, parallel="pipeline")


def test_a_pipeline_from_the_command_line(
    folder: Path,
    inputs: dict[str, np.ndarray],
    expected: list[np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*COMPILE, "--pipeline-cores", "2"]) == 0
    np.testing.assert_allclose(axonc.load("m.axon").run(inputs)[0], expected[0], atol=1e-5)
    np.savez("in.npz", **inputs)
    assert main(["run", "m.axon", "--inputs", "in.npz", "--outputs", "out.npz"]) == 0
    capsys.readouterr()
    assert main(["inspect", "m.axon", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["per_core"]) == facts["cores"] == 2
    assert main(["inspect", "m.axon"]) == 0
    assert "calls may follow each other" in capsys.readouterr().out
    assert main(["inspect", "m.axon", "--sharding"]) == 0
    assert "core 1: 4 weights, w.down2 to w.up3" in capsys.readouterr().out
    assert main(["inspect", "m.axon", "--disassemble"]) == 0
    assert capsys.readouterr().out.count("collective_permute") == 2


def test_tensor_parallel_from_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMPILE, "--cores", "4", "--tensor-parallel"]) == 0
    capsys.readouterr()
    assert main(["inspect", "m.axon", "--sharding"]) == 0
    text = capsys.readouterr().out
    assert "w.up0: cut [-, tp]" in text and "w.down0: cut [tp, -]" in text
    assert main([*COMPILE, "--cores", "2", "--pipeline-cores", "4"]) != 0
    assert "--pipeline-cores 4" in capsys.readouterr().err
    assert main([*COMPILE, "--cores", "2"]) != 0
    assert "--tensor-parallel" in capsys.readouterr().err


def test_cores_that_do_the_same_work_are_noted() -> None:
    def notes(**options: object) -> str:
        return "".join(axonc.compile(lowered(), weights=weights(), **options).notes)

    assert notes(parallel="tensor", cores=2) == ""
    assert notes(parallel="tensor", cores=3).startswith(
        "no weight was cut, each of 3 cores does all the work: "
    )
    assert "there is one core" in notes(parallel="tensor")


def test_a_pass_that_takes_long_is_named_while_it_runs() -> None:
    import io
    import time

    from axonc.tools.progress_bar import ProgressLines

    stream = io.StringIO()
    lines = ProgressLines(stream, quiet_seconds=0.05)
    lines("quick", 0, 3)
    lines("slow", 1, 3)
    time.sleep(0.5)
    lines("last", 2, 3)
    lines.close()
    time.sleep(0.2)
    assert stream.getvalue().split("] ")[1:] == ["slow\n"]
