"""The MLIR context the compiler works in, and the user's place in the source of an operation."""

from __future__ import annotations

import importlib

from torch_mlir import ir
from torch_mlir._mlir_libs import (
    _stablehlo,
    _torchMlir,  # noqa: F401  registers stablehlo-aggressive-simplification
)

import axonc.dialects.stablehlo  # noqa: F401  registers the namespace
from axonc.diagnostics import CompileError
from axonc.dialects.neuron.builder import VARIADIC, operand_runs
from axonc.dialects.neuron.ops import Neuron

_stablehlo.register_stablehlo_passes()


def make_context() -> ir.Context:
    """A context with StableHLO and the neuron dialect; about 30 ms."""
    context = ir.Context()
    with context:
        _stablehlo.register_dialect(context)
        Neuron.load()
    return context


def parse_module(source: str | bytes, context: ir.Context) -> ir.Module:
    """A module from MLIR text, bytecode or a StableHLO portable artifact.

    Text of the neuron dialect may leave out `operandSegmentSizes`; it is added from the operand
    types.

    Raises:
        CompileError: it does not parse or verify.
    """
    try:
        with context:
            return _parse(source, context)
    except ir.MLIRError as error:
        raise CompileError(f"the module does not parse:\n{error}") from None


def _parse(source: str | bytes, context: ir.Context) -> ir.Module:
    if isinstance(source, bytes):
        if source.startswith(b"ML\xefR"):
            return _read_artifact(source, context)
        source = source.decode()
    _load_machine_dialects(source, context)
    needs_runs = any(f'"{name}"' in source for name in VARIADIC)
    if needs_runs and "operandSegmentSizes" not in source:
        source = _with_operand_runs(source)
    return ir.Module.parse(source, context)


def _load_machine_dialects(source: str, context: ir.Context) -> None:
    """Text of a later stage brings its dialect with it; most modules need neither."""
    for prefix, module in (("ntile.", "ntile.ops"), ("nisa.", "nisa")):
        if prefix in source:
            importlib.import_module(f"axonc.dialects.{module}").load(context)


def _read_artifact(source: bytes, context: ir.Context) -> ir.Module:
    """Bytecode: a portable artifact of StableHLO, or of the current operations."""
    if b"StableHLO_v" not in source[:64]:
        return ir.Module.parse(source, context)
    read = _stablehlo.deserialize_portable_artifact(context, source)
    return read if isinstance(read, ir.Module) else ir.Module.parse(read, context)


def _with_operand_runs(text: str) -> str:
    """The text with `operandSegmentSizes` on each operation that needs it.

    Such text does not verify, so it is read as an unknown dialect in a context that allows those.
    """
    context = ir.Context()
    context.allow_unregistered_dialects = True
    _stablehlo.register_dialect(context)
    with context:
        module = ir.Module.parse(text.replace('"neuron.', f'"{_UNKNOWN}.'))

        def visit(op: ir.Operation) -> ir.WalkResult:
            if op.name.replace(_UNKNOWN, "neuron") in VARIADIC:
                runs = operand_runs([v.type for v in op.operands])
                op.attributes["operandSegmentSizes"] = runs
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit)
        written = module.operation.get_asm(enable_debug_info=True)
    return written.replace(f'"{_UNKNOWN}.', '"neuron.')


_UNKNOWN = "neuron_text"
