"""Bad input, bar 7: one clear error each, exit code non-zero, no traceback, no partial file.

Everything goes through the command line in this process; one test of each kind in a process of its
own, to see what a user sees.
"""

from __future__ import annotations

import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_models import DENSE, UNSUPPORTED, dense_arrays

from axonc.tools.cli import main

MUTATIONS = 60
FLIPS_PER_MEMBER = 12


class Outcome:
    """Exit code and what was said."""

    def __init__(self, code: int, errors: str, output: str) -> None:
        self.code = code
        self.errors = errors
        self.output = output

    def check_refused(self, *words: str) -> None:
        """One error, said clearly."""
        assert self.code in (1, 2), (self.code, self.output)
        assert "Traceback" not in self.errors and "internal" not in self.errors, self.errors
        starts = [line for line in self.errors.splitlines() if "error: " in line]
        assert len(starts) == 1, self.errors
        for word in words:
            assert word in self.errors, (word, self.errors)


Axonc = Callable[..., Outcome]


@pytest.fixture
def axonc_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Axonc:
    """The command line in an empty folder; also what MLIR itself prints is caught."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Outcome:
        capfd.readouterr()
        code = main(list(words))
        shown = capfd.readouterr()
        return Outcome(code, shown.err, shown.out)

    return call


# ---- models -------------------------------------------------------------------------------------


def files_but(*names: str) -> list[str]:
    return sorted(str(p) for p in Path().iterdir() if p.name not in names)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_truncated_text(axonc_command: Axonc, share: float) -> None:
    Path("m.mlir").write_text(DENSE[: int(len(DENSE) * share)])
    axonc_command("compile", "m.mlir").check_refused("m.mlir")
    assert files_but("m.mlir") == []


def mutated(text: str, seed: int) -> str:
    """The text with one character dropped, doubled or replaced, or a word swapped for another."""
    generator = random.Random(seed)
    words = text.split(" ")
    kind = generator.randrange(4)
    place = generator.randrange(len(text))
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + generator.choice("{}()<>%@:,x0;\x00é") + text[place + 1 :]
    first, second = generator.randrange(len(words)), generator.randrange(len(words))
    if kind == 2:
        words[first], words[second] = words[second], words[first]
        return " ".join(words)
    return " ".join(words[:first] + words[first + 1 :])


@pytest.mark.parametrize("seed", range(MUTATIONS))
def test_mutated_text_compiles_or_is_refused(axonc_command: Axonc, seed: int) -> None:
    Path("m.mlir").write_text(mutated(DENSE, seed))
    outcome = axonc_command("compile", "m.mlir")
    if outcome.code:  # some mutations change a name or a blank, and nothing is wrong
        outcome.check_refused()
        assert files_but("m.mlir") == []
    else:
        assert files_but("m.mlir") == ["m.axon"]


def test_most_mutations_are_refused() -> None:
    """The test above would pass if nothing was ever refused."""
    from axonc.diagnostics import AxoncError
    from axonc.frontends import import_program

    refused = 0
    for seed in range(MUTATIONS):
        try:
            import_program(mutated(DENSE, seed) + "\n")
        except AxoncError:
            refused += 1
    assert refused > MUTATIONS / 2


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.999])
def test_truncated_artifact(axonc_command: Axonc, share: float) -> None:
    from axonc.frontends import import_program

    data = import_program(DENSE).module_bytes
    Path("m.mlirbc").write_bytes(data[: int(len(data) * share)])
    axonc_command("compile", "m.mlirbc").check_refused("m.mlirbc")
    assert files_but("m.mlirbc") == []


def test_garbage(axonc_command: Axonc) -> None:
    Path("m.pb").write_bytes(np.random.default_rng(0).bytes(4096))
    axonc_command("compile", "m.pb").check_refused("m.pb", "HLO")


def test_missing_model(axonc_command: Axonc) -> None:
    outcome = axonc_command("compile", "nowhere.mlir")
    outcome.check_refused("nowhere.mlir: no such model file")
    assert outcome.code == 2


def test_unsupported_operations_name_op_and_line(axonc_command: Axonc) -> None:
    Path("u.mlir").write_text(UNSUPPORTED)
    outcome = axonc_command("compile", "u.mlir")
    outcome.check_refused("stablehlo.cholesky", "u.mlir:", "f64")
    assert outcome.code == 1 and files_but("u.mlir") == []


# ---- weights and arrays -------------------------------------------------------------------------


def test_weight_of_another_shape(axonc_command: Axonc) -> None:
    Path("m.mlir").write_text(DENSE)
    np.savez("w.npz", w=np.zeros((8, 15), np.float32))
    outcome = axonc_command("compile", "m.mlir", "--weights", "w.npz")
    outcome.check_refused("'w'", "8x15", "8x16")
    assert files_but("m.mlir", "w.npz") == []


def test_damaged_weight_file(axonc_command: Axonc) -> None:
    Path("m.mlir").write_text(DENSE)
    Path("w.safetensors").write_bytes(b"\xff" * 100)
    axonc_command("compile", "m.mlir", "--weights", "w.safetensors").check_refused("w.safetensors")


def run_with(call: Axonc, program: Path, arrays: dict[str, np.ndarray]) -> Outcome:
    np.savez("in.npz", **arrays)  # type: ignore[arg-type]
    outcome = call("run", str(program), "--inputs", "in.npz", "--outputs", "out.npz")
    assert files_but("in.npz") == []
    return outcome


def test_input_of_another_shape(axonc_command: Axonc, dense_program: Path) -> None:
    arrays = dense_arrays() | {"x": np.zeros((5, 8), np.float32)}
    outcome = run_with(axonc_command, dense_program, arrays)
    outcome.check_refused("input 'x'", "float32[5, 8]", "expected float32[4, 8]")


def test_input_of_another_dtype(axonc_command: Axonc, dense_program: Path) -> None:
    arrays = dense_arrays() | {"b": np.zeros(16, np.float64)}
    outcome = run_with(axonc_command, dense_program, arrays)
    outcome.check_refused("input 'b'", "float64[16]", "expected float32[16]")


def test_missing_input(axonc_command: Axonc, dense_program: Path) -> None:
    arrays = dense_arrays()
    del arrays["w"]
    run_with(axonc_command, dense_program, arrays).check_refused("'w'")


def test_no_inputs_given(axonc_command: Axonc, dense_program: Path) -> None:
    outcome = axonc_command("run", str(dense_program))
    outcome.check_refused("x: tensor<4x8xf32>", "--random-inputs")
    assert outcome.code == 2


def test_inputs_with_objects_are_not_unpickled(axonc_command: Axonc, dense_program: Path) -> None:
    np.savez("in.npz", x=np.array([{}], dtype=object))
    axonc_command("run", str(dense_program), "--inputs", "in.npz").check_refused("in.npz")


# ---- program files ------------------------------------------------------------------------------


def members(path: Path) -> dict[str, tuple[int, int]]:
    """(first byte, size) of every member that has bytes."""
    from axonc.program.archive import Archive

    archive = Archive(path)
    with zipfile.ZipFile(path) as file:
        sizes = {entry.filename: entry.file_size for entry in file.infolist()}
    return {name: (archive.data_offset(name), size) for name, size in sizes.items() if size}


@pytest.fixture(scope="session")
def full_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program file with every kind of member: also constants and embedded weights."""
    import axonc

    table = ", ".join(str(0.5 * i) for i in range(16))
    text = DENSE.replace(
        "%2 = stablehlo.add %0, %1",
        f"%c = stablehlo.constant dense<[{table}]> : tensor<16xf32>\n"
        "  %c2 = stablehlo.broadcast_in_dim %c, dims = [1] "
        ": (tensor<16xf32>) -> tensor<4x16xf32>\n"
        "  %scaled = stablehlo.multiply %1, %c2 : tensor<4x16xf32>\n"
        "  %2 = stablehlo.add %0, %scaled",
    )
    arrays = dense_arrays()
    path = tmp_path_factory.mktemp("programs") / "full.axon"
    axonc.compile(text, weights={"w": arrays["w"], "b": arrays["b"]}).save(path)
    names = set(members(path))
    assert {"manifest.json", "constants.bin", "weights.bin", "locations.json"} <= names
    assert any(name.startswith("streams/") for name in names)
    return path


