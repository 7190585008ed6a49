"""Sharded JAX programs through `axonc.compile`: whole arrays in and out, however many cores."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import axonc
from axonc.backends.executor.cores import MultiCoreMachine
from axonc.diagnostics import ExecutionError, UnsupportedOpError, UsageError
from axonc.imported.program import Argument, ImportedProgram
from axonc.sharding import Mesh, Sharding
from axonc.tools.cli import main
from axonc.weights.references import WeightRef

ALL_REDUCE = """
    %s = "stablehlo.all_reduce"(%p) <{channel_handle = #stablehlo.channel_handle<handle = 1,
        type = 1>, replica_groups = dense<GROUPS> : tensor<SHAPExi64>, use_global_device_ids}> ({
    ^bb0(%a: tensor<f32>, %b: tensor<f32>):
      %t = stablehlo.add %a, %b : tensor<f32>
      stablehlo.return %t : tensor<f32>
    }) : (tensor<64x32xf32>) -> tensor<64x32xf32>"""


def mlp(cores: int, weights: dict[str, np.ndarray] | None = None) -> ImportedProgram:
    """gelu-less MLP: v by columns, w by rows, over the axis "model" of a mesh of `cores`."""
    mesh = Mesh((("model", cores),))
    hidden = 96 // cores
    reduce = ALL_REDUCE.replace("GROUPS", str([list(range(cores))]))
    text = f"""
