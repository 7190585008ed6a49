"""The verbs of the command line, in one process, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_models import DENSE, SELECT, UNSUPPORTED, dense_arrays, dense_oracle

import axonc
from axonc.tools.cli import VERBS, main
from axonc.tools.neuronx_flags import ACCEPTED_FLAGS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the model and its inputs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.mlir").write_text(DENSE)
    np.savez(tmp_path / "in.npz", **dense_arrays())  # type: ignore[arg-type]
    return tmp_path


def compiled(folder: Path, *flags: str) -> Path:
    assert main(["compile", "m.mlir", "--output", "m.axon", *flags]) == 0
    return folder / "m.axon"


def test_compile_run_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder)
    assert main(["run", "m.axon", "--inputs", "in.npz", "--outputs", "out.npz"]) == 0
    expected = dense_oracle(**dense_arrays())
    with np.load("out.npz") as out:
        np.testing.assert_allclose(out["y"], expected[0], atol=2e-6)
        np.testing.assert_allclose(out["top"], expected[1], atol=2e-6)
    assert main(["compare", "m.axon", "--reference", "m.mlir", "--inputs", "in.npz"]) == 0
    assert "close" in capsys.readouterr().out


def test_compare_fails_when_numbers_differ(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled(folder)
    (folder / "other.mlir").write_text(DENSE.replace("stablehlo.tanh", "stablehlo.logistic"))
    capsys.readouterr()
    command = ["compare", "m.axon", "--reference", "other.mlir", "--inputs", "in.npz", "--json"]
    assert main(command) == 1
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["name"] == "y" and not rows[0]["is_close"] and rows[0]["max_abs_error"] > 0.1


def test_compare_uses_the_weights_of_the_program(folder: Path) -> None:
    arrays = dense_arrays()
    save_file({"w": arrays["w"], "b": arrays["b"]}, "w.safetensors")
    compiled(folder, "--weights", "w.safetensors")
    np.savez("x.npz", x=arrays["x"])
    assert main(["compare", "m.axon", "--reference", "m.mlir", "--inputs", "x.npz"]) == 0


@pytest.mark.parametrize("embed", [False, True])
def test_compare_needs_the_weights_that_8_bit_ones_came_from(
    folder: Path, embed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dense_arrays()
    save_file({"w": arrays["w"], "b": arrays["b"]}, "w.safetensors")
    np.savez("x.npz", x=arrays["x"])
    eight = ["--weights", "w.safetensors", "--auto-cast", "matmult", "--weight-dtype", "int8"]
    compiled(folder, *eight, *["--embed-weights"] * embed)
    command = ["compare", "m.axon", "--reference", "m.mlir", "--inputs", "x.npz"]
    command += ["--tolerance", "0.05"]
    # With the weights embedded, the program file holds their 8-bit numbers alone.
    assert main(command) == (2 if embed else 0)
    if embed:
        assert "give the weights of the model: --weights" in capsys.readouterr().err
        assert main([*command, "--weights", "w.safetensors"]) == 0


def test_compare_with_results_in_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder)
    y, top = dense_oracle(**dense_arrays())
    command = ["compare", "m.axon", "--inputs", "in.npz", "--reference", "expected.npz"]
    for found, code in (({"y": y, "top": top}, 0), ({"y": y + 1, "top": top}, 1), ({"y": y}, 2)):
        np.savez("expected.npz", **found)
        assert main(command) == code
    assert "expected.npz has no result 'top'" in capsys.readouterr().err


def test_positional_inputs_and_safetensors_outputs(folder: Path) -> None:
    compiled(folder)
    np.savez("positional.npz", *dense_arrays().values())
    assert main(["run", "m.axon", "--inputs", "positional.npz", "--outputs", "o.safetensors"]) == 0
    expected, _ = dense_oracle(**dense_arrays())
    np.testing.assert_allclose(load_file("o.safetensors")["y"], expected, atol=2e-6)


def test_random_inputs_are_seeded(folder: Path) -> None:
    compiled(folder)
    for seed, name in (("1", "a.npz"), ("1", "b.npz"), ("2", "c.npz")):
        assert main(["run", "m.axon", "--random-inputs", seed, "--outputs", name]) == 0
    a, b, c = (np.load(n)["y"].tobytes() for n in ("a.npz", "b.npz", "c.npz"))
    assert a == b != c


def test_run_checked(folder: Path) -> None:
    compiled(folder)
    assert main(["run", "m.axon", "--inputs", "in.npz", "--checked"]) == 0


def test_inspect_json_has_the_promised_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled(folder)
    capsys.readouterr()
    assert main(["inspect", "m.axon", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["modelled_seconds"] > 0 and facts["sbuf_peak_bytes"] > 0
    assert facts["hbm_bytes_read"] >= sum(a.nbytes for a in dense_arrays().values())
    assert set(facts["instructions"]) == {"tensor", "vector", "scalar", "gpsimd", "sync"}
    assert {"pe", "dma", "vector", "scalar"} <= set(facts["bound_seconds"])


def test_disassembly_assembles_to_the_same_bytes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import axonc
    from axonc.backends.encoding import assemble, encode_stream

    compiled(folder)
    streams = axonc.load("m.axon").compiled.program.streams
    for engine, data in streams.items():
        capsys.readouterr()
        assert main(["inspect", "m.axon", "--disassemble", "--engine", engine.value]) == 0
        assert encode_stream(assemble(capsys.readouterr().out)) == data


def test_memory_map_names_every_tensor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder)
    assert main(["inspect", "m.axon", "--memory-map"]) == 0
    text = capsys.readouterr().out
    assert all(f" {name} [" in text for name in ("x", "w", "b", "y", "top"))
    assert "sbuf:" in text and "psum:" in text


def test_casts_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder, "--auto-cast", "matmult")
    capsys.readouterr()
    assert main(["inspect", "m.axon", "--casts"]) == 0
    assert "m.mlir" in (text := capsys.readouterr().out) and "f32 -> bf16" in text


def test_profile_writes_a_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder)
    assert main(["profile", "m.axon", "--trace", "t.json"]) == 0
    assert json.loads((folder / "t.json").read_text())["traceEvents"]
    assert "modelled, not measured" in capsys.readouterr().out


def test_profile_json_is_nothing_but_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder)
    capsys.readouterr()
    assert main(["profile", "m.axon", "--json", "--trace", "t.json"]) == 0
    assert json.loads(capsys.readouterr().out)["modelled_seconds"] > 0


def test_check_lists_findings_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "u.mlir").write_text(UNSUPPORTED)
    assert main(["check", "u.mlir", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert {"stablehlo.cholesky"} <= {f["op"] for f in findings} and len(findings) >= 2
    assert findings[-1]["location"]["file"].endswith("u.mlir")
    assert main(["check", "m.mlir"]) == 0


def test_list_operators_is_what_check_accepts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-operators", "--framework", "XLA"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert "stablehlo.dot_general" in names and "stablehlo.cholesky" not in names


def test_list_operators_has_a_name_a_line_and_remarks_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list-operators"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert "stablehlo.sort" in names and not any("(" in name for name in names)
    assert main(["list-operators", "--verbose"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[0] for row in rows] == names
    assert any(row.startswith("stablehlo.convolution  (integers only") for row in rows)


def test_opt_runs_passes_and_reads_its_own_output(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensor_level = ["opt", "m.mlir", "-p", "simplify,legalize-to-neuron", "-o", "n.mlir"]
    assert main(tensor_level) == 0
    assert "neuron.dot" in (folder / "n.mlir").read_text()
    rest = "fuse-elementwise,choose-layouts,tile,assign-engines,allocate-memory,schedule"
    assert main(["opt", "n.mlir", "--pass-pipeline", rest]) == 0
    assert "ntile." in capsys.readouterr().out


def test_opt_bisect_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["opt", "m.mlir", "-p", "simplify,legalize-to-neuron", "--bisect-limit", "1"]
    assert main(command) == 0
    assert "stablehlo.dot_general" in capsys.readouterr().out


def test_opt_lists_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["opt", "--list-passes"]) == 0
    text = capsys.readouterr().out
    assert "auto-cast" in text and "schedule" in text


def test_time_passes_and_dump(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder, "--time-passes", "--dump-ir", "ir")
    assert "ms  schedule" in capsys.readouterr().err
    assert (folder / "ir" / "000-input.mlir").is_file()


def test_default_output_is_named_after_the_model(folder: Path) -> None:
    assert main(["compile", "m.mlir"]) == 0
    assert (folder / "m.axon").is_file()


def test_verbose_info_goes_to_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder, "--verbose", "info", "--logfile", "log.txt")
    shown = capsys.readouterr()
    assert "bytes of instructions" in shown.out
    assert "[1/" in shown.err
    assert "bytes of instructions" in (folder / "log.txt").read_text()


def flag_words() -> list[list[str]]:
    words = []
    for flag in ACCEPTED_FLAGS:
        allowed = tuple(c for c in flag.choices if c not in flag.refused)
        values = allowed or (("8",) if flag.metavar else ())
        words += [[name, value] for name in flag.names for value in values] or [
            [name] for name in flag.names
        ]
    return words


DOCUMENTED = [
    ["--framework", "XLA"],
    ["--target", "trn1"],
    ["--target=trn1n"],
    ["--model-type", "transformer"],
    ["--model-type", "unet-inference"],
    ["--auto-cast", "all", "--auto-cast-type", "fp16"],
    ["--auto-cast", "matmult", "--auto-cast-type", "tf32"],
    ["--optlevel", "1"],
    ["-O3"],
    ["--implicit-integer-downcast", "all"],
    ["--implicit-integer-downcast", "dot,pow"],
    ["--verbose", "critical"],
]


@pytest.mark.parametrize("words", [*DOCUMENTED, *flag_words()], ids=" ".join)
def test_neuronx_cc_flags_are_accepted(folder: Path, words: list[str]) -> None:
    compiled(folder, *words)


def test_a_hlo_protobuf_compiles_as_neuronx_cc_would_be_called(folder: Path) -> None:
    from axonc.frontends.hlo_module import hlo_module_from_text

    text = """HloModule m
