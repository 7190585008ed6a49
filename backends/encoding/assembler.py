"""Text to instructions: what `disassembler.disassemble` prints, or a person writes."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

from axonc.backends.isa.access_pattern import NO_REGISTER, Access, HbmAccess, Memory, TileAccess
from axonc.backends.isa.construct import instruction as make_instruction
from axonc.backends.isa.construct import spec_of
from axonc.backends.isa.instruction import UNKNOWN_LOCATION, Instruction
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError, SourceLocation, nearest

ENGINES = {engine.value: engine for engine in Engine}
BOOLS = {"true": True, "false": False}
Pair = tuple[int, int]


class _Tagged(tuple):
    """A (tag, value) pair: which kind of clause a rule of the grammar gave."""


def _integer(token: str) -> int:
    return int(token, 0)


@v_args(inline=True)
class _Builder(Transformer):
    """Grammar rules to values, bottom up."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file

    def start(self, *instructions: Instruction) -> list[Instruction]:
        return list(instructions)

    def partitions(self, first: str, end: str) -> Pair:
        return _integer(first), _integer(end)

    def register(self, token: str) -> int:
        return int(token[2:])

    def shift(self, token: str) -> _Tagged:
        return _Tagged(("shift", int(token[2:])))

    def wait_base(self, token: str) -> _Tagged:
        return _Tagged(("wait_register", int(token[1:])))

    def dim(self, size: str, stride: str) -> Pair:
        return _integer(stride), _integer(size)

    def access(self, memory: Token, *parts: object) -> Access:
        partitions = parts[0] if isinstance(parts[0], tuple) else None
        address, *rest = list(parts[1:] if partitions else parts)
        register, shift = NO_REGISTER, 0
        if isinstance(rest[0], int):
            register, rest = rest[0], rest[1:]
        if isinstance(rest[0], _Tagged):
            (_, shift), rest = rest[0], rest[1:]
        name, *dims = rest
        place = _integer(str(address)), register, shift
        return self._access(memory, partitions, place, name, dims)

    def _access(
        self,
        memory: Token,
        partitions: tuple | None,
        place: tuple[int, int, int],
        dtype_name: object,
        dims: list,
    ) -> Access:
        """place: address, register, register shift."""
        assert isinstance(dtype_name, Token)
        address, register, shift = place
        dtype = self._lookup(DTYPES, dtype_name, "element type")
        pattern = tuple(dim for dim in dims if dim is not None)
        on_chip = memory != Memory.HBM.value
        if on_chip != (partitions is not None):
            raise self._error(memory, f"{memory} with{'out' if on_chip else ''} partitions")
        if partitions is None:
            return HbmAccess(dtype, address, pattern, register, shift)
        if shift:
            raise self._error(memory, "only a register of a device address has a shift")
        start, end = partitions
        return TileAccess(
            Memory(str(memory)), dtype, start, end - start, address, pattern, register
        )

    def argument(self, name: Token, value: object) -> _Tagged:
        return _Tagged(("argument", (name, value)))

    def wait(self, semaphore: str, value: str, register: int = NO_REGISTER) -> _Tagged:
        return _Tagged(("wait", (_integer(semaphore), _integer(value), register)))

    def signal(self, semaphore: str, increment: str) -> _Tagged:
        return _Tagged(("signal", (_integer(semaphore), _integer(increment))))

    def location(self, number: str) -> _Tagged:
        return _Tagged(("location", _integer(number)))

    def instruction(self, engine_name: Token, mnemonic: Token, *clauses: _Tagged) -> Instruction:
        engine = self._lookup(ENGINES, engine_name, "engine")
        arguments = [value for tag, value in clauses if tag == "argument"]
        waits = [value for tag, value in clauses if tag == "wait"]
        registers = [value for tag, value in clauses if tag == "wait_register"]
        registers += [register for _, _, register in waits]
        try:
            spec = spec_of(str(mnemonic))
            operands = {str(n): v for n, v in arguments if not isinstance(v, Token)}
            fields = {str(n): self._field(spec, n, v) for n, v in arguments if isinstance(v, Token)}
            if len(operands) + len(fields) != len(arguments):
                raise self._error(mnemonic, "an operand or field is given twice")
            return make_instruction(
                spec.mnemonic,
                engine,
                operands,
                fields,
                waits=[(semaphore, value) for semaphore, value, _ in waits],
                signal=next((value for tag, value in clauses if tag == "signal"), None),
                location=next((v for tag, v in clauses if tag == "location"), UNKNOWN_LOCATION),
                wait_register=next(iter(registers), NO_REGISTER),
            )
        except CompileError as error:
            where = error.location or self._where(mnemonic)
            raise type(error)(
                error.message, location=where, op=error.op, hint=error.hint
            ) from error

    def _field(self, spec: InstructionSpec, name: Token, token: Token) -> object:
        if name not in spec.field_index:
            return str(token)  # `make_instruction` reports the unknown name
        field = spec.fields[spec.field_index[name]]
        try:
            return _field_value(field, str(token))
        except (ValueError, KeyError):
            hint = nearest(token, field.choices)
            raise self._error(token, f"'{token}' is no value of field {name}", hint) from None

    def _lookup(self, table: dict, name: Token, kind: str):  # type: ignore[no-untyped-def]
        if name not in table:
            raise self._error(name, f"there is no {kind} '{name}'", nearest(name, table))
        return table[name]

    def _where(self, token: Token) -> SourceLocation:
        return SourceLocation(file=self._file, line=token.line or 0, column=token.column or 0)

    def _error(self, token: Token, message: str, hint: str = "") -> CompileError:
        return CompileError(message, location=self._where(token), hint=hint)


def _field_value(field: FieldSpec, text: str) -> object:
    """Raises ValueError or KeyError when the text is no value of the field."""
    if field.kind is FieldKind.ENUM:
        if text not in field.choices:
            raise ValueError(text)
        return text
    if field.kind is FieldKind.BOOL:
        return BOOLS[text]
    if field.kind is not FieldKind.FLOAT:
        return int(text, 0)
    if text.startswith("nan("):
        return struct.unpack("<f", int(text[4:-1], 16).to_bytes(4, "little"))[0]
    return float(text)


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("assembly.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False)


def assemble(text: str, file: str = "<assembly>") -> list[Instruction]:
    """The instructions of `text`, in its order. They are not verified.

    Raises: CompileError with line and column for text that does not parse, and for unknown engines,
    mnemonics, operands, fields and values.
    """
    try:
        tree = _parser().parse(text if text.endswith("\n") else text + "\n")
        return _Builder(file).transform(tree)
    except UnexpectedInput as error:
        where = SourceLocation(file=file, line=error.line, column=error.column)
        shown = error.get_context(text).rstrip()
        raise CompileError(f"unexpected text:\n{shown}", location=where) from error
    except VisitError as error:
        raise error.orig_exc from error


def assemble_streams(text: str, file: str = "<assembly>") -> dict[Engine, list[Instruction]]:
    """The instructions by engine, in the order they have in the text."""
    streams: dict[Engine, list[Instruction]] = {engine: [] for engine in Engine}
    for instruction in assemble(text, file):
        streams[instruction.engine].append(instruction)
    return streams
