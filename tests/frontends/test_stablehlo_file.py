"""StableHLO and HLO in every form a file can have, and the forms a broken one can have."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_mlir import ir as torch_mlir_ir
from torch_mlir._mlir_libs import _stablehlo

import axonc
from axonc.diagnostics import CompileError, UnsupportedOpError, UsageError
from axonc.frontends import import_program
from axonc.imported.program import bind_arrays
from axonc.weights.references import WeightRef

TEXT = """func.func @main(
    %x: tensor<2x3xf32> loc("x"), %w: tensor<3x4xf32> {neuron.name = "dense.w"}
) -> (tensor<2x4xf32> {neuron.name = "y"}) {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
      : (tensor<2x3xf32>, tensor<3x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}
"""
X = np.arange(6, dtype=np.float32).reshape(2, 3)
W = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def _lowered() -> jax.stages.Lowered:
    return jax.jit(lambda x, w: x @ w).lower(X, W)


def _torch_mlir_module() -> torch_mlir_ir.Module:
    context = torch_mlir_ir.Context()
    _stablehlo.register_dialect(context)
    artifact = import_program(TEXT).module_bytes
    return _stablehlo.deserialize_portable_artifact(context, artifact)


def test_text_gives_names_from_attributes_and_locations():
    program = import_program(TEXT)
    assert [str(a) for a in program.arguments] == ["x: tensor<2x3xf32>", "dense.w: tensor<3x4xf32>"]
    assert program.result_names == ("y",)


def test_unnamed_arguments_are_numbered():
    program = import_program(TEXT.replace(' loc("x")', "").replace('{neuron.name = "dense.w"}', ""))
    assert [a.name for a in program.arguments] == ["arg0", "arg1"]


def test_artifact_can_be_imported_again():
    once = import_program(TEXT)
    again = import_program(once.module_bytes)
    assert (again.arguments, again.result_names) == (once.arguments, once.result_names)
    assert again.module_bytes == once.module_bytes


@pytest.mark.parametrize(
    "source",
    [
        lambda folder: TEXT,
        lambda folder: TEXT.encode(),
        lambda folder: import_program(TEXT).module_bytes,
        lambda folder: _lowered().compiler_ir("hlo").as_serialized_hlo_module_proto(),
        lambda folder: _lowered().compiler_ir("stablehlo"),
        lambda folder: _torch_mlir_module(),
        lambda folder: _written(folder / "p.mlir", TEXT.encode()),
        lambda folder: str(_written(folder / "p.bin", import_program(TEXT).module_bytes)),
    ],
    ids=["text", "bytes", "artifact", "hlo", "jaxlib", "torch_mlir", "path", "path as string"],
)
def test_every_form_computes_the_same(source, tmp_path: Path, run):
    program = import_program(source(tmp_path))
    values = dict(zip([a.name for a in program.arguments], (X, W), strict=True))
    np.testing.assert_allclose(run(program, values)[0], X @ W, rtol=1e-6)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_weights_bind_by_name_and_without_the_first_part():
    exact = bind_arrays(import_program(TEXT), {"dense.w": W})
    short = import_program(TEXT, weights={"w": WeightRef.of_array(W), "unused": W})
    assert [a.name for a in exact.inputs] == [a.name for a in short.inputs] == ["x"]
    assert short.weights["dense.w"].load() is W


def test_weights_that_fit_nothing_are_an_error():
    with pytest.raises(
        UsageError, match=r"no argument fits .* 'dense.v'\n  hint: did you mean 'dense.w'"
    ):
        import_program(TEXT, weights={"dense.v": W})
    with pytest.raises(UsageError, match="shape of weight .* does not fit argument 'dense.w'"):
        import_program(TEXT, weights={"dense.w": W.T})


def test_syntax_error_has_file_and_line(tmp_path: Path):
    path = _written(
        tmp_path / "bad.mlir", TEXT.replace("dot_general %x", "dot_general %z").encode()
    )
    with pytest.raises(CompileError) as error:
        import_program(path)
    assert str(error.value).startswith(
        f"{path}:4:30: error: cannot read the MLIR text: use of undecl"
    )


def test_cut_text_is_one_error(tmp_path: Path):
    with pytest.raises(CompileError, match=r"^<text>:\d+:\d+: error: cannot read the MLIR text"):
        import_program(TEXT[: len(TEXT) // 2])


def test_cut_artifact_is_one_error_and_prints_nothing(capfd):
    artifact = import_program(TEXT).module_bytes
    for size in range(64, len(artifact), 97):
        with pytest.raises(CompileError, match="cannot read the StableHLO portable artifact"):
            import_program(artifact[:size])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"ML\xef", b"\x00\x01\xff junk", b"\x93NUMPY\x01\x00"])
def test_garbage_is_one_error(content: bytes):
    with pytest.raises(CompileError, match="neither MLIR nor a HLO module protobuf"):
        import_program(content)


def test_missing_file():
    with pytest.raises(UsageError, match="nowhere.mlir: no such model file"):
        import_program("nowhere.mlir")


def test_foreign_op_is_named_with_its_line():
    text = TEXT.replace("  return", '  "other.op"() : () -> ()\n  return')
    with pytest.raises(UnsupportedOpError, match=r"^-:6:3: error: other.op: not StableHLO"):
        axonc.compile(text)


def test_dynamic_argument_is_refused():
    text = (
        "func.func @main(%a: tensor<?x2xf32>) -> tensor<?x2xf32> {\n return %a : tensor<?x2xf32>\n}"
    )
    with pytest.raises(UnsupportedOpError, match=r"argument 'arg0': dynamic type tensor<\?x2xf32>"):
        import_program(text)


def test_module_without_an_entry_is_refused():
    with pytest.raises(CompileError, match="needs one public function or @main; functions: none"):
        import_program("module {\n}")


def test_chlo_stays_a_composite(census, run):
    text = """func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
      %0 = chlo.erf %x : tensor<4xf32> -> tensor<4xf32>
      %1 = chlo.tan %0 : tensor<4xf32> -> tensor<4xf32>
      return %1 : tensor<4xf32>
    }"""
    program = import_program(text)
    assert census(program)["chlo.erf"] == 1
    x = np.linspace(-2, 2, 4, dtype=np.float32)
    expected = jnp.tan(jax.scipy.special.erf(x))
    np.testing.assert_allclose(run(program, {"arg0": x})[0], expected, rtol=1e-5)


def test_types_no_frontend_accepts():
    with pytest.raises(UsageError, match="a value of type int is no program"):
        import_program(3)
    with pytest.raises(UsageError, match=r"hint: lower it first: jax.jit\(f\).lower"):
        import_program(jax.jit(lambda x: x))
