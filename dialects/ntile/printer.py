"""Tile programs as text of the `ntile` dialect.

Written directly, because 25,000 operations through the bindings take many seconds; the parser reads
the text back (tests/dialects/ntile/test_ntile.py compares programs and modules).

What equals its default is left out: immediate fields, the pool `work`, an address not yet chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from axonc.backends.isa.access_pattern import Dims
from axonc.backends.isa.spec import FieldKind
from axonc.backends.program import HbmTensor, Packing
from axonc.backends.targets.target import Engine
from axonc.diagnostics import LOOKUP, SourceLocation
from axonc.dialects.ntile.program import Buffer, Form, Pool, Step, TileOp, TileProgram, View
from axonc.dialects.ntile.types import (
    BUFFER,
    BUNDLE,
    CHOOSE,
    CORES_ATTRIBUTE,
    ENGINE,
    GROUPS_ATTRIBUTE,
    ISSUE,
    NOTES_ATTRIBUTE,
    PREFIX,
    RENEWED,
    REPEATS_ATTRIBUTE,
    SEGMENTS,
    TARGET_ATTRIBUTE,
    has_segments,
)

IssueOrder = Mapping[Engine, Sequence[int]]
"""Per engine, the numbers of its operations in the order of issue."""

_ESCAPED = re.compile(rb"[^ !#-\[\]-~]")
_NOT_IN_NAMES = re.compile(r"[^\w$.-]", re.ASCII)


def print_program(
    program: TileProgram, order: IssueOrder | None = None, *, locations: bool = True
) -> str:
    """The program as a module of the `ntile` dialect; 25,000 operations take about a second.

    order: of a scheduled program, printed as the attribute `issue`. locations: whether operations
    name their place in the user's source; without, reading the text back loses that.
    """
    return "".join(_Printer(program, order or {}, locations).lines())


# ---- literals -----------------------------------------------------------------------------------


def string(text: str) -> str:
    """A string literal of MLIR; bytes outside printable ASCII become \\XX."""
    escaped = _ESCAPED.sub(lambda found: b"\\%02X" % found[0][0], text.encode())
    return f'"{escaped.decode()}"'


def integers(values: Sequence[int]) -> str:
    """A DenseI64ArrayAttr."""
    return f"array<i64: {', '.join(map(str, values))}>" if values else "array<i64>"


def real(value: float) -> str:
    """An f64 attribute that reads back as the same number."""
    if not math.isfinite(value):
        return f"0x{np.float64(value).view(np.uint64):016X} : f64"
    mantissa, _, exponent = repr(float(value)).partition("e")
    point = "" if "." in mantissa else ".0"
    return f"{mantissa}{point}{'e' + exponent if exponent else ''} : f64"


def dims_arrays(dims: Dims) -> str:
    """Sizes and strides."""
    return f"{integers([size for _, size in dims])}, {integers([stride for stride, _ in dims])}"


def dense_bytes(data: bytes) -> str:
    """Bytes as a dense attribute."""
    digits = f'"0x{data.hex().upper()}"' if data else ""
    return f"dense<{digits}> : tensor<{len(data)}xui8>"


_FIELD_TEXT: dict[FieldKind, Callable[[Any], str]] = {
    FieldKind.ENUM: string,
    FieldKind.UINT: lambda value: str(int(value)),
    FieldKind.INT: lambda value: str(int(value)),
    FieldKind.REGISTER: lambda value: str(int(value)),
    FieldKind.FLOAT: real,
    FieldKind.BOOL: lambda value: "true" if value else "false",
}


def view_text(view: View) -> str:
    """`#ntile.view<...>`"""
    place = integers((view.start_partition, view.num_partitions, view.byte_offset))
    return f'#ntile.view<"{view.dtype.name}", {place}, {dims_arrays(view.dims)}>'


def packing_text(packing: Packing) -> str:
    """`#ntile.packing<...>`"""
    place = integers((packing.offset, packing.partition_tile, packing.column_block))
    rows, columns = dims_arrays(packing.row_dims), dims_arrays(packing.column_dims)
    return f"#ntile.packing<{rows}, {columns}, {place}>"


def location_text(source: SourceLocation) -> str:
    """What stands inside `loc(...)`."""
    where = f"{string(source.file)}:{source.line}:{source.column}" if source.file else ""
    for name in (LOOKUP if source.is_lookup else "", source.name):
        if name:
            where = f"{string(name)}({where})" if where else string(name)
    return where or "unknown"


def type_text(buffer: Buffer) -> str:
    """`!ntile.memory<...>`"""
    sizes = f"{buffer.partitions} : i64, {buffer.partition_bytes} : i64"
    return f'!ntile.memory<"{buffer.memory.value}", {sizes}>'


def type_alias(buffer: Buffer) -> str:
    """The short name of the buffer's type, such as `!sbuf_128x2048`."""
    partitions = f"{buffer.partitions}x" if buffer.partitions else ""
    return f"!{buffer.memory.value}_{partitions}{buffer.partition_bytes}"


# ---- the program --------------------------------------------------------------------------------


def _block(attributes: Sequence[str]) -> str:
    return f" {{{', '.join(attributes)}}}" if attributes else ""


