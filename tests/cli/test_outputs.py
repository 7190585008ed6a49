"""Outputs: never over an input, whole or not at all, nothing left of what was killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_models import DENSE, dense_arrays

import axonc
from axonc.output_files import check_output, written_whole
from axonc.tools.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """m.mlir, w.safetensors, in.npz, p.axon (refers to the weights), log of nothing."""
    arrays = dense_arrays()
    (tmp_path / "m.mlir").write_text(DENSE)
    save_file({"w": arrays["w"], "b": arrays["b"]}, tmp_path / "w.safetensors")
    np.savez(tmp_path / "in.npz", x=arrays["x"])
    axonc.compile(DENSE, weights=tmp_path / "w.safetensors").save(tmp_path / "p.axon")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMPILE = ["compile", "m.mlir", "--weights", "w.safetensors"]
RUN = ["run", "p.axon", "--inputs", "in.npz"]
COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "compile": ([*COMPILE, "--output"], ("m.mlir", "w.safetensors")),
    "logfile": ([*COMPILE, "-o", "o.axon", "--logfile"], ("m.mlir", "w.safetensors", "o.axon")),
    "run": ([*RUN, "--outputs"], ("in.npz", "w.safetensors")),
    "profile": (["profile", "p.axon", "--trace"], ("p.axon", "w.safetensors")),
    "opt": (["opt", "m.mlir", "--pass-pipeline", "inline-calls", "-o"], ("m.mlir",)),
}


def by_name(path: Path) -> Path:
    return path


def by_another_spelling(path: Path) -> Path:
    return path.parent / ".." / path.parent.name / path.name


def by_link(path: Path) -> Path:
    link = path.with_name(f"link{path.suffix}")
    link.symlink_to(path)
    return link


def by_hard_link(path: Path) -> Path:
    link = path.with_name(f"hard{path.suffix}")
    os.link(path, link)
    return link


@pytest.mark.parametrize("spelled", [by_name, by_another_spelling, by_link, by_hard_link])
@pytest.mark.parametrize("verb", COMMANDS)
def test_an_input_is_no_output(
    verb: str,
    spelled: Callable[[Path], Path],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, inputs = COMMANDS[verb]
    for name in inputs:
        path = folder / name
        if not path.exists():
            if spelled is not by_name:
                continue
            content = None
        else:
            content = path.read_bytes()
        output = spelled(path) if content is not None else path
        assert main([*command, str(output)]) == 2, (verb, name)
        assert "it is the input" in capsys.readouterr().err
        assert (path.read_bytes() if path.exists() else None) == content
        if output.exists() and output.name.startswith(("link", "hard")):
            output.unlink()


def test_a_model_among_dumps_survives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ir").mkdir()
    (folder / "ir" / "000-model.mlir").write_text(DENSE)
    assert main(["compile", "ir/000-model.mlir", "-o", "o.axon", "--dump-ir", "ir"]) == 2
    assert "it is the input" in capsys.readouterr().err
    assert (folder / "ir" / "000-model.mlir").read_text() == DENSE


def test_python_does_not_save_over_weights_either(folder: Path) -> None:
    weights = (folder / "w.safetensors").read_bytes()
    for executable in (axonc.load("p.axon"), axonc.compile(DENSE, weights="w.safetensors")):
        for embed in (False, True):
            with pytest.raises(axonc.UsageError, match="it is the input"):
                executable.save("w.safetensors", embed_weights=embed)
    assert (folder / "w.safetensors").read_bytes() == weights


def test_a_link_stays_one_and_its_file_is_written(folder: Path) -> None:
    (folder / "far").mkdir()
    (folder / "far" / "old.axon").write_bytes(b"old")
    for link, target in (("o.axon", "far/old.axon"), ("new.axon", "far/new.axon")):
        (folder / link).symlink_to(target)
        assert main([*COMPILE, "-o", link]) == 0
        assert (folder / link).is_symlink() and os.readlink(folder / link) == target
        assert (folder / target).read_bytes()[:2] == b"PK"
    assert sorted(p.name for p in (folder / "far").iterdir()) == ["new.axon", "old.axon"]


def test_modes_are_kept_and_new_files_have_the_usual_one(folder: Path) -> None:
    for mode in (0o600, 0o640, 0o444):
        path = folder / f"{mode:o}.axon"
        path.write_bytes(b"old")
        path.chmod(mode)
        assert main([*COMPILE, "-o", path.name]) == 0
        assert stat.S_IMODE(path.stat().st_mode) == mode
    (folder / "usual").touch()
    assert main([*COMPILE, "-o", "o.axon"]) == 0
    assert (folder / "o.axon").stat().st_mode == (folder / "usual").stat().st_mode


WRITER = """
import sys, time
from pathlib import Path
from axonc.output_files import written_whole
with written_whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing."""
    made = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert made.stdout is not None and made.stdout.readline() == "writing\n"
    return made


def partial_files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if "partial" in p.name]


def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "o.axon").write_bytes(b"old")
    killed = writer(tmp_path / "o.axon")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(partial_files(tmp_path)) == 1
    assert (tmp_path / "o.axon").read_bytes() == b"old"
    with written_whole(tmp_path / "another") as file:
        file.write(b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["another", "o.axon"]


def test_a_writer_that_lives_is_left_alone(tmp_path: Path) -> None:
    alive = writer(tmp_path / "o.axon")
    try:
        with written_whole(tmp_path / "o.axon") as file:
            file.write(b"mine")
        assert len(partial_files(tmp_path)) == 1
        assert (tmp_path / "o.axon").read_bytes() == b"mine"
    finally:
        alive.kill()
        alive.wait()


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom axonc.output_files import written_whole\n"
        "for n in range(100):\n"
        "    with written_whole(Path(sys.argv[1])) as file: file.write(sys.argv[2].encode() * 9999)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "o")]
    writers = [subprocess.Popen([*command, letter]) for letter in "abc"]
    assert [w.wait() for w in writers] == [0, 0, 0]
    content = (tmp_path / "o").read_bytes()
    assert len(content) == 9999 and len(set(content)) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "o"]


def test_kills_at_many_moments_of_a_save(dense_program: Path, tmp_path: Path) -> None:
    path = tmp_path / "o.axon"
    path.write_bytes(dense_program.read_bytes())
    code = (
        "import sys, axonc\nexecutable = axonc.load(sys.argv[1])\nprint('ready', flush=True)\n"
        "while True: executable.save(sys.argv[2])"
    )
    for moment in range(8):
        made = subprocess.Popen(
            [sys.executable, "-c", code, str(dense_program), str(path)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert made.stdout is not None and made.stdout.readline() == "ready\n"
        time.sleep(0.003 * moment)
        made.kill()
        made.wait()
        assert path.read_bytes() == dense_program.read_bytes()
    axonc.load(dense_program).save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with written_whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_behind_standard_output_is_one_error(dense_program: Path) -> None:
    for words in (["inspect", str(dense_program)], ["--version"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "axonc.tools.cli", *words],
                stdout=full, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == ("error: cannot write to standard output: No space left on device\n")


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(axonc.UsageError, match="no folder"):
        check_output(tmp_path / "none" / "o")
    with pytest.raises(axonc.UsageError, match="not a regular file"):
        check_output(tmp_path)
