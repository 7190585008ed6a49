"""Frontends: a model of some framework -> `ImportedProgram`.

A frontend is one entry of `FRONTENDS`. Types of frameworks are named as their documents name them
and looked up among the modules that are loaded: a program of a framework that is not imported
cannot have been given.
"""

from __future__ import annotations

import importlib
import os
import sys
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
    """One way in."""

    name: str
    summary: str
    accepts: tuple[type | str, ...]
    """Types, or the public names of types as `module:name`."""
    function: str
    """`module:name`, takes the source alone."""

    def load(self) -> Any:
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)

    def takes(self, source: object) -> bool:
        """Whether `source` is of an accepted type."""
        return any(is_a(source, kind) for kind in self.accepts)


def is_a(source: object, kind: type | str) -> bool:
    """isinstance, where `kind` may be a type's public name `module:name`."""
    if isinstance(kind, str):
        module, name = kind.split(":")
        kind = getattr(sys.modules.get(module), name, type(None))
    return isinstance(source, kind) and source is not None


_HERE = "axonc.frontends"

FRONTENDS: tuple[Frontend, ...] = (
    Frontend(
        "jax-lowered",
        "what jax.jit(f).lower(...) gives",
        ("jax.stages:Lowered",),
        f"{_HERE}.jax_frontend:import_lowered",
    ),
    Frontend(
        "jax-exported",
        "what jax.export.export(jax.jit(f))(...) gives",
        ("jax.export:Exported",),
        f"{_HERE}.jax_frontend:import_exported",
    ),
    Frontend(
        "torch-exported",
        "what torch.export.export(model, inputs) gives",
        ("torch.export:ExportedProgram",),
        f"{_HERE}.torch.torch_frontend:import_exported_program",
    ),
    Frontend(
        "file",
        "path of StableHLO text, MLIR bytecode, portable artifact, HLO protobuf or HLO text",
        (os.PathLike,),
        f"{_HERE}.stablehlo_file:import_file",
    ),
    Frontend(
        "bytes",
        "the content of such a file",
        (bytes,),
        f"{_HERE}.stablehlo_file:import_bytes",
    ),
    Frontend(
        "text",
        "StableHLO or HLO text, or the path of a file",
        (str,),
        f"{_HERE}.stablehlo_file:import_text_or_path",
    ),
    Frontend(
        "module",
        "MLIR module object of jaxlib or torch_mlir",
        ("jaxlib.mlir.ir:Module", "torch_mlir.ir:Module"),
        f"{_HERE}.stablehlo_file:import_module_object",
    ),
    Frontend(
        "imported",
        "a program imported before",
        (ImportedProgram,),
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


_HINTS = (
    (
        "torch.nn:Module",
        "export it first: torch.export.export(model.eval(), inputs), or use "
        "axonc.frontends.torch.torch_frontend.import_module(model, inputs)",
    ),
    ("jax.stages:Wrapped", "lower it first: jax.jit(f).lower(*args)"),
    ("types:FunctionType", "trace it first: jax.jit(f).lower(*args)"),
)
"""What to do with what is often given instead."""


def _frontend_of(source: object) -> Frontend:
    for frontend in FRONTENDS:
        if frontend.takes(source):
            return frontend
    known = f"give one of: {', '.join(f.name for f in FRONTENDS)}"
    hint = next((text for kind, text in _HINTS if is_a(source, kind)), known)
    raise UsageError(
        f"a value of type {type(source).__qualname__} is no program that can be read", hint=hint
    )