ENTRY main {
  x = f32[4,8] parameter(0)
  w = f32[8,16] parameter(1)
  y = f32[4,16] dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT z = f32[4,16] erf(y)
}"""
    module = hlo_module_from_text(text)
    (folder / "model.hlo.pb").write_bytes(module.as_serialized_hlo_module_proto())
    words = "--framework XLA --target trn1 --model-type=transformer -O1 --auto-cast none"
    assert main(["compile", "model.hlo.pb", *words.split(), "--output", "file.axon"]) == 0
    compared = ["compare", "file.axon", "--reference", "model.hlo.pb", "--random-inputs", "0"]
    assert main(compared) == 0


def test_flags_without_meaning_say_so_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled(folder, "--enable-fast-context-switch", "--framework", "XLA")
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert notes == ["note: --enable-fast-context-switch: no effect: weights are loaded when a "
                     "program is"]  # fmt: skip


def test_trn1n_has_the_cores_of_trn1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(folder, "--target", "trn1n")
    assert "note: --target trn1n: compiled for trn1" in capsys.readouterr().err
    main(["inspect", "m.axon"])
    assert "program for trn1:" in capsys.readouterr().out


REFUSED = {
    "--target trn2": "NeuronCore-v3",
    "--target inf3": "did you mean 'inf2'?",
    "--logical-nc-config 2": "--logical-nc-config 2: a NeuronCore-v2",
    "--implicit-integer-downcast dot,power": "does not know 'power'",
    "--auto-cast-type fp8": "auto-cast-type is 'fp8'",
    "-O4": "optlevel is 4",
}


@pytest.mark.parametrize("words", REFUSED)
def test_flag_values_that_cannot_be_had_are_refused(
    folder: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", "m.mlir", "--output", "m.axon", *words.split()]) == 2
    assert REFUSED[words] in capsys.readouterr().err
    assert not (folder / "m.axon").exists()


def test_rightmost_cast_type_wins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    types = ["--auto-cast-type", "fp16", "--auto-cast-type", "bf16"]
    compiled(folder, "--auto-cast", "matmult", *types)
    capsys.readouterr()
    main(["inspect", "m.axon", "--casts"])
    assert "f32 -> bf16" in capsys.readouterr().out


def test_64_bit_arithmetic_wraps_if_allowed(folder: Path) -> None:
    text = SELECT.replace("stablehlo.select %keep, %ids, %other : tensor<4xi1>, tensor<4xi64>",
                          "stablehlo.multiply %ids, %other : tensor<4xi64>")  # fmt: skip
    (folder / "wide.mlir").write_text(text)
    ids, other = np.array([2**20, 3, -1, 0]), np.array([2**20, 5, 2**30, 7])
    for flags, wanted in (((), 2**40), (("--implicit-integer-downcast", "all"), 0)):
        assert main(["compile", "wide.mlir", "--output", "w.axon", *flags]) == 0
        product, _ = axonc.load("w.axon").run(ids, np.ones(4, bool), other)
        assert product.tolist() == [wanted, 15, -(2**30), 0]


@pytest.mark.parametrize("verb", [v.name for v in VERBS])
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"axonc {verb}" in text and "examples:" in text and "--traceback" in text


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb.name} " in text for verb in VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import axonc

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"axonc {axonc.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom axonc.tools.cli import main\n"
        "try:\n    main(['compile', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'jax', 'torch_mlir', 'rich'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_8_bit_weights_and_the_report_beside_the_program(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dense_arrays()
    save_file({"w": arrays["w"], "b": arrays["b"]}, "w.safetensors")
    np.savez("calls.npz", x=np.stack([arrays["x"], -arrays["x"]]))
    flags = ["--weights", "w.safetensors", "--calibrate", "calls.npz"]
    compiled(folder, *flags, "--auto-cast", "matmult", "--weight-dtype", "fp8_e4m3")
    (cast,) = json.loads((folder / "m.axon.casts.json").read_text())["casts"]
    assert cast["to"] == "bf16/fp8_e4m3" and 0 < cast["local_error"] < 0.1
    np.savez("x.npz", x=arrays["x"])
    assert main(["run", "m.axon", "--inputs", "x.npz", "--outputs", "out.npz"]) == 0
    with np.load("out.npz") as out:
        np.testing.assert_allclose(out["y"], dense_oracle(**arrays)[0], atol=0.1)
    capsys.readouterr()
    compiled(folder, *flags, "--auto-cast-budget", "0.9999999")
    assert "chosen" in capsys.readouterr().out
    assert "search" in json.loads((folder / "m.axon.casts.json").read_text())
    assert main(["compile", "m.mlir", "--auto-cast-override", "nothing=bf16"]) == 2
    assert "matches no operation" in capsys.readouterr().err
