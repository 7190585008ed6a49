"""Checked mode: the laws that are tried at every instruction, around its effect.

Laws about single instructions (rules, ports) and about order (races) are in `program_checks` and
`races`; they need no data.
"""

from __future__ import annotations

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

Reads = list[tuple[str, Access]]


class Checker:
    """Runs closures under the laws of checked mode; `reset` before each run."""

    def __init__(self, memory: MemorySystem) -> None:
        self.memory = memory
        self.shadow = Shadow(memory)
        self._reported: list[str] = []

    def reset(self) -> None:
        """Memory nobody wrote holds poison; nothing has been written."""
        self.shadow.reset()
        self._reported.clear()
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
        for name, access in operands_read(instruction):
            if indirect is not None and name == indirect.table_name:
                indirect.check_read(self.shadow)
            else:
                self.shadow.check_read(name, access)
        if prepared.action is Action.MULTIPLY and reads_destination(instruction):
            destination = instruction.operand("dst")
            assert isinstance(destination, TileAccess)
            self.shadow.check_accumulates(destination)
        closure()
        if self._reported:
            sentence = self._reported[0]
            self._reported.clear()
            raise Violation(FindingKind.ACTIVATION_RANGE, sentence)
        self._mark(prepared, indirect)

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