def test_bit_flips_in_every_member(axonc_command: Axonc, full_program: Path) -> None:
    data = full_program.read_bytes()
    generator = random.Random(5)
    for name, (start, size) in members(full_program).items():
        for _ in range(FLIPS_PER_MEMBER):
            damaged = bytearray(data)
            damaged[start + generator.randrange(size)] ^= 1 << generator.randrange(8)
            Path("p.axon").write_bytes(damaged)
            outcome = axonc_command("run", "p.axon", "--random-inputs", "0", "--outputs", "o.npz")
            outcome.check_refused("p.axon", name)
            assert files_but("p.axon") == []


def test_flips_outside_members_are_refused_or_harmless(
    axonc_command: Axonc, full_program: Path
) -> None:
    data = full_program.read_bytes()
    inside = {
        b for start, size in members(full_program).values() for b in range(start, start + size)
    }
    outside = [b for b in range(len(data)) if b not in inside]
    assert axonc_command("run", str(full_program), "--random-inputs", "0").code == 0
    expected = axonc_command("run", str(full_program), "--random-inputs", "0").output
    generator = random.Random(6)
    refused = 0
    for position in generator.sample(outside, 150):
        damaged = bytearray(data)
        damaged[position] ^= 1 << generator.randrange(8)
        Path("p.axon").write_bytes(damaged)
        outcome = axonc_command("run", "p.axon", "--random-inputs", "0")
        if outcome.code:
            outcome.check_refused("p.axon")
            refused += 1
        else:  # a time or an attribute of a directory entry
            assert outcome.output == expected
    assert refused > 50


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_program(axonc_command: Axonc, full_program: Path, share: float) -> None:
    data = full_program.read_bytes()
    Path("p.axon").write_bytes(data[: int(len(data) * share)])
    axonc_command("inspect", "p.axon").check_refused("p.axon", "not a program of axonc, or damaged")


