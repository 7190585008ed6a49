"""Quantized types (`!quant.uniform<i8:f32, scale:zero_point>`): read, and replaced by the integers
and the arithmetic they stand for.

An operation on quantized tensors means, in StableHLO's specification: dequantize the operands,
compute, quantize the results. Upstream passes write that out; operations that only move elements
stay as they are, on integers. Arguments and results become tensors of their storage type.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.passmanager import PassManager

from axonc.imported.stablehlo_module import deserialize, walk

_MARK = b"quant"
"""Is in the text and the bytecode of every module that names the dialect, and in some others."""
_TYPE = "!quant."
_AS_ARITHMETIC = (
    "builtin.module(func.func(stablehlo-legalize-quantized-op-to-qdq,"
    "stablehlo-legalize-quant-to-math))"
)


def read_quantized(content: str | bytes, context: ir.Context, name: str) -> ir.Module | None:
    """The module of text or bytecode with quantized types, by way of a portable artifact; None if
    it has none, or cannot be read this way either.

    jaxlib has the types, but reads them only in portable artifacts: its bindings cannot load their
    dialect, and take them for types of an unknown one.
    """
    if _MARK not in (content.encode() if isinstance(content, str) else content):
        return None
    from torch_mlir import ir as host
    from torch_mlir._mlir_libs import _stablehlo

    quiet = host.Context()
    quiet.allow_unregistered_dialects = True
    try:
        with quiet:
            _stablehlo.register_dialect(quiet)
            module = _parsed(host, content, name)
            artifact = _stablehlo.serialize_portable_artifact(module, _common_version(_stablehlo))
    except (host.MLIRError, ValueError):
        return None
    read = deserialize(artifact, context)
    return read if _has_quantized_types(read) else None


def _parsed(host: ModuleType, content: str | bytes, name: str) -> Any:
    """With the file in the locations, where there is one."""
    is_file = isinstance(content, str) and Path(name).is_file()
    return host.Module.parseFile(os.path.abspath(name)) if is_file else host.Module.parse(content)


def _common_version(other: ModuleType) -> str:
    """The newest version of StableHLO that both hosts know."""
    from jaxlib.mlir.dialects import stablehlo

    ours, theirs = stablehlo.get_current_version(), other.get_current_version()
    return str(stablehlo.get_smaller_version(ours, theirs))


def expand_quantized(module: ir.Module) -> None:
    """Write operations on quantized types as arithmetic on floats and integers, in place. What is
    left of them is refused like any type that cannot be compiled."""
    if _has_quantized_types(module):
        PassManager.parse(_AS_ARITHMETIC, module.context).run(module.operation)


def _has_quantized_types(module: ir.Module) -> bool:
    """Whether a value is of such a type, or an argument of a function."""
    operations = list(walk(module))
    types = {result.type for op in operations for result in op.results}
    types |= {op.attributes["function_type"].value for op in operations if op.name == "func.func"}
    return any(_TYPE in str(kind) for kind in types)
