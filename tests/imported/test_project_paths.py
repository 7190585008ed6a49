"""Programs do not say where on a machine they were made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from axonc.project_paths import project_path

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
