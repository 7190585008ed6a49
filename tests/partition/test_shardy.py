"""Sharded JAX programs: one rank's program, run on all ranks, is the whole function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from axonc.diagnostics import UnsupportedOpError
from axonc.frontends import ImportedProgram, import_program
from axonc.project_paths import project_path
from axonc.sharding import Mesh

HERE_IN_PROJECT = project_path(__file__)

HERE = Path(__file__).parent
MESH = AbstractMesh((2, 2), ("dp", "tp"))


def on(*axes: object) -> NamedSharding:
    return NamedSharding(MESH, P(*axes))


def lowered(function: object, shapes: list[tuple[int, ...]], **options: object) -> object:
    types = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    return jax.jit(function, **options).trace(*types).lower(lowering_platforms=("cpu",))


def mlp(x: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.gelu(x @ w, approximate=False) @ v


MLP_SHAPES = [(8, 16), (16, 32), (32, 16)]


@pytest.fixture(scope="module")
def tensor_parallel() -> ImportedProgram:
    shardings = (on("dp"), on(None, "tp"), on("tp"))
    return import_program(lowered(mlp, MLP_SHAPES, in_shardings=shardings))


def test_every_kind_of_operation_equals_the_whole_function() -> None:
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "sharded_cases.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (cases[-1:], done.stderr[-2000:])
    assert len(cases) > 55
    assert [case for case in cases if not case[2] < 2e-6] == []
    ran = [case for case in cases if not isinstance(case[3], str)]
    assert len(ran) >= 36
    assert [case for case in ran if not case[3] < 1e-5] == []


def test_arguments_are_whole_and_the_module_is_one_ranks(
    tensor_parallel: ImportedProgram, located: object
) -> None:
    program = tensor_parallel
    assert program.mesh == Mesh((("dp", 2), ("tp", 2)))
    assert program.cores == 4
    assert [a.shape for a in program.arguments] == MLP_SHAPES
    assert [a.local_shape for a in program.arguments] == [(4, 16), (16, 16), (16, 16)]
    assert [str(s) for s in program.result_shardings] == ["[dp, -]"]
    text = located(program)
    assert "tensor<4x16xf32>, " in text and "sdy" not in text
    assert f'"{HERE_IN_PROJECT}"' in text


def test_a_column_then_a_row_parallel_product_is_summed_once(
    tensor_parallel: ImportedProgram, census: object
) -> None:
    counts = census(tensor_parallel)
    assert counts["stablehlo.all_reduce"] == 1
    assert counts["stablehlo.all_gather"] == 0
    assert counts["chlo.erfc"] == 1, "stays whole for the machine's own instruction"


def test_dims_that_have_to_be_whole_are_named() -> None:
    program = import_program(
        lowered(lambda x: jnp.sort(x, 1), [(8, 16)], in_shardings=on("dp", "tp"))
    )
    assert len(program.sharding_notes) == 1
    assert "stablehlo.sort" in program.sharding_notes[0]
    assert HERE_IN_PROJECT in program.sharding_notes[0]


def test_the_rank_is_a_weight(census: object) -> None:
    program = import_program(
        lowered(lambda x: x * jnp.arange(16.0), [(8, 16)], in_shardings=on("dp", "tp"))
    )
    (table,) = program.weights.values()
    assert table.load().tolist() == [0, 8, 0, 8]
    assert census(program)["stablehlo.partition_id"] == 0


def test_the_end_of_shardys_process_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = tmp_path / "python"
    said = "LLVM ERROR: F1123 10:08 convert.cc:77] Check failed: localType Uneven"
    dying.write_text(f"#!/bin/sh\necho 'pass: sdy-convert' >&2\necho '{said}' >&2\nkill -6 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(
        UnsupportedOpError, match=r"in sdy-convert\): Check failed: localType Uneven"
    ):
        import_program(lowered(mlp, MLP_SHAPES, in_shardings=(on("dp"), on(), on())))


def test_two_meshes_are_refused() -> None:
    other = NamedSharding(AbstractMesh((4,), ("z",)), P("z"))
    with pytest.raises((UnsupportedOpError, ValueError), match="mesh"):
        import_program(lowered(mlp, MLP_SHAPES, in_shardings=(on("dp"), other, on())))
