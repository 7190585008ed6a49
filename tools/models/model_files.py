"""An imported model on disk: a portable artifact and a weight file.

The argument names are in the artifact as locations and are the keys of the weight file, so
`import_program(artifact, weights=open_weight_file(weights))` gives the program back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from axonc.imported.program import ImportedProgram


def write(program: ImportedProgram, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `name.mlirbc` and `name.safetensors` into `folder`, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_artifact(program, folder, name), write_weights(program, folder, name)


def write_artifact(program: ImportedProgram, folder: Path, name: str) -> Path:
    """Write `name.mlirbc`."""
    path = folder / f"{name}.mlirbc"
    path.write_bytes(program.module_bytes)
    return path


def write_weights(program: ImportedProgram, folder: Path, name: str) -> Path:
    """Write `name.safetensors`, every weight the program reads."""
    path = folder / f"{name}.safetensors"
    arrays = {n: np.ascontiguousarray(ref.load()) for n, ref in program.weights.items()}
    save_file(arrays, path)
    return path