class _Printer:
    def __init__(self, program: TileProgram, order: IssueOrder, locations: bool) -> None:
        self.program = program
        self.locations = locations
        self.values = _value_names(program.buffers)
        self.types = {buffer: type_alias(buffer) for buffer in program.buffers}
        self.issue = {op: n for ops in order.values() for n, op in enumerate(ops)}
        used = dict.fromkeys([0, *(op.location for op in program.ops)])
        self.places = {location: number for number, location in enumerate(used)}

    def lines(self) -> Iterator[str]:
        yield from self._aliases()
        attributes = [f"{TARGET_ATTRIBUTE} = {string(self.program.target.name)}"]
        if self.program.notes:
            notes = ", ".join(map(string, self.program.notes))
            attributes.append(f"{NOTES_ATTRIBUTE} = [{notes}]")
        if self.program.cores > 1:
            groups = [[list(group) for group in entry] for entry in self.program.groups]
            attributes.append(f"{CORES_ATTRIBUTE} = {self.program.cores}")
            attributes.append(f"{GROUPS_ATTRIBUTE} = {groups}")
        if self.program.repeats:
            repeats = ", ".join(integers(astuple(r)) for r in self.program.repeats)
            attributes.append(f"{REPEATS_ATTRIBUTE} = [{repeats}]")
        yield f"module attributes{_block(attributes)} {{\n"
        yield from map(self._buffer, self.program.buffers)
        for number, op in enumerate(self.program.ops):
            yield from self._operation(number, op)
        yield "}\n"

    def _aliases(self) -> Iterator[str]:
        types = {self.types[b]: type_text(b) for b in self.program.buffers}
        for alias, text in sorted(types.items()):
            yield f"{alias} = {text}\n"
        if self.locations:
            for location, number in self.places.items():
                source = self.program.locations[location]
                yield f"#loc{number} = loc({location_text(source)})\n"

    def _place(self, location: int) -> str:
        return f" loc(#loc{self.places[location]})\n" if self.locations else "\n"

    def _buffer(self, buffer: Buffer) -> str:
        attributes = [f"name = {string(buffer.name)}"]
        if buffer.pool is not Pool.WORK:
            attributes.append(f"pool = {string(buffer.pool.value)}")
        if buffer.renewed:
            attributes.append(RENEWED)
        if buffer.address >= 0:
            attributes.append(f"address = {buffer.address}")
        if buffer.tensor is not None:
            attributes += _tensor_attributes(buffer.tensor)
        if buffer.each:
            names = [word for tensor in buffer.each for word in (tensor.name, tensor.source)]
            attributes.append(f"each = [{', '.join(map(string, names))}]")
        result = f"{self.values[buffer]} = {string(PREFIX + BUFFER)}()"
        return f"  {result}{_block(attributes)} : () -> {self.types[buffer]}{self._place(0)}"

    def _operation(self, number: int, op: TileOp) -> Iterator[str]:
        issue = [f"{ISSUE} = {self.issue[number]}"] if number in self.issue else []
        if len(op.forms) == 1:
            yield from self._form(op.form, op.location, issue, "  ")
            return
        yield f"  {string(PREFIX + CHOOSE)}() ({{\n"
        for form in op.forms:
            yield from self._form(form, op.location, [], "    ")
        yield f"  }}){_block(issue)} : () -> (){self._place(op.location)}"

    def _form(self, form: Form, location: int, issue: list[str], indent: str) -> Iterator[str]:
        attributes = [f"{ENGINE} = {string(form.engine.value)}", *issue]
        if len(form.steps) == 1:
            yield self._step(form.steps[0], attributes, location, indent)
            return
        yield f"{indent}{string(PREFIX + BUNDLE)}() ({{\n"
        for step in form.steps:
            yield self._step(step, [], location, indent + "  ")
        yield f"{indent}}}){_block(attributes)} : () -> (){self._place(location)}"

    def _step(self, step: Step, attributes: list[str], location: int, indent: str) -> str:
        given = [(o.name, v) for o, v in zip(step.spec.operands, step.operands, strict=True) if v]
        values = ", ".join(self.values[view.buffer] for _, view in given)
        types = ", ".join(self.types[view.buffer] for _, view in given)
        parts = attributes + [f"{name} = {view_text(view)}" for name, view in given]
        parts += _field_attributes(step)
        if has_segments(step.spec):
            sizes = ", ".join("0" if view is None else "1" for view in step.operands)
            parts.append(f"{SEGMENTS} = array<i32: {sizes}>")
        name = string(PREFIX + step.spec.mnemonic)
        return f"{indent}{name}({values}){_block(parts)} : ({types}) -> (){self._place(location)}"


def _field_attributes(step: Step) -> list[str]:
    return [
        f"{field.name} = {_FIELD_TEXT[field.kind](value)}"
        for field, value in zip(step.spec.fields, step.fields, strict=True)
        if repr(value) != repr(field.default)  # -0.0 is not 0.0
    ]


def _tensor_attributes(tensor: HbmTensor) -> list[str]:
    attributes = [
        f"kind = {string(tensor.kind.value)}",
        f"shape = {integers(tensor.shape)}",
        f"dtype = {string(tensor.dtype.name)}",
        f"host_dtype = {string(tensor.host_dtype)}",
    ]
    if tensor.source != tensor.name:
        attributes.append(f"source = {string(tensor.source)}")
    if tensor.alias:
        attributes.append(f"alias = {string(tensor.alias)}")
    if tensor.packing is not None:
        attributes.append(f"packing = {packing_text(tensor.packing)}")
    if tensor.data is not None:
        attributes.append(f"data = {dense_bytes(tensor.data)}")
    return attributes


def _value_names(buffers: Sequence[Buffer]) -> dict[Buffer, str]:
    """An SSA name for each buffer: its own as far as MLIR's syntax allows, made unique."""
    names: dict[Buffer, str] = {}
    taken: set[str] = set()
    for number, buffer in enumerate(buffers):
        name = _NOT_IN_NAMES.sub("_", buffer.name) or "_"
        name = f"_{name}" if name[0].isdigit() else name
        names[buffer] = f"%{name}" if name not in taken else f"%{name}.b{number}"
        taken.add(names[buffer][1:])
    return names
