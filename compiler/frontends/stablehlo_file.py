"""Programs that are StableHLO or HLO already: text, bytecode, artifact, module object, protobuf.

What a file is, is decided by its first bytes, not by its name. Only a HLO protobuf has no mark of
its own: it is what does not look like text.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

from jaxlib.mlir import ir

from axonc.diagnostics import CompileError, SourceLocation, UsageError
from axonc.frontends.hlo_module import (
    bytecode_of_protobuf,
    bytecode_of_text,
    is_hlo_text,
    replace_mhlo,
)
from axonc.frontends.neuron_custom_calls import expand_neuron_calls
from axonc.frontends.quantized_types import expand_quantized, load_quantized_types
from axonc.imported.program import ImportedProgram
from axonc.imported.stablehlo_module import deserialize, first_line, new_context, source_location
from axonc.partition.finish import finish_import

# MLIR bytecode begins with these bytes (mlir.llvm.org, MLIR Bytecode Format); a portable artifact
# is bytecode whose producer string says StableHLO.
_BYTECODE_MAGIC = b"ML\xefR"
_PRODUCER = b"StableHLO_v"
_HEADER_BYTES = 64


def import_file(path: str | Path) -> ImportedProgram:
    """Import a .mlir, .mlirbc, HLO text or HLO .pb file.

    Raises:
        UsageError: no such file.
        CompileError: its content cannot be read; with file and line where MLIR gives them.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such model file")
    return import_bytes(path.read_bytes(), name=str(path))


def import_bytes(content: bytes, *, name: str = "<program>") -> ImportedProgram:
    """Import the content of such a file; `name` stands for the file in errors.

    Raises:
        CompileError: it cannot be read.
    """
    context = new_context()
    module = _module_of(content, context, name)
    with context:
        expand_neuron_calls(module)
        expand_quantized(module)
    return finish_import(module)


def import_text(text: str) -> ImportedProgram:
    """Import StableHLO or HLO text.

    Raises:
        CompileError: it does not parse; with line and column.
    """
    return import_bytes(text.encode(), name="<text>")


def import_text_or_path(source: str) -> ImportedProgram:
    """A string with a line break or a brace is StableHLO or HLO text, else the path of a file.

    Raises:
        UsageError, CompileError: as `import_file` and `import_text`.
    """
    is_text = "\n" in source or "{" in source
    return import_text(source) if is_text else import_file(source)


def import_module_object(module: Any) -> ImportedProgram:
    """Import (a copy of) an `ir.Module` of jaxlib, torch_mlir or another binding that can print.

    Raises:
        CompileError: it holds dialects that jaxlib does not know.
    """
    if isinstance(module, ir.Module):
        buffer = io.BytesIO()
        module.operation.write_bytecode(buffer)
        return import_bytes(buffer.getvalue(), name="<module>")
    # Another library's bytecode may be of another dialect version; text with locations is shared.
    return import_text(module.operation.get_asm(enable_debug_info=True))


def _module_of(content: bytes, context: ir.Context, name: str) -> ir.Module:
    if content.startswith(_BYTECODE_MAGIC):
        return _from_bytecode(content, context, name)
    if is_hlo_text(content):
        return _from_hlo(bytecode_of_text(content, name), context, name)
    if _looks_like_text(content):
        return _parse(content.decode(), context, name)
    return _from_hlo(bytecode_of_protobuf(content, name), context, name)


def _from_bytecode(content: bytes, context: ir.Context, name: str) -> ir.Module:
    if _PRODUCER not in content[:_HEADER_BYTES]:
        return _parse(content, context, name)
    try:
        return deserialize(content, context)
    except CompileError as error:
        where = SourceLocation(name)
        raise CompileError(error.message, location=where, hint=error.hint) from None


def _looks_like_text(content: bytes) -> bool:
    try:
        return bool(content.decode().strip()) and b"\0" not in content
    except UnicodeDecodeError:
        return False


def _parse(content: str | bytes, context: ir.Context, name: str) -> ir.Module:
    load_quantized_types(content, context)
    try:
        if isinstance(content, str) and Path(name).is_file():
            # Operations get the file in their locations; it has one name, whatever the user's is.
            return ir.Module.parseFile(os.path.abspath(name), context=context)
        return ir.Module.parse(content, context=context)
    except (ir.MLIRError, ValueError) as error:
        what = "text" if isinstance(content, str) else "bytecode"
        raise CompileError(
            f"cannot read the MLIR {what}: {_complaint(error)}",
            location=_place(error, name),
            hint="the dialects stablehlo, chlo and func are known",
        ) from None


def _place(error: Exception, name: str) -> SourceLocation:
    found = source_location(str(error))
    return SourceLocation("", name, found.line, found.column) if found else SourceLocation(name)


def _complaint(error: Exception) -> str:
    """The message of an MLIR diagnostic without the place, which the location says already."""
    text = first_line(error)
    return re.sub(r'^(error: )?("[^"]*":\d+:\d+: )?(error: )?', "", text)


def _from_hlo(bytecode: bytes, context: ir.Context, name: str) -> ir.Module:
    """Bytecode that was made of HLO, its mhlo operations under their other names."""
    module = _parse(bytecode, context, name)
    with context:
        replace_mhlo(module)
    return module
