"""What a command loads: most of the time of a small one is imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_models import DENSE

REPORT = """
import sys
from axonc.tools.cli import main
code = main(sys.argv[1:])
print("loaded:", *sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def loaded(folder: Path, *arguments: str) -> set[str]:
    """The top-level modules a command ends with."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.mlir").write_text(DENSE)
    return tmp_path


def test_a_file_is_compiled_and_run_without_the_frameworks(folder: Path) -> None:
    frameworks = {"jax", "torch", "torchax", "transformers", "safetensors", "rich"}
    found = loaded(folder, "compile", "m.mlir")
    assert {"jaxlib", "torch_mlir"} <= found and not found & frameworks
    found = loaded(folder, "run", "m.axon", "--random-inputs", "0")
    assert "numpy" in found and not found & frameworks


def test_help_loads_no_library_at_all(folder: Path) -> None:
    assert not loaded(folder, "--help") & {"numpy", "jaxlib", "torch_mlir", "lark"}
