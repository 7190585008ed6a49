"""The `nisa` dialect: one op per instruction of `backends/isa`, generated from its entries.

    "nisa.stream"() ({
      "nisa.tensor_tensor"() {
        dst = #nisa.tile<"sbuf", "f32", 0 : i64, 128 : i64, 0 : i64, array<i64: 512>, ...>, ...
        op = "add", waits = [array<i64: 0, 12>], signal = array<i64: 1, 1>} : () -> ()
    }) {engine = "vector"} : () -> ()

A module holds one `nisa.stream` per engine. Operands and fields are attributes; absent optional
operands, waits and signals have none. `to_module` and `from_module` convert without loss. The
verifier of an op is the verifier of the instruction set for the target that the module names
(`nisa.target`, inf2 if it names none); its messages carry the rule numbers (Cn).

For reading, testing and rewriting: a program of 10^5 instructions stays packed (design.md).
"""

# No `from __future__ import annotations` here: ext reads the annotation objects.

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import ext

from axonc.backends.isa import INSTRUCTIONS, Verifier
from axonc.backends.isa.access_pattern import (
    NO_REGISTER,
    Access,
    Dims,
    HbmAccess,
    Memory,
    TileAccess,
)
from axonc.backends.isa.instruction import UNKNOWN_LOCATION, Instruction
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec
from axonc.backends.isa.verifier import rule_text
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError, SourceLocation

TARGET_ATTRIBUTE = "nisa.target"
CORES_ATTRIBUTE, GROUPS_ATTRIBUTE = "nisa.cores", "nisa.groups"
"""How many cores run the streams, and the table of replica groups; absent for one core."""

DEFAULT_TARGET = "inf2"
WAITS, SIGNAL, LOCATION = "waits", "signal", "location_index"
WAIT_REGISTER = "wait_register"
PREFIX = "nisa."


class Nisa(ext.Dialect, name="nisa"):
    """Instructions of a NeuronCore."""


class TileAttr(ext.Attribute, dialect=Nisa, name="tile"):
    """A `TileAccess`; byte offset within each partition, register -1 if none."""

    memory: ir.StringAttr
    dtype: ir.StringAttr
    start_partition: ir.IntegerAttr
    num_partitions: ir.IntegerAttr
    byte_offset: ir.IntegerAttr
    sizes: Any  # DenseI64ArrayAttr, outermost first
    strides: Any  # DenseI64ArrayAttr, in elements
    address_register: ir.IntegerAttr


class HbmAttr(ext.Attribute, dialect=Nisa, name="hbm"):
    """An `HbmAccess`; address in bytes, register -1 if none, in units of 2^shift bytes."""

    dtype: ir.StringAttr
    address: ir.IntegerAttr
    sizes: Any
    strides: Any
    address_register: ir.IntegerAttr
    register_shift: ir.IntegerAttr


class StreamOp(ext.Operation, dialect=Nisa, name="stream", traits=[ir.NoTerminatorTrait]):
    """The instructions of one engine, in program order."""

    engine: ir.StringAttr
    body: ext.Region


def _verify_op(op: ir.Operation) -> bool:
    """The rules of the instruction set; reports each broken one on the op."""
    try:
        instruction = instruction_of(op)
        found = _verifier_of(op).violations(instruction)
    except (KeyError, ValueError, TypeError) as error:
        op.location.emit_error(f"'{op.name}' op is malformed: {error.args[0]}")
        return False
    for number, what in found:
        text = rule_text(instruction.spec, number)
        op.location.emit_error(f"'{op.name}' op ({number}) {text}: {what}")
    return not found


_FIELD_CONSTRAINTS: dict[FieldKind, Any] = {
    FieldKind.ENUM: ir.StringAttr,
    FieldKind.UINT: ir.IntegerAttr,
    FieldKind.INT: ir.IntegerAttr,
    FieldKind.REGISTER: ir.IntegerAttr,
    FieldKind.FLOAT: ir.FloatAttr,
    FieldKind.BOOL: Any,  # BoolAttr cannot be a constraint
}


def _op_class(spec: InstructionSpec) -> type:
    """The op of one entry: required operands and all fields are declared attributes."""
    annotations: dict[str, Any] = {o.name: Any for o in spec.operands if not o.optional}
    annotations |= {field.name: _FIELD_CONSTRAINTS[field.kind] for field in spec.fields}
    body = {
        "__doc__": spec.summary,
        "__annotations__": annotations,
        "verify_invariants": staticmethod(_verify_op),
    }
    name = "".join(part.capitalize() for part in spec.mnemonic.split("_")) + "Op"
    keywords = {"dialect": Nisa, "name": spec.mnemonic}
    return types.new_class(
        name, (ext.Operation,), keywords, lambda namespace: namespace.update(body)
    )


