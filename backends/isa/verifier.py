"""Check an instruction against its description: the common rules, then its own.

One pass per operand evaluates C2 to C11; everything that depends only on the entry and the target
is computed once per entry (`_Plan`), so that a check costs a few microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from axonc.backends.isa.access_pattern import NO_REGISTER, Access, HbmAccess, Memory, TileAccess
from axonc.backends.isa.construct import FLOAT32_LIMIT
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.rules import COMMON_RULES
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec, OperandSpec
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import SourceLocation, VerifyError

Violation = tuple[str, str]
"""(rule number, what was found)."""

FieldTest = Callable[[object], bool]
COMPUTE_ENGINES = (Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD)


def legal_starts(num_partitions: int, target: Target) -> tuple[int, ...]:
    """Start partitions allowed for a tile of that many partitions (machine.md#operands)."""
    quadrant = target.partition_quadrant
    step = quadrant
    while step < num_partitions:
        step *= 2
    return tuple(range(0, target.partitions, step))


def _is_float32(value: object) -> bool:
    """Whether the value has a nearest binary32 number, which is what the encoding keeps."""
    if type(value) is not float and type(value) is not int:
        return False
    return not math.isfinite(value) or abs(value) < FLOAT32_LIMIT


def _field_test(field: FieldSpec, target: Target) -> FieldTest:
    """Whether a value is representable in the field."""
    if field.kind is FieldKind.ENUM:
        choices = frozenset(field.choices)
        return lambda value: value in choices
    if field.kind is FieldKind.FLOAT:
        return _is_float32
    if field.kind is FieldKind.BOOL:
        return lambda value: value is True or value is False
    low, high = _integer_range(field, target)
    return lambda value: type(value) is int and low <= value <= high


def _integer_range(field: FieldSpec, target: Target) -> tuple[int, int]:
    if field.kind is FieldKind.INT:
        return -(1 << (field.bits - 1)), (1 << (field.bits - 1)) - 1
    if field.kind is FieldKind.REGISTER:
        return 0, target.registers - 1
    return 0, (1 << field.bits) - 1


@dataclass(frozen=True, slots=True)
class _OperandPlan:
    spec: OperandSpec
    memories: tuple[Memory, ...]
    dtypes: frozenset[int]
    """Codes of the accepted element types."""


@dataclass(frozen=True, slots=True)
class _Plan:
    operands: tuple[_OperandPlan, ...]
    fields: tuple[tuple[FieldSpec, FieldTest], ...]
    any_start: bool
    """Whether tiles may start at any partition (DMA and sequencer accesses)."""


def _plan(spec: InstructionSpec, target: Target) -> _Plan:
    operands = tuple(
        _OperandPlan(o, o.memories, frozenset(DTYPES[name].code for name in o.dtypes))
        for o in spec.operands
    )
    fields = tuple((field, _field_test(field, target)) for field in spec.fields)
    return _Plan(operands, fields, not spec.action.is_on_data_path)


class Verifier:
    """Checks instructions for one target. `violations` lists broken rules; `check` raises."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._plans: dict[int, _Plan] = {}
        self._starts = [
            frozenset(legal_starts(count, target)) for count in range(target.partitions + 1)
        ]
        self._limits = {
            Memory.SBUF: (target.sbuf_partition_bytes, target.max_free_elements_sbuf),
            Memory.PSUM: (target.psum_partition_bytes, target.max_free_elements_psum),
        }

    def check(self, instruction: Instruction, location: SourceLocation | None = None) -> None:
        """Raises VerifyError naming every broken rule as `(Cn) rule: found`."""
        found = self.violations(instruction)
        if found:
            raise VerifyError(
                "; ".join(f"({n}) {rule_text(instruction.spec, n)}: {what}" for n, what in found),
                op=f"{instruction.spec.mnemonic} on {instruction.engine.value}",
                location=location,
            )

    def violations(self, instruction: Instruction) -> list[Violation]:
        """All broken rules; an instruction's own rules are only tried when the common ones hold."""
        spec = instruction.spec
        plan = self._plans.get(spec.opcode)
        if plan is None:
            plan = self._plans[spec.opcode] = _plan(spec, self.target)
        found: list[Violation] = []
        if instruction.engine not in spec.engines:
            found.append(("C1", f"engine {instruction.engine.value}"))
        self._check_operands(instruction, plan, found)
        self._check_fields(instruction, plan, found)
        if instruction.waits or instruction.signal or instruction.wait_register != NO_REGISTER:
            self._check_synchronisation(instruction, found)
        if not found:
            for rule in spec.rules:
                what = rule.check(instruction, self.target)
                if what is not None:
                    found.append((rule.number, what))
        return found

    def _check_operands(
        self, instruction: Instruction, plan: _Plan, found: list[Violation]
    ) -> None:
        if len(instruction.operands) != len(plan.operands):
            found.append(("C2", f"{len(instruction.operands)} operands"))
            return
        for access, operand in zip(instruction.operands, plan.operands, strict=True):
            if access is None:
                if not operand.spec.optional:
                    found.append(("C2", f"{operand.spec.name} is missing"))
                continue
            self._check_kind(access, operand, instruction.engine, found)
            if access.register >= self.target.registers or access.register < -1:
                found.append(("C13", f"{operand.spec.name} uses register {access.register}"))
            if isinstance(access, TileAccess):
                self._check_tile(access, operand.spec.name, instruction.engine, plan, found)
            else:
                self._check_hbm(access, operand.spec.name, found)

    def _check_kind(
        self, access: Access, operand: _OperandPlan, engine: Engine, found: list[Violation]
    ) -> None:
        memory = access.memory
        if memory not in operand.memories:
            found.append(("C2", f"{operand.spec.name} is in {memory.value}"))
        if access.dtype.code not in operand.dtypes:
            found.append(("C3", f"{operand.spec.name} is {access.dtype.name}"))
        if memory is Memory.PSUM and engine is Engine.GPSIMD:
            found.append(("C10", f"{operand.spec.name} is in psum"))

    def _check_tile(
        self, access: TileAccess, name: str, engine: Engine, plan: _Plan, found: list[Violation]
    ) -> None:
        start, count = access.start_partition, access.num_partitions
        if (
            not 1 <= count <= self.target.partitions
            or start < 0
            or start + count > self.target.partitions
        ):
            found.append(("C4", f"{name} is partitions {start} to {start + count}"))
        elif start not in self._starts[count] and not plan.any_start:
            found.append(("C5", f"{name} has {count} partitions and starts at {start}"))
        self._check_pattern(access, name, engine, found)

    def _check_pattern(
        self, access: TileAccess, name: str, engine: Engine, found: list[Violation]
    ) -> None:
        if len(access.dims) > self.target.max_free_dims:
            found.append(("C6", f"{name} has {len(access.dims)} free dims"))
        low = high = 0
        elements = 1
        for stride, size in access.dims:
            if not (1 <= size <= 65535 and -32768 <= stride <= 32767):
                found.append(("C7", f"{name} has dim ({stride}, {size})"))
            elements *= size
            if stride >= 0:
                high += stride * (size - 1)
            else:
                low += stride * (size - 1)
        item = access.dtype.size_bytes
        offset = access.byte_offset
        if offset % item:
            found.append(("C8", f"{name} is {access.dtype.name} at byte {offset}"))
        limit, max_elements = self._limits[access.memory]
        if offset + low * item < 0 or offset + (high + 1) * item > limit or offset < 0:
            span = f"[{offset + low * item}, {offset + (high + 1) * item})"
            found.append(("C9", f"{name} touches bytes {span} of {limit}"))
        if elements > max_elements and engine in COMPUTE_ENGINES:
            found.append(("C11", f"{name} has {elements} elements per partition"))

    def _check_hbm(self, access: HbmAccess, name: str, found: list[Violation]) -> None:
        if len(access.dims) > 5:
            found.append(("C6", f"{name} has {len(access.dims)} dims"))
        for stride, size in access.dims:
            if not (1 <= size < 1 << 32 and -(1 << 31) <= stride < 1 << 31):
                found.append(("C7", f"{name} has dim ({stride}, {size})"))
        if access.address % access.dtype.size_bytes:
            found.append(("C8", f"{name} is {access.dtype.name} at address {access.address}"))
        low, high = access.byte_range()
        if low < 0 or high > self.target.hbm_bytes or access.address < 0:
            found.append(("C9", f"{name} touches addresses [{low}, {high})"))

    def _check_fields(self, instruction: Instruction, plan: _Plan, found: list[Violation]) -> None:
        if len(instruction.fields) != len(plan.fields):
            found.append(("C12", f"{len(instruction.fields)} fields"))
            return
        for value, (field, test) in zip(instruction.fields, plan.fields, strict=True):
            if not test(value):
                number = "C13" if field.kind is FieldKind.REGISTER else "C12"
                found.append((number, f"{field.name} = {value!r}"))

    def _check_synchronisation(self, instruction: Instruction, found: list[Violation]) -> None:
        target = self.target
        if len(instruction.waits) > target.max_attached_waits:
            found.append(("C14", f"{len(instruction.waits)} waits"))
        pairs = list(instruction.waits) + ([instruction.signal] if instruction.signal else [])
        for semaphore, value in pairs:
            if not 0 <= semaphore < target.semaphores or not 0 <= value <= target.semaphore_max:
                found.append(("C14", f"semaphore {semaphore}, value {value}"))
        if not NO_REGISTER <= instruction.wait_register < target.registers:
            found.append(("C13", f"wait_register = {instruction.wait_register}"))
        if instruction.signal and instruction.signal[1] < 1:
            found.append(("C14", f"signal adds {instruction.signal[1]}"))


def rule_text(spec: InstructionSpec, number: str) -> str:
    """The text of a common rule or of one of the instruction's own."""
    if number in COMMON_RULES:
        return COMMON_RULES[number]
    return next(rule.text for rule in spec.rules if rule.number == number)


_latest: list[Verifier] = []


def verify(
    instruction: Instruction, target: Target, location: SourceLocation | None = None
) -> None:
    """Raises VerifyError listing each broken rule (Cn). Keeps the tables of the latest target."""
    if not _latest or _latest[0].target is not target:
        _latest[:] = [Verifier(target)]
    _latest[0].check(instruction, location)
