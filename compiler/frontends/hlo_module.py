"""XLA's HLO, the input of neuronx-cc, as protobuf or as text -> StableHLO (and chlo) in jaxlib.

A protobuf is a HloModuleProto, or a HloProto or HloSnapshot around one, as XLA's dump flags write
them: in both the inner message is field 1 (xla/service/hlo.proto).
"""

from __future__ import annotations

import re

from jaxlib import _jax
from jaxlib.mlir import ir

from axonc.diagnostics import CompileError, SourceLocation
from axonc.imported.stablehlo_module import first_line, walk

try:
    from jaxlib._hlo import hlo_module_from_text
except ImportError:  # before jaxlib 0.10.2
    from jaxlib._jax import hlo_module_from_text

_TEXT_START = re.compile(rb"\s*(?://[^\n]*\n\s*)*HloModule\s")

# Tag of field 1 with a length: (1 << 3) | 2 (protobuf.dev, Encoding).
_FIELD_1 = 0x0A
_WRAPPERS = ("HloModuleProto", "HloProto", "HloSnapshot")


def is_hlo_text(content: bytes) -> bool:
    """Whether it begins as HLO text does, after comments."""
    return _TEXT_START.match(content) is not None


def bytecode_of_text(content: bytes, name: str) -> bytes:
    """MLIR bytecode of HLO text.

    Raises:
        CompileError: it does not parse; with line and column.
    """
    try:
        module = hlo_module_from_text(content.decode())
    except UnicodeDecodeError:
        raise CompileError("the HLO text is not UTF-8", location=SourceLocation(name)) from None
    except Exception as error:  # XLA's XlaRuntimeError
        raise CompileError(
            f"cannot read the HLO text: {_text_complaint(error)}",
            location=_text_place(error, name),
        ) from None
    return bytecode_of_protobuf(module.as_serialized_hlo_module_proto(), name)


def bytecode_of_protobuf(content: bytes, name: str) -> bytes:
    """MLIR bytecode of a HLO protobuf.

    Raises:
        CompileError: it is none.
    """
    complaint = ""
    inner: bytes | None = content
    for _ in _WRAPPERS:
        if inner is None:
            break
        try:
            bytecode: bytes = _jax.mlir.hlo_to_stablehlo(inner)
            return bytecode
        except Exception as error:  # XLA's XlaRuntimeError, or a ValueError
            complaint = complaint or first_line(error)
        inner = _first_field(inner)
    raise CompileError(
        f"neither MLIR nor a HLO module protobuf: {complaint}",
        location=SourceLocation(name),
        hint="accepted: StableHLO text, MLIR bytecode, portable artifact, HLO text, "
        + ", ".join(_WRAPPERS),
    )


def _first_field(message: bytes) -> bytes | None:
    """The bytes of field 1, where the message begins with it and has all of it."""
    if not message or message[0] != _FIELD_1:
        return None
    length = shift = 0
    for position, byte in enumerate(message[1:11], start=2):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            end = position + length
            return message[position:end] if 0 < length and end <= len(message) else None
    return None


# HLO operations jaxlib gives as mhlo, though chlo has the same.
_SAME_IN_CHLO = {
    f"mhlo.{name}": f"chlo.{name}"
    for name in ("erf", "acos", "acosh", "asin", "asinh", "atanh", "cosh", "sinh")
}


def replace_mhlo(module: ir.Module) -> None:
    """What has the same meaning elsewhere gets that name; `mhlo.copy` goes. The rest is refused
    later, by name."""
    for operation in list(walk(module)):
        if operation.name == "mhlo.copy":
            operation.results[0].replace_all_uses_with(operation.operands[0])
            operation.erase()
        elif operation.name in _SAME_IN_CHLO:
            _rename(operation, _SAME_IN_CHLO[operation.name], {})
        elif operation.name == "mhlo.topk" and _takes_largest(operation):
            _rename(operation, "chlo.top_k", {"k": operation.attributes["k"]})


def _takes_largest(operation: ir.Operation) -> bool:
    attributes = operation.attributes
    return "largest" not in attributes or bool(attributes["largest"].value)


def _rename(operation: ir.Operation, name: str, attributes: dict[str, ir.Attribute]) -> None:
    with operation.location, ir.InsertionPoint(operation):
        made = ir.Operation.create(
            name,
            results=[result.type for result in operation.results],
            operands=list(operation.operands),
            attributes=attributes,
        )
    for old, new in zip(operation.results, made.results, strict=True):
        old.replace_all_uses_with(new)
    operation.erase()


_PARSED = re.compile(r"was parsing (?P<line>\d+):(?P<column>\d+): (?P<what>[^\n]*)")


def _text_complaint(error: Exception) -> str:
    found = _PARSED.search(str(error))
    return found["what"].removeprefix("error: ").rstrip(": ") if found else first_line(error)


def _text_place(error: Exception, name: str) -> SourceLocation:
    found = _PARSED.search(str(error))
    if found is None:
        return SourceLocation(name)
    return SourceLocation("", name, int(found["line"]), int(found["column"]))
