"""Program files: round trip, determinism, weights by reference, all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program_edits import edited
from safetensors.numpy import save_file
from small_models import DENSE, dense_arrays, dense_oracle

import axonc
from axonc.output_files import written_whole
from axonc.tools.cli import main


def weights_file(path: Path) -> Path:
    arrays = dense_arrays()
    save_file({"w": arrays["w"], "b": arrays["b"]}, path)
    return path


def check_runs(executable: axonc.Executable) -> None:
    arrays = dense_arrays()
    y, top = executable.run(arrays["x"])
    expected = dense_oracle(**arrays)
    np.testing.assert_allclose(y, expected[0], atol=2e-6)
    np.testing.assert_allclose(top, expected[1], atol=2e-6)


def manifest(path: Path) -> dict:  # type: ignore[type-arg]
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("manifest.json"))  # type: ignore[no-any-return]


def test_round_trip_keeps_everything(dense_program: Path) -> None:
    before = axonc.compile(DENSE).compiled
    after = axonc.load(dense_program).compiled
    assert after.program.streams == before.program.streams
    assert after.program.tensors == before.program.tensors
    assert after.program.locations == before.program.locations
    for engine, indices in before.program.instruction_locations.items():
        np.testing.assert_array_equal(after.program.instruction_locations[engine], indices)
    assert (after.inputs, after.results) == (before.inputs, before.results)
    assert (after.options, after.stages) == (before.options, before.stages)
    assert after.source_hash == before.source_hash and len(after.source_hash) == 64


def test_saving_what_was_loaded_gives_the_same_bytes(dense_program: Path, tmp_path: Path) -> None:
    axonc.load(dense_program).save(tmp_path / "again.axon")
    assert (tmp_path / "again.axon").read_bytes() == dense_program.read_bytes()


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "m.mlir").write_text(DENSE)
    code = "import axonc, sys; axonc.compile(open('m.mlir').read()).save(sys.argv[1])"
    digests = set()
    for seed in ("1", "31337"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        output = tmp_path / f"{seed}.axon"
        subprocess.run(
            [sys.executable, "-c", code, str(output)], cwd=tmp_path, env=environment, check=True
        )
        digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_weights_in_the_folder_below_move_with_the_program(tmp_path: Path) -> None:
    home = tmp_path / "a"
    (home / "weights").mkdir(parents=True)
    file = weights_file(home / "weights" / "w.safetensors")
    axonc.compile(DENSE, weights=file).save(home / "p.axon")
    references = manifest(home / "p.axon")["weights"]
    assert {r["file"] for r in references.values()} == {"weights/w.safetensors"}
    shutil.move(home, tmp_path / "b")
    check_runs(axonc.load(tmp_path / "b" / "p.axon"))


def test_weights_elsewhere_are_named_absolutely(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    file = weights_file(tmp_path / "w.safetensors")
    axonc.compile(DENSE, weights=file).save(tmp_path / "p" / "p.axon")
    references = manifest(tmp_path / "p" / "p.axon")["weights"]
    assert {r["file"] for r in references.values()} == {str(file.resolve())}
    check_runs(axonc.load(tmp_path / "p" / "p.axon"))


def test_weights_by_reference_are_not_in_the_file(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.safetensors")
    executable = axonc.compile(DENSE, weights=file)
    executable.save(tmp_path / "p.axon")
    executable.save(tmp_path / "embedded.axon", embed_weights=True)
    w = dense_arrays()["w"].tobytes()
    assert w not in (tmp_path / "p.axon").read_bytes()
    assert w in (tmp_path / "embedded.axon").read_bytes()


def test_arrays_of_this_process_travel_in_the_file(tmp_path: Path) -> None:
    arrays = dense_arrays()
    weights = {"w": arrays["w"], "b": arrays["b"]}
    axonc.compile(DENSE, weights=weights).save(tmp_path / "p.axon")
    check_runs(axonc.load(tmp_path / "p.axon"))


def test_embedded_weights_need_no_weight_file(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.safetensors")
    axonc.compile(DENSE, weights=file).save(tmp_path / "p.axon", embed_weights=True)
    file.unlink()
    check_runs(axonc.load(tmp_path / "p.axon"))


def test_a_lost_weight_file_is_named(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.safetensors")
    axonc.compile(DENSE, weights=file).save(tmp_path / "p.axon")
    file.unlink()
    with pytest.raises(axonc.UsageError, match="w.safetensors: no such weight file"):
        axonc.load(tmp_path / "p.axon")


@pytest.mark.parametrize("options", [{}, {"weight_dtype": "int8"}])
def test_a_program_can_be_looked_at_without_its_weights(
    tmp_path: Path, options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = weights_file(tmp_path / "w.safetensors")
    compiled = axonc.compile(DENSE, weights=file, **options)
    compiled.save(tmp_path / "p.axon")
    file.unlink()
    executable = axonc.load(tmp_path / "p.axon", with_weights=False)
    assert executable.modelled_seconds == compiled.modelled_seconds
    with pytest.raises(axonc.UsageError, match="has no data"):
        executable.run(dense_arrays()["x"])
    looks = ["--json", "--disassemble", "--memory-map", "--casts", "--sharding"]
    for look in [[], *([look] for look in looks)]:
        assert main(["inspect", str(tmp_path / "p.axon"), *look]) == 0
        assert capsys.readouterr().out
    assert main(["profile", str(tmp_path / "p.axon")]) == 0
    assert main(["run", str(tmp_path / "p.axon"), "--random-inputs", "0"]) == 2
    assert "w.safetensors: no such weight file" in capsys.readouterr().err


def test_a_changed_weight_is_named(tmp_path: Path) -> None:
    file = weights_file(tmp_path / "w.safetensors")
    axonc.compile(DENSE, weights=file).save(tmp_path / "p.axon")
    save_file({"w": np.zeros((8, 17), np.float32), "b": np.zeros(16, np.float32)}, file)
    with pytest.raises(axonc.UsageError, match="w.safetensors has changed since .* compiled"):
        axonc.load(tmp_path / "p.axon")
    with pytest.raises(axonc.UsageError, match=r"'w' of .* has changed.*compiled for f32\[8, 16\]"):
        axonc.load(tmp_path / "p.axon", trust_weights=True)


def test_another_format_version_says_who_made_it(dense_program: Path, tmp_path: Path) -> None:
    newer = rewritten(dense_program, tmp_path / "p.axon", format_version=99, producer="axonc 9.0")
    with pytest.raises(axonc.ProgramFormatError) as caught:
        axonc.load(newer)
    assert "made by axonc 9.0 in format axonc-program 99" in str(caught.value)
    assert f"axonc {axonc.__version__} needs axonc-program 3" in str(caught.value)


def test_a_manifest_with_missing_parts_is_refused(dense_program: Path, tmp_path: Path) -> None:
    needed = set(manifest(dense_program)) - {"producer"}  # only said in errors
    for key in sorted(needed):
        changed = rewritten(dense_program, tmp_path / "p.axon", remove=key)
        with pytest.raises(axonc.AxoncError, match="p.axon"):
            axonc.load(changed)


def rewritten(source: Path, to: Path, *, remove: str = "", **changes: object) -> Path:
    """A copy with another manifest, whose checksums are right."""

    def edit(facts: dict[str, Any]) -> None:
        facts.update(changes)
        facts.pop(remove, None)

    return edited(source, to, edit)


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_whole(tmp_path / "p.axon") as file:
        file.write(b"half")
        raise RuntimeError("in the middle")
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_survives_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "p.axon"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), written_whole(path) as file:
        file.write(b"half")
        raise RuntimeError("in the middle")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("bad", ["missing/p.axon", "."])
def test_unwritable_outputs_are_refused(dense_program: Path, tmp_path: Path, bad: str) -> None:
    with pytest.raises(axonc.UsageError, match="cannot write"):
        axonc.load(dense_program).save(tmp_path / bad)
    assert list(tmp_path.iterdir()) == []
