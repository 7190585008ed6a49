"""What a program's results are compared with: its model on XLA:CPU, or arrays of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from axonc.diagnostics import UsageError, nearest
from axonc.frontends import import_program
from axonc.imported.program import ImportedProgram
from axonc.run.executable import Executable
from axonc.tools.xla_reference import run_on_xla
from axonc.weights.derived import DerivedWeight
from axonc.weights.references import WeightRef, open_weight_file

_ARRAY_FILES = (".npz", ".safetensors")


def reference_results(
    executable: Executable,
    reference: Path,
    arrays: Mapping[str, np.ndarray],
    weight_files: Sequence[str] = (),
) -> list[np.ndarray]:
    """The expected results, in the order of the program's.

    reference: a model, run on `arrays` with its weights from `weight_files` or else those of the
    program; or an .npz or .safetensors file of the results by name.

    Raises:
        UsageError: results or weights are missing, or of another model.
    """
    if reference.suffix.lower() in _ARRAY_FILES:
        return _results_of_file(executable, reference)
    model = import_program(reference)
    if len(model.result_names) != len(executable.results):
        raise UsageError(
            f"{reference} has {len(model.result_names)} results, the program "
            f"{len(executable.results)}: it was compiled from another model"
        )
    weights = _originals(executable.compiled.weights)
    for path in weight_files:
        weights |= open_weight_file(path)
    return run_on_xla(model, {**_needed(model, weights, arrays), **arrays})


def _originals(weights: Mapping[str, WeightRef]) -> dict[str, WeightRef]:
    """The weights of a program, and those its 8-bit ones are made from."""
    derived = [ref.storage for ref in weights.values() if isinstance(ref.storage, DerivedWeight)]
    return {**weights, **{storage.rule.source: storage.source for storage in derived}}


def _needed(
    model: ImportedProgram, weights: Mapping[str, WeightRef], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    wanted = [a.name for a in model.arguments if a.name not in arrays]
    missing = [n for n in wanted if n not in weights and n not in model.weights]
    if missing:
        raise UsageError(
            f"the reference takes '{missing[0]}', which the program does not hold",
            hint="give the weights of the model: --weights FILE",
        )
    return {name: weights[name].load() for name in wanted if name in weights}


def _results_of_file(executable: Executable, path: Path) -> list[np.ndarray]:
    held = open_weight_file(path)
    found = []
    for result in executable.results:
        if result.name not in held:
            hint = nearest(result.name, list(held)) or f"it has {', '.join(held)}"
            raise UsageError(f"{path} has no result '{result.name}'", hint=hint)
        if held[result.name].shape != result.shape:
            raise UsageError(
                f"{path}: '{result.name}' has shape {list(held[result.name].shape)}; "
                f"the program's has {list(result.shape)}"
            )
        found.append(held[result.name].load())
    return found