def test_a_model_is_no_program(axonc_command: Axonc) -> None:
    Path("m.mlir").write_text(DENSE)
    axonc_command("run", "m.mlir", "--random-inputs", "0").check_refused("m.mlir", "axonc compile")


def test_another_zip_is_no_program(axonc_command: Axonc) -> None:
    np.savez("a.axon", x=np.zeros(3))
    Path("a.axon.npz").rename("a.axon")
    axonc_command("inspect", "a.axon").check_refused("a.axon", "manifest.json")


# ---- outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["missing/m.axon", "folder", "/dev/null"])
def test_unwritable_output_of_compile(axonc_command: Axonc, output: str) -> None:
    Path("m.mlir").write_text(DENSE)
    Path("folder").mkdir()
    outcome = axonc_command("compile", "m.mlir", "--output", output)
    outcome.check_refused("cannot write", output)
    assert outcome.code == 2 and files_but("m.mlir", "folder") == []


def test_unwritable_output_of_run(axonc_command: Axonc, dense_program: Path) -> None:
    for output in ("missing/o.npz", "o.txt"):
        outcome = axonc_command(
            "run", str(dense_program), "--random-inputs", "0", "--outputs", output
        )
        outcome.check_refused(output)
    assert files_but() == []


def test_unwritable_dump_folder_and_trace(axonc_command: Axonc, dense_program: Path) -> None:
    Path("m.mlir").write_text(DENSE)
    Path("file").write_text("in the way")
    axonc_command("compile", "m.mlir", "--dump-ir", "file").check_refused("cannot dump IR to file")
    program = str(dense_program)
    axonc_command("profile", program, "--trace", "missing/t.json").check_refused("cannot write")
    assert files_but("m.mlir", "file") == []


def test_a_full_disk_leaves_nothing(axonc_command: Axonc, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails in the middle: as on a full disk."""
    import axonc.program.package

    def fails(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    Path("m.mlir").write_text(DENSE)
    monkeypatch.setattr(axonc.program.package, "write_archive", fails)
    outcome = axonc_command("compile", "m.mlir", "--output", "m.axon")
    outcome.check_refused("cannot write m.axon: No space left on device")
    assert files_but("m.mlir") == []


# ---- usage, and what a user really sees ---------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compil"], "did you mean 'compile'?"),
        (["compile", "m.mlir", "--target", "inf3"], "did you mean 'inf2'?"),
        (["compile", "m.mlir", "--auto-cast", "matmlt"], "did you mean 'matmult'?"),
        (["opt", "m.mlir", "-p", "simplfy"], "did you mean 'simplify'?"),
        (["opt", "m.mlir", "-p", "auto-cast{mode"], "does not parse"),
    ],
)
def test_wrong_usage(axonc_command: Axonc, words: list[str], said: str) -> None:
    Path("m.mlir").write_text(DENSE)
    outcome = axonc_command(*words)
    outcome.check_refused(said)
    assert outcome.code == 2


def test_traceback_on_request(axonc_command: Axonc) -> None:
    outcome = axonc_command("compile", "nowhere.mlir", "--traceback")
    assert "Traceback" in outcome.errors and outcome.code == 2


def test_a_process_says_one_thing_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "m.mlir").write_text(DENSE[: len(DENSE) // 2])
    found = subprocess.run(
        [sys.executable, "-m", "axonc.tools.cli", "compile", "m.mlir"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1 and found.stdout == ""
    assert found.stderr.count("error:") == 1 and "Traceback" not in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m.mlir"]
