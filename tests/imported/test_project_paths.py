"""Programs do not say where on a machine they were made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import DENSE, UNSUPPORTED

import axonc
from axonc.project_paths import openable_path, project_path

MODEL = """
import jax, jax.numpy as jnp, numpy as np
import axonc

def model(x, w):
    return jax.nn.softmax(jnp.tanh(x @ w))

x, w = np.ones((4, 8), np.float32), np.ones((8, 8), np.float32)
axonc.compile(jax.jit(model).lower(x, w)).save("model.axon")
"""


def test_files_of_packages_and_projects_are_relative(tmp_path: Path) -> None:
    (tmp_path / "project" / "src").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    assert project_path(str(tmp_path / "project" / "src" / "m.py")) == "src/m.py"
    assert project_path(str(tmp_path / "alone.py")) == "alone.py"
    assert project_path("/usr/lib/python3/dist-packages/torch/nn/f.py") == "torch/nn/f.py"
    assert project_path("given.mlir") == "given.mlir"


@pytest.mark.parametrize("names", [("one", "another")])
def test_a_program_has_the_same_bytes_wherever_it_is_compiled(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    programs = []
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pyproject.toml").touch()
        (folder / "model.py").write_text(MODEL)
        subprocess.run([sys.executable, "model.py"], cwd=folder, check=True)
        programs.append((folder / "model.axon").read_bytes())
    assert programs[0] == programs[1]
    assert str(tmp_path).encode() not in programs[0]


def test_a_file_has_one_name_from_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    model = tmp_path / "inner" / "model.mlir"
    model.write_text(DENSE)
    programs = []
    for number, (folder, name) in enumerate(
        [(tmp_path, "inner/model.mlir"), (model.parent, "model.mlir"), (tmp_path, str(model))]
    ):
        monkeypatch.chdir(folder)
        target = tmp_path / f"{number}.axon"
        axonc.compile(Path(name)).save(target)
        programs.append(target.read_bytes())
    assert programs[0] == programs[1] == programs[2]


def test_paths_of_a_project_are_found_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "src" / "m.py"
    source.parent.mkdir()
    source.touch()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert openable_path("src/m.py") == "src/m.py"
    monkeypatch.chdir(source.parent)
    assert openable_path("src/m.py") == "m.py"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert openable_path("src/m.py") == "src/m.py"
    assert openable_path("src/m.py", [os.path.relpath(tmp_path / "other.mlir")]) == str(source)
    monkeypatch.syspath_prepend(source.parent)
    assert openable_path("src/m.py") == str(source)
    assert openable_path(project_path(pytest.__file__)) == pytest.__file__


def test_errors_name_a_file_that_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, other = tmp_path / "inner", tmp_path / "other"
    inner.mkdir()
    other.mkdir()
    model = inner / "u.mlir"
    model.write_text(UNSUPPORTED)
    for folder, shown in ((other, str(model)), (tmp_path, "inner/u.mlir"), (inner, "u.mlir")):
        monkeypatch.chdir(folder)
        with pytest.raises(axonc.UnsupportedOpError) as caught:
            axonc.compile(Path(os.path.relpath(model)))
        assert str(caught.value).startswith(f"{shown}:1:1: error: argument 'arg1': ")
        assert caught.value.location.file == "u.mlir"