module attributes {{mhlo.num_partitions = {cores} : i32}} {{
  func.func @main(%x: tensor<64x32xf32>, %v: tensor<32x{hidden}xf32>,
                  %w: tensor<{hidden}x32xf32>) -> tensor<64x32xf32> {{
    %h = stablehlo.dot_general %x, %v, contracting_dims = [1] x [0] :
        (tensor<64x32xf32>, tensor<32x{hidden}xf32>) -> tensor<64x{hidden}xf32>
    %u = stablehlo.tanh %h : tensor<64x{hidden}xf32>
    %p = stablehlo.dot_general %u, %w, contracting_dims = [1] x [0] :
        (tensor<64x{hidden}xf32>, tensor<{hidden}x32xf32>) -> tensor<64x32xf32>
    {reduce.replace("SHAPE", f"1x{cores}")}
    return %s : tensor<64x32xf32>
  }}
}}"""
    by_dim = {"x": ((), ()), "v": ((), ("model",)), "w": (("model",), ())}
    shapes = {"x": (64, 32), "v": (32, 96), "w": (96, 32)}
    refs = {n: WeightRef.of_array(a, name=n) for n, a in (weights or {}).items()}
    arguments = tuple(
        Argument(n, shapes[n], "f32", refs.get(n), Sharding(mesh, by_dim[n])) for n in by_dim
    )
    replicated = (Sharding.replicated(mesh, 2),)
    return ImportedProgram(text.encode(), arguments, ("y",), mesh, replicated)


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = {"x": (64, 32), "v": (32, 96), "w": (96, 32)}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def reference(given: dict[str, np.ndarray]) -> np.ndarray:
    x, v, w = (given[n].astype(np.float64) for n in "xvw")
    return np.tanh(x @ v) @ w


@pytest.mark.parametrize("cores", [2, 4, 8])
@pytest.mark.parametrize("checked", [True, False])
def test_an_mlp_on_several_cores_equals_the_whole(cores, checked):
    given = arrays()
    executable = axonc.compile(mlp(cores))
    assert executable.compiled.cores == executable.compiled.options.cores == cores
    (y,) = executable.run(given, checked=checked)
    np.testing.assert_allclose(y, reference(given), atol=1e-5 * np.abs(y).max())


def test_weights_are_stored_once_and_cut_when_loaded(tmp_path: Path):
    given = arrays()
    executable = axonc.compile(mlp(4, {n: given[n] for n in "vw"}))
    (y,) = executable.run(given["x"])
    np.testing.assert_allclose(y, reference(given), atol=1e-4)
    executable.save(tmp_path / "p.axon")
    with zipfile.ZipFile(tmp_path / "p.axon") as file:
        assert file.getinfo("weights.bin").file_size == 2 * 96 * 32 * 4
        manifest = json.loads(file.read("manifest.json"))
    assert manifest["cores"] == 4 and manifest["groups"] == [[[0, 1, 2, 3]]]
    again = axonc.load(tmp_path / "p.axon")
    np.testing.assert_array_equal(again.run(given["x"])[0], y)
    assert again.compiled.weight_shardings == executable.compiled.weight_shardings
    assert again.inputs == executable.inputs


def test_cores_with_the_same_part_share_its_bytes():
    given = arrays()
    program = mlp(2, {n: given[n] for n in "vw"})
    mesh = Mesh((("data", 2), ("model", 2)))
    cut = [Sharding(mesh, a.sharding.dim_axes) for a in program.arguments]
    arguments = tuple(
        Argument(a.name, a.shape, a.dtype, a.weight, s)
        for a, s in zip(program.arguments, cut, strict=True)
    )
    text = program.module_bytes.decode().replace("[[0, 1]]", "[[0, 1], [2, 3]]")
    text = text.replace("1x2xi64", "2x2xi64").replace("partitions = 2", "partitions = 4")
    both = ImportedProgram(text.encode(), arguments, ("y",), mesh, (Sharding.replicated(mesh, 2),))
    executable = axonc.compile(both)
    np.testing.assert_allclose(executable.run(given["x"])[0], reference(given), atol=1e-4)
    first, second, third, _ = executable._weights
    assert all(first[name] is third[name] for name in first)
    assert not any(first[name] is second[name] for name in first)


def test_profile_inspect_and_trace_show_the_cores(tmp_path: Path, capsys):
    executable = axonc.compile(mlp(2))
    profile = executable.profile()
    assert "2 cores of inf2" in profile.summary() and "1 collectives" in profile.summary()
    profile.save_trace(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    (slice_,) = [e for e in events if e["name"] == "all_reduce" and e["tid"] >= 300]
    assert slice_["args"]["cores"] == [0, 1] and slice_["args"]["algorithm"] == "exchange"
    executable.save(tmp_path / "p.axon")
    assert main(["inspect", str(tmp_path / "p.axon"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["cores"], facts["instance"], facts["collectives"]) == (2, "inf2.xlarge", 1)
    assert main(["inspect", str(tmp_path / "p.axon")]) == 0
    assert "2 on 1 chip of inf2.xlarge" in capsys.readouterr().out


def test_wrong_numbers_of_cores_are_user_errors():
    with pytest.raises(UsageError, match="cores is 4; the program is sharded over 2"):
        axonc.compile(mlp(2), cores=4)
    with pytest.raises(UsageError, match="largest inf2 instance has 24"):
        axonc.compile(mlp(2), cores=48)
    unsharded = ImportedProgram(
        mlp(2).module_bytes,
        tuple(Argument(a.name, a.local_shape, a.dtype) for a in mlp(2).arguments),
        ("y",),
    )
    with pytest.raises(UnsupportedOpError, match="what each of 2 partitions runs"):
        axonc.compile(unsharded)


def test_wrong_arrays_are_named_as_on_one_core():
    executable = axonc.compile(mlp(2))
    given = arrays()
    with pytest.raises(ExecutionError, match=r"input 'v' is float32\[32, 48\], expected"):
        executable.run(given["x"], given["v"][:, :48], given["w"])


def test_copies_of_a_result_that_differ_are_an_error():
    """A result said to be replicated that is not."""
    program = mlp(2)
    text = program.module_bytes.decode().replace("return %s", "return %p")
    wrong = ImportedProgram(
        text.encode(), program.arguments, ("y",), program.mesh, program.result_shardings
    )
    with pytest.raises(ExecutionError, match="result 'y': core 1 has another copy"):
        axonc.compile(wrong).run(arrays())


def test_all_24_cores_of_the_largest_instance():
    given = arrays()
    executable = axonc.compile(mlp(24))
    np.testing.assert_allclose(executable.run(given)[0], reference(given), atol=1e-4)
    assert isinstance(executable.cores(), MultiCoreMachine)
