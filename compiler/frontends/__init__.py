"""Frontends: a model of some framework -> `ImportedProgram`.

A frontend is one entry of `FRONTENDS`. It is found by the names of the source's types, so that no
framework is imported unless a program of it is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from axonc.diagnostics import UsageError
from axonc.imported.program import Argument, ImportedProgram, bind_arrays
from axonc.weights.references import WeightRef

__all__ = ["FRONTENDS", "Argument", "Frontend", "ImportedProgram", "bind_arrays", "import_program"]


@dataclass(frozen=True)
class Frontend:
    """accepts: full names of types; function: `module:name`, takes the source alone."""

    name: str
    summary: str
    accepts: tuple[str, ...]
    function: str

    def load(self) -> Any:
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)


_HERE = "axonc.frontends"

FRONTENDS: tuple[Frontend, ...] = (
    Frontend(
        "jax-lowered",
        "what jax.jit(f).lower(...) gives",
        ("jax._src.stages.Lowered",),
        f"{_HERE}.jax_frontend:import_lowered",
    ),
    Frontend(
        "jax-exported",
        "what jax.export.export(jax.jit(f))(...) gives",
        ("jax._src.export._export.Exported",),
        f"{_HERE}.jax_frontend:import_exported",
    ),
    Frontend(
        "torch-exported",
        "what torch.export.export(model, inputs) gives",
        ("torch.export.exported_program.ExportedProgram",),
        f"{_HERE}.torch.torch_frontend:import_exported_program",
    ),
    Frontend(
        "file",
        "path of StableHLO text, MLIR bytecode, portable artifact, HLO protobuf or HLO text",
        ("pathlib.PurePath",),
        f"{_HERE}.stablehlo_file:import_file",
    ),
    Frontend(
        "bytes",
        "the content of such a file",
        ("builtins.bytes",),
        f"{_HERE}.stablehlo_file:import_bytes",
    ),
    Frontend(
        "text",
        "StableHLO or HLO text, or the path of a file",
        ("builtins.str",),
        f"{_HERE}.stablehlo_file:import_text_or_path",
    ),
    Frontend(
        "module",
        "MLIR module object of jaxlib or torch_mlir",
        (
            "jaxlib.mlir._mlir_libs._mlir.ir.Module",
            "torch_mlir._mlir_libs._mlir.ir.Module",
        ),
        f"{_HERE}.stablehlo_file:import_module_object",
    ),
    Frontend(
        "imported",
        "a program imported before",
        ("axonc.imported.program.ImportedProgram",),
        "axonc.imported.program:unchanged",
    ),
)


def import_program(
    source: object, *, weights: Mapping[str, WeightRef | np.ndarray] | None = None
) -> ImportedProgram:
    """Import `source` by the frontend that accepts its type, and bind `weights` by argument name.

    Raises:
        UsageError: no frontend accepts it; or a weight fits no argument.
        CompileError: the program cannot be read or lowered to StableHLO.
    """
    program: ImportedProgram = _frontend_of(source).load()(source)
    return bind_arrays(program, weights) if weights else program


def _frontend_of(source: object) -> Frontend:
    names = {f"{t.__module__}.{t.__qualname__}" for t in type(source).__mro__}
    for frontend in FRONTENDS:
        if names.intersection(frontend.accepts):
            return frontend
    known = "; ".join(f"{f.name}: {f.summary}" for f in FRONTENDS)
    hints = {
        "torch.nn.modules.module.Module": "export it first: "
        "torch.export.export(model.eval(), inputs), or use "
        "axonc.frontends.torch.torch_frontend.import_module(model, inputs)",
        "jaxlib._jax.PjitFunction": "lower it first: jax.jit(f).lower(*args)",
    }
    hint = next((text for name, text in hints.items() if name in names), known)
    spelled = f"{type(source).__module__}.{type(source).__qualname__}"
    raise UsageError(f"no frontend for a {spelled}", hint=hint)