OPS: dict[str, type] = {spec.mnemonic: _op_class(spec) for spec in INSTRUCTIONS}
"""Op class of each mnemonic."""


def load(context: ir.Context) -> None:
    """Make the dialect known to `context`; a second time does nothing."""
    with context:
        if not context.is_dialect_loaded(Nisa.DIALECT_NAMESPACE):
            Nisa.load()


# ---- to MLIR ------------------------------------------------------------------------------------


def _integer(value: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)


def _pair(pair: tuple[int, int]) -> ir.Attribute:
    return ir.DenseI64ArrayAttr.get(list(pair))


def _dims_attributes(dims: Dims) -> tuple[ir.Attribute, ir.Attribute]:
    sizes = ir.DenseI64ArrayAttr.get([size for _, size in dims])
    return sizes, ir.DenseI64ArrayAttr.get([stride for stride, _ in dims])


def access_attribute(access: Access) -> ir.Attribute:
    """`#nisa.tile` or `#nisa.hbm`; needs a current context."""
    dtype, dims = ir.StringAttr.get(access.dtype.name), _dims_attributes(access.dims)
    register = _integer(access.register)
    if isinstance(access, HbmAccess):
        shift = _integer(access.register_shift)
        return HbmAttr.get(dtype, _integer(access.address), *dims, register, shift)
    return TileAttr.get(
        ir.StringAttr.get(access.memory.value),
        dtype,
        _integer(access.start_partition),
        _integer(access.num_partitions),
        _integer(access.byte_offset),
        *dims,
        register,
    )


_FIELD_ATTRIBUTES: dict[FieldKind, Callable[[Any], ir.Attribute]] = {
    FieldKind.ENUM: ir.StringAttr.get,
    FieldKind.UINT: _integer,
    FieldKind.INT: _integer,
    FieldKind.REGISTER: _integer,
    FieldKind.FLOAT: lambda value: ir.FloatAttr.get(ir.F32Type.get(), float(value)),
    FieldKind.BOOL: lambda value: ir.BoolAttr.get(bool(value)),
}


def _attributes(instruction: Instruction) -> dict[str, ir.Attribute]:
    spec = instruction.spec
    attributes = {
        operand.name: access_attribute(access)
        for operand, access in zip(spec.operands, instruction.operands, strict=True)
        if access is not None
    }
    for field, value in zip(spec.fields, instruction.fields, strict=True):
        attributes[field.name] = _FIELD_ATTRIBUTES[field.kind](value)
    if instruction.waits:
        attributes[WAITS] = ir.ArrayAttr.get([_pair(wait) for wait in instruction.waits])
    if instruction.signal is not None:
        attributes[SIGNAL] = _pair(instruction.signal)
    if instruction.wait_register != NO_REGISTER:
        attributes[WAIT_REGISTER] = _integer(instruction.wait_register)
    if instruction.location != UNKNOWN_LOCATION:
        attributes[LOCATION] = _integer(instruction.location)
    return attributes


def _mlir_location(index: int, locations: Sequence[SourceLocation]) -> ir.Location:
    if not 0 < index < len(locations):
        return ir.Location.unknown()
    where = locations[index]
    inner = ir.Location.file(where.file, where.line, where.column) if where.file else None
    return ir.Location.name(where.name, inner) if where.name else inner or ir.Location.unknown()


def to_module(
    streams: Mapping[Engine, Sequence[Instruction]],
    locations: Sequence[SourceLocation] = (),
    context: ir.Context | None = None,
    target: str = DEFAULT_TARGET,
) -> ir.Module:
    """One `nisa.stream` per key of `streams`; ops get the MLIR location of `locations`."""
    context = context or ir.Context()
    load(context)
    with context, ir.Location.unknown():
        module = ir.Module.create()
        module.operation.attributes[TARGET_ATTRIBUTE] = ir.StringAttr.get(target)
        for engine, instructions in streams.items():
            with ir.InsertionPoint(module.body):
                stream = StreamOp(ir.StringAttr.get(engine.value))
            block = stream.body.blocks.append()
            with ir.InsertionPoint(block):
                for instruction in instructions:
                    ir.Operation.create(
                        PREFIX + instruction.spec.mnemonic,
                        attributes=_attributes(instruction),
                        loc=_mlir_location(instruction.location, locations),
                    )
        return module


# ---- from MLIR ----------------------------------------------------------------------------------


def _dims(sizes: ir.Attribute, strides: ir.Attribute) -> Dims:
    pairs = zip(ir.DenseI64ArrayAttr(strides), ir.DenseI64ArrayAttr(sizes), strict=True)
    return tuple((int(stride), int(size)) for stride, size in pairs)


def _number(attribute: ir.Attribute) -> int:
    return int(ir.IntegerAttr(attribute).value)


def _text(attribute: ir.Attribute) -> str:
    return ir.StringAttr(attribute).value


