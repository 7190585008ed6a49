"""Quantized types (`!quant.uniform<i8:f32, scale:zero_point>`): read, and replaced by the integers
and the arithmetic they stand for.

An operation on quantized tensors means, in StableHLO's specification: dequantize the operands,
compute, quantize the results. Upstream passes write that out; operations that only move elements
stay as they are, on integers. Arguments and results become tensors of their storage type.
"""

from __future__ import annotations

from jaxlib.mlir import ir
from jaxlib.mlir.passmanager import PassManager

from axonc.imported.stablehlo_module import walk

_MARK = b"quant"
"""Is in the text and the bytecode of every module that names the dialect, and in some others."""
_TYPE = "!quant."
_LOADS_THE_DIALECT = "builtin.module(vhlo-legalize-to-stablehlo)"
_AS_ARITHMETIC = (
    "builtin.module(func.func(stablehlo-legalize-quantized-op-to-qdq,"
    "stablehlo-legalize-quant-to-math))"
)


def load_quantized_types(content: str | bytes, context: ir.Context) -> None:
    """Make `context` ready to read `content`, if that may have quantized types.

    The bindings cannot load their dialect, without which they are types of an unknown one; a pass
    that needs the dialect loads it, whatever it is run on.
    """
    if _MARK in (content.encode() if isinstance(content, str) else content):
        with context, ir.Location.unknown():
            PassManager.parse(_LOADS_THE_DIALECT).run(ir.Module.create().operation)


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
