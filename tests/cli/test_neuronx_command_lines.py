"""The command lines that torch-neuronx, vLLM and Optimum write are taken, with a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from axonc.tools.cli import main

MODEL = """
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.tanh %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
"""


@pytest.mark.parametrize(
    "flag,note",
    [
        ("--verbose=35", ""),
        ("--tensorizer-options=--vectorize-strided-dma", "--tensorizer-options: no effect"),
        ("--internal-hlo2tensorizer-options=--verify-hlo=true", "an internal option"),
        ("--internal-max-instruction-limit=5000000", "an internal option"),
        ("--internal-enable-dge-levels vector_dynamic_offsets", "an internal option"),
        ("--internal-hlo2tensorizer-options --verify-hlo=true", "an internal option"),
        ("--enable-internal-neff-wrapper", "an internal option"),
        ("--no-internal-hlo-remat", "an internal option"),
        ("--model-type=cnn-training", "taken for --model-type generic"),
        ("--hbm-scratchpad-page-size=1024", "no pages here"),
        ("--cache_dir=cache", "there is no cache"),
        ("--fast-math=none", "--fast-math: no effect"),
        ("--auto-cast=matmul", "taken for --auto-cast matmult"),
        ("--optlevel=0", "taken for --optlevel 1"),
        ("-O0", "taken for --optlevel 1"),
    ],
)
def test_flags_that_frameworks_write(
    flag: str, note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.mlir").write_text(MODEL)
    words = ["--framework=XLA", "--target=trn1", "--output", str(tmp_path / "m.neff")]
    assert main(["compile", *words, *flag.split(" "), str(tmp_path / "m.mlir")]) == 0
    assert note in capsys.readouterr().err
    assert (tmp_path / "m.neff").exists()


def test_flags_are_not_completed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compile", "m.mlir", "--pipeline", "2"])
    assert "unrecognized arguments: --pipeline 2" in capsys.readouterr().err


def test_a_misspelt_flag_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compile", "m.mlir", "--auto-cst", "all"])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert "did you mean '--auto-cast'?" in shown and len(shown.splitlines()) == 2


def test_functions_that_call_themselves_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "tensor<4xf32>"
    lines = [
        f"func.func @{name}(%a: {kind}) -> {kind} {{\n"
        f"%0 = func.call @{callee}(%a) : ({kind}) -> {kind}\nreturn %0 : {kind} }}"
        for name, callee in (("f", "g"), ("g", "f"), ("main", "f"))
    ]
    (tmp_path / "r.mlir").write_text("\n".join(lines))
    assert main(["compile", str(tmp_path / "r.mlir"), "-o", str(tmp_path / "r.axon")]) == 1
    assert "recursion: @f calls @g calls @f" in capsys.readouterr().err
    assert not (tmp_path / "r.axon").exists()