def access_of(attribute: ir.Attribute) -> Access:
    """The access an attribute stands for. Raises ValueError or KeyError for any other attribute."""
    kind = ir.DynamicAttr(attribute).attr_name
    if kind == TileAttr.attr_name:
        return _tile_of(TileAttr(attribute))
    if kind != HbmAttr.attr_name:
        raise ValueError(f"{attribute} is neither #nisa.tile nor #nisa.hbm")
    hbm = HbmAttr(attribute)
    return HbmAccess(
        DTYPES[_text(hbm.dtype)],
        _number(hbm.address),
        _dims(hbm.sizes, hbm.strides),
        _number(hbm.address_register),
        _number(hbm.register_shift),
    )


def _tile_of(tile: TileAttr) -> TileAccess:
    return TileAccess(
        Memory(_text(tile.memory)),
        DTYPES[_text(tile.dtype)],
        _number(tile.start_partition),
        _number(tile.num_partitions),
        _number(tile.byte_offset),
        _dims(tile.sizes, tile.strides),
        _number(tile.address_register),
    )


_FIELD_VALUES: dict[FieldKind, Callable[[ir.Attribute], object]] = {
    FieldKind.ENUM: _text,
    FieldKind.UINT: _number,
    FieldKind.INT: _number,
    FieldKind.REGISTER: _number,
    FieldKind.FLOAT: lambda attribute: float(ir.FloatAttr(attribute).value),
    FieldKind.BOOL: lambda attribute: bool(ir.BoolAttr(attribute).value),
}


def _field_of(op: ir.Operation, field: FieldSpec) -> object:
    if field.name not in op.attributes:
        raise KeyError(f"attribute {field.name} is missing")
    return _FIELD_VALUES[field.kind](op.attributes[field.name])


def _tuple_of(attribute: ir.Attribute) -> tuple[int, int]:
    first, second = ir.DenseI64ArrayAttr(attribute)
    return int(first), int(second)


def instruction_of(op: ir.Operation) -> Instruction:
    """The instruction an op stands for. Raises KeyError, ValueError or TypeError when malformed."""
    spec = INSTRUCTIONS[op.name.removeprefix(PREFIX)]
    attributes = op.attributes
    known = {*spec.operand_index, *spec.field_index, WAITS, SIGNAL, LOCATION, WAIT_REGISTER}
    for name in attributes:
        if name not in known and "." not in name:  # a dialect-prefixed one may be a pass's note
            raise KeyError(f"{spec.mnemonic} has no operand or field {name}")
    waits = ir.ArrayAttr(attributes[WAITS]) if WAITS in attributes else ()
    return Instruction(
        spec,
        _engine_of(op.parent),
        tuple(
            access_of(attributes[operand.name]) if operand.name in attributes else None
            for operand in spec.operands
        ),
        tuple(_field_of(op, field) for field in spec.fields),
        tuple(_tuple_of(wait) for wait in waits),
        _tuple_of(attributes[SIGNAL]) if SIGNAL in attributes else None,
        _number(attributes[LOCATION]) if LOCATION in attributes else UNKNOWN_LOCATION,
        _number(attributes[WAIT_REGISTER]) if WAIT_REGISTER in attributes else NO_REGISTER,
    )


def _engine_of(stream: ir.Operation | None) -> Engine:
    if stream is None or stream.name != PREFIX + "stream":
        raise ValueError("an instruction stands in a nisa.stream")
    return Engine(_text(stream.attributes["engine"]))


_verifiers = {name: Verifier(target) for name, target in TARGETS.items()}


def _verifier_of(op: ir.Operation) -> Verifier:
    """For the target of the nearest enclosing op that names one (while a module is being parsed,
    another one encloses it)."""
    name, enclosing = DEFAULT_TARGET, op.parent
    while enclosing is not None:
        if TARGET_ATTRIBUTE in enclosing.attributes:
            name = _text(enclosing.attributes[TARGET_ATTRIBUTE])
            break
        enclosing = enclosing.parent
    if name not in _verifiers:
        raise ValueError(f"there is no target {name}; known are {', '.join(_verifiers)}")
    return _verifiers[name]


def from_module(module: ir.Module) -> dict[Engine, list[Instruction]]:
    """The streams of a module made by `to_module`, or written by hand.

    Raises: CompileError when an op is malformed (unknown op, missing or foreign attribute) or two
    streams are for one engine.
    """
    streams: dict[Engine, list[Instruction]] = {}
    for stream in module.body.operations:
        try:
            engine = _engine_of(stream.operation)
            if engine in streams:
                raise ValueError(f"two streams for {engine.value}")
            block = stream.operation.regions[0].blocks[0]
            streams[engine] = [instruction_of(op.operation) for op in block.operations]
        except (KeyError, ValueError, TypeError) as error:
            raise CompileError(str(error.args[0]), op=str(stream.operation.name)) from error
    return streams
