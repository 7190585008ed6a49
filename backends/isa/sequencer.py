"""What a sequencer does by itself: registers, branches, semaphores.

Registers hold 32 bits and are read as signed; arithmetic wraps (backends/isa/sync.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field

from axonc.backends.isa.instruction import Instruction
from axonc.backends.targets.target import Engine

WORD = 1 << 32
SIGN = 1 << 31
SHIFT_MASK = 31


def wrap(value: int) -> int:
    """`value` modulo 2^32, as a signed number."""
    return (value + SIGN) % WORD - SIGN


REGISTER_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "min": min,
    "max": max,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "logical_shift_left": lambda a, b: a << (b & SHIFT_MASK),
    "logical_shift_right": lambda a, b: (a % WORD) >> (b & SHIFT_MASK),
}
"""Two signed numbers -> a number that is then wrapped."""

COMPARE_FUNCTIONS: dict[str, Callable[[int, int], bool]] = {
    "always": lambda a, b: True,
    "is_equal": operator.eq,
    "not_equal": operator.ne,
    "is_lt": operator.lt,
    "is_le": operator.le,
    "is_gt": operator.gt,
    "is_ge": operator.ge,
}


def semaphore_and_value(instruction: Instruction) -> tuple[int, int]:
    """What a semaphore_wait, semaphore_set or semaphore_add names."""
    return instruction.integer("semaphore"), instruction.integer("value")


@dataclass(slots=True)
class Registers:
    """The registers of one engine."""

    engine: Engine
    count: int
    values: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.values = [0] * self.count

    def second_value(self, instruction: Instruction) -> int:
        if instruction.flag("use_imm"):
            return instruction.integer("imm")
        return self.values[instruction.integer("b")]

    def execute_alu(self, instruction: Instruction) -> None:
        function = REGISTER_FUNCTIONS[instruction.text("op")]
        first = self.values[instruction.integer("a")]
        self._assign(instruction, function(first, self.second_value(instruction)))

    def execute_move(self, instruction: Instruction) -> None:
        self._assign(instruction, instruction.integer("imm"))

    def is_taken(self, instruction: Instruction) -> bool:
        """Whether a branch goes to its target."""
        compare = COMPARE_FUNCTIONS[instruction.text("compare")]
        first = self.values[instruction.integer("a")]
        return compare(first, self.second_value(instruction))

    def load(self, instruction: Instruction, value: int) -> None:
        self._assign(instruction, value)

    def stored(self, instruction: Instruction) -> int:
        return self.values[instruction.integer("src")]

    def _assign(self, instruction: Instruction, value: int) -> None:
        self.values[instruction.integer("dst")] = wrap(value)
