"""Checked mode: the laws that are tried at every instruction, around its effect.

Laws about single instructions (rules, ports) and about order (races) are in `program_checks` and
`races`; they need no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from axonc.backends.executor.effects.bindings import Closure, present_operands
from axonc.backends.executor.laws.shadow import Shadow
from axonc.backends.executor.memory.memory import POISON, MemorySystem
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.isa.access_pattern import Access, HbmAccess, TileAccess
from axonc.backends.isa.effects import reads_destination
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Action, Role
from axonc.backends.program import HbmTensor
from axonc.backends.targets.target import Engine
from axonc.diagnostics import SourceLocation

Reads = list[tuple[str, Access]]


@dataclass(frozen=True)
class CheckReport:
    """What a run in checked mode has looked at."""

    instructions: int = 0
    """How many were executed."""
    accesses: int = 0
    """Accesses of operands to memory, each tried against the laws."""
    findings: tuple[str, ...] = ()
    """A sentence each, for what is defined but hardly meant; a broken law is an error instead."""

    def __add__(self, other: CheckReport) -> CheckReport:
        """The report of two cores; a finding of both counts once."""
        return CheckReport(
            self.instructions + other.instructions,
            self.accesses + other.accesses,
            tuple(dict.fromkeys(self.findings + other.findings)),
        )

    def __str__(self) -> str:
        count = len(self.findings)
        found = f"{count} finding{'s' * (count > 1)}" if count else "nothing found"
        return f"{found} in {self.instructions:,} instructions and {self.accesses:,} accesses"


class Checker:
    """Runs closures under the laws of checked mode; `reset` before each run. locations: the table
    of the program."""

    def __init__(self, memory: MemorySystem, locations: Sequence[SourceLocation] = ()) -> None:
        self.memory = memory
        self.shadow = Shadow(memory)
        self._locations = locations
        self._reported: list[str] = []
        self._instructions = self._accesses = 0
        self._outside: dict[str, str] = {}

    @property
    def report_of_run(self) -> CheckReport:
        """Since the last reset."""
        found = tuple(self._outside.values())
        return CheckReport(self._instructions, self._accesses, found)

    def reset(self) -> None:
        """As before the first instruction: no byte counts as written, all hold poison."""
        self.shadow.reset()
        self._reported.clear()
        self._outside.clear()
        self._instructions = self._accesses = 0
        for array in self.memory.on_chip.values():
            array.fill(POISON)
        for segment in self.memory.segments:
            if self.shadow.segment_written(segment) is not None and segment.data is not None:
                segment.data.fill(POISON)

    def report(self, sentence: str) -> None:
        """Semantics found that an input makes the result garbage."""
        self._reported.append(sentence)

    def run(self, prepared: Prepared, closure: Closure) -> None:
        """Raises: Violation. The effect has not happened if a read breaks a law."""
        instruction = prepared.instruction
        indirect = IndirectRows.of(instruction, self.memory)
        self._instructions += 1
        self._accesses += sum(1 for _ in present_operands(instruction))
        for name, access in operands_read(instruction):
            if indirect is not None and name == indirect.table_name:
                indirect.check_read(self.shadow)
            else:
                self.shadow.check_read(name, access)
        if prepared.action is Action.MULTIPLY and reads_destination(instruction):
            destination = instruction.operand("dst")
            assert isinstance(destination, TileAccess)
            self.shadow.check_accumulates(destination)
        self._note_outside(instruction)
        closure()
        if self._reported:
            sentence = self._reported[0]
            self._reported.clear()
            raise Violation(FindingKind.ACTIVATION_RANGE, sentence)
        self._mark(prepared, indirect)

    def _note_outside(self, instruction: Instruction) -> None:
        """An index of a lookup that is about to be limited to the table; the first of each place is
        told."""
        where = self._locations[instruction.location] if self._locations else SourceLocation()
        if not where.is_lookup or str(where) in self._outside:
            return
        low, high = index_limits(instruction)
        if (low, high) == (-np.inf, np.inf):
            return
        source = instruction.operand("src")
        assert source is not None
        numbers = self.memory.view(source)
        wrong = numbers[(numbers < low) | (numbers > high)]
        if wrong.size:
            named = f" ({where.name})" if where.name and where.file else ""
            places = f" (0 to {int(high)})" if np.isfinite(high) else ""
            self._outside[str(where)] = (
                f"{where}{named}: index {int(wrong[0])} lies outside of its table{places}; the "
                "nearest row is taken, as XLA does"
            )

    def _mark(self, prepared: Prepared, indirect: IndirectRows | None) -> None:
        by_tensor_engine = prepared.engine is Engine.TENSOR
        for name, role, access in present_operands(prepared.instruction):
            if role is Role.READ:
                continue
            if indirect is not None and name == indirect.table_name:
                indirect.mark_written(self.shadow)
            elif indirect is None or not indirect.skips:
                self.shadow.mark_written(access, by_tensor_engine)
            else:
                indirect.mark_rows(self.shadow, access)

    def check_output(self, tensor: HbmTensor) -> None:
        self.shadow.check_output(tensor)


def index_limits(instruction: Instruction) -> tuple[float, float]:
    """(lowest, highest) of an instruction that limits integers: both at once, or one of them, which
    is how a lookup keeps its indices inside of the table; else without limits."""
    none = (-np.inf, np.inf)
    if instruction.spec.mnemonic != "tensor_scalar":
        return none
    source = instruction.operand("src")
    if source is None or source.dtype.is_float:
        return none
    if any(instruction.operand("scalar" + n) is not None for n in "01"):
        return none
    steps = [(instruction.field("op" + n), float(str(instruction.field("imm" + n)))) for n in "01"]
    used = dict(step for step in steps if step[0] != "bypass")
    if not used.keys() <= {"max", "min"}:
        return none
    return used.get("max", none[0]), used.get("min", none[1])


def operands_read(instruction: Instruction) -> Reads:
    """(name, access) of the operands whose bytes the instruction reads."""
    also_dst = reads_destination(instruction)
    return [
        (name, access)
        for name, role, access in present_operands(instruction)
        if role is Role.READ or (also_dst and name == "dst")
    ]


class IndirectRows:
    """The table rows that an indirect transfer touches, by the present values of its index."""

    def __init__(self, table_name: str, table: HbmAccess, numbers: np.ndarray, skips: bool) -> None:
        self.table_name = table_name
        self.table = table
        self.skips = skips
        self.valid = (numbers >= 0) & (numbers < table.shape[0])
        self.numbers = numbers[self.valid]

    @staticmethod
    def of(instruction: Instruction, memory: MemorySystem) -> IndirectRows | None:
        """None for anything but a gather or scatter."""
        if "indirect" not in instruction.spec.field_index:
            return None
        mode = instruction.text("indirect")
        if mode == "none":
            return None
        name = "src" if mode == "gather" else "dst"
        table, index = instruction.operand(name), instruction.operand("index")
        assert isinstance(table, HbmAccess) and index is not None
        numbers = memory.view(index).reshape(-1).astype(np.int64)
        return IndirectRows(name, table, numbers, instruction.text("oob") == "skip")

    def _row(self, number: int) -> HbmAccess:
        stride = self.table.dims[0][0] * self.table.dtype.size_bytes
        return HbmAccess(
            self.table.dtype, self.table.address + int(number) * stride, self.table.dims[1:]
        )

    def check_read(self, shadow: Shadow) -> None:
        if shadow.view(self.table) is None:
            return
        for number in self.numbers:
            shadow.check_read(f"{self.table_name} row {number}", self._row(number))

    def mark_written(self, shadow: Shadow) -> None:
        for number in self.numbers:
            shadow.mark_written(self._row(number), False)

    def mark_rows(self, shadow: Shadow, rows: Access) -> None:
        """Mark the destination rows of a gather that were not skipped."""
        view = shadow.view(rows)
        if view is not None:
            view[self.valid] = True
