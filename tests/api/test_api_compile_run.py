"""axonc.compile, Executable.run and Executable.profile as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_models import DENSE, SELECT, TWICE, UNSUPPORTED, dense_arrays, dense_oracle

import axonc

# Products and sums are FP32 of 8 terms; tanh is exact to a few ulp in the executor.
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def dense() -> axonc.Executable:
    return axonc.compile(DENSE)


def check_dense(found: list[np.ndarray], arrays: dict[str, np.ndarray]) -> None:
    for result, expected in zip(found, dense_oracle(**arrays), strict=True):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=TOLERANCE)


def test_run_takes_arrays_in_order(dense: axonc.Executable) -> None:
    arrays = dense_arrays()
    check_dense(dense.run(arrays["x"], arrays["w"], arrays["b"]), arrays)


def test_run_takes_arrays_by_name(dense: axonc.Executable) -> None:
    arrays = dense_arrays(1)
    check_dense(dense.run(dict(reversed(arrays.items()))), arrays)


def test_checked_mode_gives_the_same_results(dense: axonc.Executable) -> None:
    """But for the order of additions in products."""
    arrays = dense_arrays(2)
    for fast, checked in zip(dense.run(arrays), dense.run(arrays, checked=True), strict=True):
        np.testing.assert_allclose(fast, checked, atol=TOLERANCE / 4)


def test_a_second_run_does_not_see_the_first(dense: axonc.Executable) -> None:
    first = dense.run(dense_arrays(3))
    kept = [a.copy() for a in first]
    check_dense(dense.run(dense_arrays(4)), dense_arrays(4))
    assert [a.tobytes() for a in first] == [a.tobytes() for a in kept]


def test_interfaces_are_described(dense: axonc.Executable) -> None:
    assert [str(t) for t in dense.inputs] == [
        "x: tensor<4x8xf32>", "w: tensor<8x16xf32>", "b: tensor<16xf32>",
    ]  # fmt: skip
    assert [str(t) for t in dense.results] == ["y: tensor<4x16xf32>", "top: tensor<4xf32>"]


def test_weights_by_array_leave_the_inputs() -> None:
    arrays = dense_arrays()
    bound = axonc.compile(DENSE, weights={"w": arrays["w"], "b": arrays["b"]})
    assert [t.name for t in bound.inputs] == ["x"]
    check_dense(bound.run(arrays["x"]), arrays)


def test_weights_by_file(tmp_path: Path) -> None:
    arrays = dense_arrays()
    save_file({"w": arrays["w"], "b": arrays["b"]}, tmp_path / "w.safetensors")
    bound = axonc.compile(DENSE, weights=tmp_path / "w.safetensors")
    check_dense(bound.run(arrays["x"]), arrays)


def test_narrow_results_have_host_dtypes() -> None:
    executable = axonc.compile(SELECT)
    ids, other = np.array([1, -2, 3, 2**31 - 1]), np.array([5, 6, 7, 8])
    keep = np.array([True, False, True, True])
    chosen, same = executable.run(ids, keep, other)
    assert chosen.dtype == np.int64 and same.dtype == np.bool_
    assert chosen.tolist() == [1, 6, 3, 2**31 - 1]
    assert same.tolist() == [True, False, True, True]


def test_modelled_time_is_known_without_running(dense: axonc.Executable) -> None:
    fresh = axonc.compile(DENSE)
    assert 0 < fresh.modelled_seconds < 1e-3
    dense.run(dense_arrays())
    assert dense.modelled_seconds == fresh.modelled_seconds


def test_profile_adds_up(dense: axonc.Executable) -> None:
    arrays = dense_arrays()
    profile = dense.profile(arrays)
    check_dense(profile.outputs, arrays)
    assert profile.modelled_seconds == dense.modelled_seconds
    assert all(0 <= s <= profile.modelled_seconds for s in profile.bound_seconds.values())
    stalls = profile.stall_seconds
    assert stalls.keys() == profile.timeline.busy_ns.keys()
    assert max(sum(reasons.values()) for reasons in stalls.values()) > 0
    for engine, reasons in stalls.items():
        busy = profile.timeline.busy_ns[engine] * 1e-9
        assert busy + sum(reasons.values()) <= profile.modelled_seconds * (1 + 1e-9)


def test_bytes_read_are_those_of_the_input() -> None:
    profile = axonc.compile(TWICE).profile()
    assert profile.hbm_bytes_read == 128 * 64 * 4
    assert profile.timeline.hbm_bytes == 2 * 128 * 64 * 4


def test_profile_says_modelled_not_measured(dense: axonc.Executable) -> None:
    text = dense.profile().summary()
    assert "modelled, not measured" in text
    assert all(name in text for name in ("tensor", "vector", "scalar", "gpsimd", "sync", "dma"))


def test_trace_is_json_with_every_instruction(dense: axonc.Executable, tmp_path: Path) -> None:
    profile = dense.profile()
    profile.save_trace(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    slices = [e for e in events if e["ph"] == "X" and "instruction" in e["args"]]
    on_engines = [e for e in slices if e["name"] != "transfer"]
    assert len(on_engines) == sum(profile.timeline.instruction_count.values())


def test_auto_cast_reports_what_it_cast() -> None:
    cast = axonc.compile(DENSE, auto_cast="matmult")
    assert len(cast.compiled.casts) == 1 and "f32 -> bf16" in cast.compiled.casts[0]
    assert axonc.compile(DENSE).compiled.casts == ()


def test_dump_ir_is_numbered_and_replaces_old_dumps(tmp_path: Path) -> None:
    (tmp_path / "000-old.mlir").write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    axonc.compile(DENSE, dump_ir=tmp_path)
    names = sorted(p.name for p in tmp_path.glob("*.mlir"))
    assert [int(name[:3]) for name in names] == list(range(len(names)))
    assert names[0] == "000-input.mlir" and names[-1].endswith("-lower.mlir")
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_check_finds_everything_at_once() -> None:
    found = {finding.op for finding in axonc.check(UNSUPPORTED)}
    assert "stablehlo.cholesky" in found and len(found) >= 2
    assert axonc.check(DENSE) == []


def test_check_finds_64_bit_arithmetic_beside_other_things() -> None:
    text = """func.func @main(%a: tensor<9xi64>, %i: tensor<2000x1xi32>, %u: tensor<2000xi64>,
        %b: tensor<2x2xf32>) -> (tensor<9xi64>, tensor<2x2xf32>) {
      %0 = "stablehlo.scatter"(%a, %i, %u) ({
      ^bb0(%x: tensor<i64>, %y: tensor<i64>):
        %p = stablehlo.multiply %x, %y : tensor<i64>
        stablehlo.return %p : tensor<i64>
      }) {scatter_dimension_numbers = #stablehlo.scatter<inserted_window_dims = [0],
          scatter_dims_to_operand_dims = [0], index_vector_dim = 1>}
        : (tensor<9xi64>, tensor<2000x1xi32>, tensor<2000xi64>) -> tensor<9xi64>
      %1 = stablehlo.cholesky %b : tensor<2x2xf32>
      return %0, %1 : tensor<9xi64>, tensor<2x2xf32>
    }"""
    found = [finding.op for finding in axonc.check(text)]
    assert found == ["stablehlo.scatter", "stablehlo.cholesky"]


def test_unsupported_ops_are_refused_all_at_once() -> None:
    with pytest.raises(axonc.UnsupportedOpError) as caught:
        axonc.compile(UNSUPPORTED)
    assert "stablehlo.cholesky" in str(caught.value) and "f64" in str(caught.value)


def test_compile_takes_a_lowered_jax_function() -> None:
    jax = pytest.importorskip("jax")
    x = np.linspace(-2, 2, 21, dtype=np.float32).reshape(3, 7)
    executable = axonc.compile(jax.jit(lambda v: jax.numpy.exp(v).sum(axis=0)).lower(x))
    np.testing.assert_allclose(executable.run(x)[0], np.exp(x.astype(np.float64)).sum(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("target", "inf3", "did you mean 'inf2'?"),
        ("auto_cast", "matmul", "did you mean 'matmult'?"),
        ("auto_cast_type", "bf15", "did you mean 'bf16'?"),
        ("optlevel", 4, "known: 1, 2, 3"),
        ("cores", 25, "a number from 1 to 24"),
        ("model_type", "transformers", "did you mean 'transformer'?"),
    ],
)
def test_options_that_do_not_exist(option: str, value: object, hint: str) -> None:
    with pytest.raises(axonc.UsageError) as caught:
        axonc.compile(DENSE, **{option: value})
    assert hint in str(caught.value) and repr(value) in str(caught.value)


def test_import_is_fast_and_loads_nothing_heavy() -> None:
    code = "import sys, axonc; print(sorted({'numpy', 'jax', 'torch_mlir'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_all_exist() -> None:
    for name in axonc.__all__:
        assert getattr(axonc, name) is not None
    assert set(axonc.__all__) <= set(dir(axonc))
