"""Tile programs from modules of the `ntile` dialect.

Reads any spelling of the generic form, not only what `print_program` writes. Operations without an
explicit location get the line of the text they stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch_mlir import ir

from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.access_pattern import Dims, Memory
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.program import HbmTensor, Packing, TensorKind
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import CompileError, nearest
from axonc.dialects.attributes import dense_to_numpy, integer_lists
from axonc.dialects.locations import source_location
from axonc.dialects.ntile.program import Buffer, Form, Pool, Repeat, Step, TileOp, TileProgram, View
from axonc.dialects.ntile.types import (
    BUFFER,
    BUNDLE,
    CHOOSE,
    CORES_ATTRIBUTE,
    DEFAULT_TARGET,
    ENGINE,
    GROUPS_ATTRIBUTE,
    ISSUE,
    NOTES_ATTRIBUTE,
    PREFIX,
    RENEWED,
    REPEATS_ATTRIBUTE,
    SEGMENTS,
    TARGET_ATTRIBUTE,
    BufferType,
    PackingAttr,
    ViewAttr,
)

Placed = tuple[str, int, int, int, Dims]
"""A view without its buffer: dtype name, first partition, partitions, byte offset, dims."""

MALFORMED = (KeyError, ValueError, TypeError)
"""What reading a malformed op raises; the first argument says what is wrong."""


# ---- attributes ---------------------------------------------------------------------------------


def number(attribute: ir.Attribute) -> int:
    return int(ir.IntegerAttr(attribute).value)


def text(attribute: ir.Attribute) -> str:
    return str(ir.StringAttr(attribute).value)


def integers(attribute: ir.Attribute) -> tuple[int, ...]:
    return tuple(int(value) for value in ir.DenseI64ArrayAttr(attribute))


def _dims(sizes: ir.Attribute, strides: ir.Attribute) -> Dims:
    return tuple(zip(integers(strides), integers(sizes), strict=True))


_FIELD_VALUES: dict[FieldKind, Callable[[ir.Attribute], object]] = {
    FieldKind.ENUM: text,
    FieldKind.UINT: number,
    FieldKind.INT: number,
    FieldKind.REGISTER: number,
    FieldKind.FLOAT: lambda attribute: float(ir.FloatAttr(attribute).value),
    FieldKind.BOOL: lambda attribute: bool(ir.BoolAttr(attribute).value),
}


def _required(op: ir.Operation, name: str) -> ir.Attribute:
    if name not in op.attributes:
        raise KeyError(f"attribute {name} is missing")
    return op.attributes[name]


def placed_of(attribute: ir.Attribute) -> Placed:
    """What a `#ntile.view` says. Raises ValueError for any other attribute."""
    try:
        view = ViewAttr(attribute)
    except (ValueError, TypeError):
        raise ValueError(f"{attribute} is not a #ntile.view") from None
    start, count, offset = integers(view.place)
    name = text(view.dtype)
    if name not in DTYPES:
        raise ValueError(f"there is no element type {name}; {nearest(name, DTYPES)}")
    return name, start, count, offset, _dims(view.sizes, view.strides)


def _packing_of(attribute: ir.Attribute) -> Packing:
    packing = PackingAttr(attribute)
    rows = _dims(packing.row_sizes, packing.row_strides)
    columns = _dims(packing.column_sizes, packing.column_strides)
    offset, partition_tile, column_block = integers(packing.place)
    return Packing(rows, columns, offset, partition_tile, column_block)


# ---- ops ----------------------------------------------------------------------------------------


def buffer_of(op: ir.Operation) -> Buffer:
    """The buffer an `ntile.buffer` makes. Raises one of MALFORMED."""
    buffer = typed_buffer(op.results[0], text(_required(op, "name")))
    attributes = op.attributes
    if "pool" in attributes:
        buffer.pool = Pool(text(attributes["pool"]))
    buffer.renewed = RENEWED in attributes
    if "address" in attributes:
        buffer.address = number(attributes["address"])
    if "kind" in attributes:
        buffer.tensor = _tensor_of(op, buffer)
    if "each" in attributes:
        names = [text(name) for name in ir.ArrayAttr(attributes["each"])]
        buffer.each = _tensors_of_iterations(buffer, names)
    return buffer


def _tensors_of_iterations(buffer: Buffer, names: list[str]) -> tuple[HbmTensor, ...]:
    """names: name and source of each; addresses come with the repeat (`place_iterations`)."""
    if buffer.tensor is None or len(names) % 2:
        raise ValueError("'each' holds a name and a source for every iteration of a device tensor")
    pairs = zip(names[::2], names[1::2], strict=True)
    return tuple(replace(buffer.tensor, name=name, source=source) for name, source in pairs)


def typed_buffer(value: ir.Value, name: str) -> Buffer:
    """What the type of a value says about the buffer behind it."""
    kind = BufferType(value.type)
    return Buffer(
        name, Memory(text(kind.memory)), number(kind.partitions), number(kind.partition_bytes)
    )


def _tensor_of(op: ir.Operation, buffer: Buffer) -> HbmTensor:
    attributes = op.attributes
    return HbmTensor(
        buffer.name,
        TensorKind(text(attributes["kind"])),
        buffer.address,
        integers(_required(op, "shape")),
        DTYPES[text(_required(op, "dtype"))],
        text(_required(op, "host_dtype")),
        _packing_of(attributes["packing"]) if "packing" in attributes else None,
        dense_to_numpy(attributes["data"]).tobytes() if "data" in attributes else None,
        text(attributes["source"]) if "source" in attributes else buffer.name,
        text(attributes["alias"]) if "alias" in attributes else "",
    )


def instruction_spec(op: ir.Operation) -> InstructionSpec:
    """The entry an op of the dialect is named after. Raises ValueError when there is none."""
    mnemonic = op.name.removeprefix(PREFIX)
    if not op.name.startswith(PREFIX) or mnemonic not in INSTRUCTIONS:
        hint = nearest(mnemonic, [spec.mnemonic for spec in INSTRUCTIONS])
        raise ValueError(f"{op.name} does not stand for an instruction; {hint}".rstrip("; "))
    return INSTRUCTIONS[mnemonic]


def given_operands(op: ir.Operation, spec: InstructionSpec) -> list[int]:
    """Which operands of the entry the op has: those whose view is there, in order.

    Raises:
        KeyError: an attribute is no operand or field; a required view is missing.
        ValueError: views and buffers differ in number (C30).
    """
    attributes = op.attributes
    _reject_unknown(spec, attributes)
    given = [operand.name in attributes for operand in spec.operands]
    for there, operand in zip(given, spec.operands, strict=True):
        if not there and not operand.optional:
            raise KeyError(f"the view of operand {operand.name} is missing")
    if sum(given) != len(op.operands):
        buffers = f"{len(op.operands)} buffers, {sum(given)} views"
        raise ValueError(f"(C30) every operand has one buffer and one view: {buffers}")
    if SEGMENTS in attributes and list(ir.DenseI32ArrayAttr(attributes[SEGMENTS])) != given:
        found = attributes[SEGMENTS]
        raise ValueError(f"(C30) every operand has one buffer and one view: {SEGMENTS} is {found}")
    return [index for index, there in enumerate(given) if there]


def _reject_unknown(spec: InstructionSpec, attributes: Iterable[str]) -> None:
    names = (*spec.operand_index, *spec.field_index)
    for name in attributes:
        if name not in (*names, ENGINE, ISSUE, SEGMENTS) and "." not in name:
            hint = nearest(name, names) or f"it has {', '.join(names)}"
            raise KeyError(f"{spec.mnemonic} has no operand or field {name}; {hint}")


def fields_of(op: ir.Operation, spec: InstructionSpec) -> tuple[object, ...]:
    """The immediate fields, defaults where the op is silent."""
    return tuple(_field_of(op, field) for field in spec.fields)


def _field_of(op: ir.Operation, field: FieldSpec) -> object:
    attributes = op.attributes
    if field.name not in attributes:
        return field.default
    try:
        return _FIELD_VALUES[field.kind](attributes[field.name])
    except (ValueError, TypeError):
        found = attributes[field.name]
        raise ValueError(f"field {field.name} is a {field.kind.value}, not {found}") from None


def engine_of(op: ir.Operation) -> Engine:
    """The engine of a form. Raises KeyError or ValueError."""
    return Engine(text(_required(op, ENGINE)))


def target_of(module: ir.Operation) -> Target:
    """The target a module names. Raises ValueError for an unknown one."""
    attributes = module.attributes
    name = text(attributes[TARGET_ATTRIBUTE]) if TARGET_ATTRIBUTE in attributes else DEFAULT_TARGET
    if name not in TARGETS:
        raise ValueError(f"there is no target {name}; known are {', '.join(TARGETS)}")
    return TARGETS[name]


def body(op: ir.Operation) -> list[ir.Operation]:
    """The ops in the one block of a region op."""
    blocks = list(op.regions[0].blocks)
    return [inner.operation for inner in blocks[0].operations] if blocks else []


# ---- programs -----------------------------------------------------------------------------------


class _Reader:
    def __init__(self, module: ir.Module, target: Target | None) -> None:
        self.module = module.operation
        self.program = TileProgram(target or target_of(self.module))
        self.buffers: dict[ir.Value, Buffer] = {}
        self.issue: list[tuple[Engine, int, int]] = []
        self._placed: dict[ir.Attribute, Placed] = {}

    def run(self) -> TileProgram:
        attributes = self.module.attributes
        if NOTES_ATTRIBUTE in attributes:
            self.program.notes += [text(n) for n in ir.ArrayAttr(attributes[NOTES_ATTRIBUTE])]
        if CORES_ATTRIBUTE in attributes:
            self.program.cores = number(attributes[CORES_ATTRIBUTE])
            entries = ir.ArrayAttr(attributes[GROUPS_ATTRIBUTE])
            self.program.groups += [integer_lists(entry) for entry in entries]
        if REPEATS_ATTRIBUTE in attributes:
            for entry in ir.ArrayAttr(attributes[REPEATS_ATTRIBUTE]):
                self.program.repeats.append(Repeat(*integers(entry)))
        for op in body(self.module):
            try:
                self._top_level(op)
            except MALFORMED as error:
                raise CompileError(
                    str(error.args[0]), op=op.name, location=source_location(op)
                ) from error
        for repeat in self.program.repeats:
            for buffer in self.program.iterated(repeat):
                buffer.place_iterations(repeat.stride)
        return self.program

    def _top_level(self, op: ir.Operation) -> None:
        if op.name == PREFIX + BUFFER:
            buffer = self.buffers[op.results[0]] = buffer_of(op)
            self.program.buffers.append(buffer)
            return
        choose = op.name == PREFIX + CHOOSE
        forms = tuple(map(self._form, body(op))) if choose else (self._form(op),)
        if ISSUE in op.attributes:
            position = number(op.attributes[ISSUE])
            self.issue.append((forms[0].engine, position, len(self.program.ops)))
        location = self.program.location(source_location(op))
        self.program.ops.append(TileOp(forms, location))

    def _form(self, op: ir.Operation) -> Form:
        steps = map(self._step, body(op)) if op.name == PREFIX + BUNDLE else (self._step(op),)
        return Form(engine_of(op), tuple(steps))

    def _step(self, op: ir.Operation) -> Step:
        spec = instruction_spec(op)
        operands: list[View | None] = [None] * len(spec.operands)
        for value, index in zip(op.operands, given_operands(op, spec), strict=True):
            operands[index] = self._view(value, op.attributes[spec.operands[index].name])
        return Step(spec, tuple(operands), fields_of(op, spec))

    def _view(self, value: ir.Value, attribute: ir.Attribute) -> View:
        placed = self._placed.get(attribute)
        if placed is None:
            placed = self._placed[attribute] = placed_of(attribute)
        name, start, count, offset, dims = placed
        return View(self.buffers[value], DTYPES[name], start, count, offset, dims)


def from_module(module: ir.Module, target: Target | None = None) -> TileProgram:
    """The tile program a module holds.

    target: overrides the one the module names. The location table holds the locations in use, in
    the order of their first use.
    Raises: CompileError for ops that are not of the dialect or are malformed.
    """
    return _Reader(module, target).run()


def read_scheduled(
    module: ir.Module, target: Target | None = None
) -> tuple[TileProgram, dict[Engine, list[int]]]:
    """The program, and the order of issue its `issue` attributes give (empty if there are none)."""
    reader = _Reader(module, target)
    program = reader.run()
    order: dict[Engine, list[int]] = {}
    for engine, _, op in sorted(reader.issue, key=lambda item: item[1]):
        order.setdefault(engine, []).append(op)
    return program, order
