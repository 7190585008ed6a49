"""Instructions every engine's sequencer runs: semaphores, registers, branches.

Source: hardware.md 3.6 (semaphores), 1.2 and 3.5 (64 registers of 32 bits, register ALU, branches).
The set of register operators is assumed. Registers are private to an engine and hold 32 bits;
arithmetic wraps; `compare` is signed.
"""

from __future__ import annotations

from axonc.backends.isa.cost_terms import dispatch, tile
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.operand_kinds import (
    ALL_ENGINES,
    SBUF,
    WORD_DTYPES,
    enum,
    flag,
    read,
    register,
    sint,
    uint,
    write,
)
from axonc.backends.isa.rules import custom
from axonc.backends.isa.spec import (
    INSTRUCTIONS,
    Action,
    FieldSpec,
    InstructionSpec,
    OperandSpec,
    Rule,
)
from axonc.backends.targets.target import Target

BRANCH_COMPARES = ("always", "is_equal", "not_equal", "is_lt", "is_le", "is_gt", "is_ge")
REGISTER_OPS = (
    "add",
    "subtract",
    "multiply",
    "min",
    "max",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "logical_shift_left",
    "logical_shift_right",
)
"""Named as the ALU operators are; min, max and `compare` are signed."""

DISPATCH_TEXT = (
    "9 ns (EVENT_SEMAPHORE, hardware.md 6.0; other sequencer instructions assumed alike)"
)


def _semaphore_in_range(instruction: Instruction, target: Target) -> str | None:
    number = instruction.integer("semaphore")
    value = instruction.integer("value")
    if number >= target.semaphores:
        return f"semaphore {number} of {target.semaphores}"
    return None if value <= target.semaphore_max else f"value {value}"


def _single_word(name: str) -> Rule:
    def check(instruction: Instruction, target: Target) -> str | None:
        access = tile(instruction, name)
        single = access.num_partitions == 1 and access.elements_per_partition == 1
        return None if single else f"{name} is {list(access.shape)}"

    return custom("C20", f"{name} is one element", check)


def _entry(
    mnemonic: str,
    opcode: int,
    action: Action,
    summary: str,
    semantics: str,
    fields: tuple[FieldSpec, ...] = (),
    operands: tuple[OperandSpec, ...] = (),
    rules: tuple[Rule, ...] = (),
) -> None:
    INSTRUCTIONS.add(
        InstructionSpec(
            mnemonic=mnemonic,
            opcode=opcode,
            action=action,
            engines=ALL_ENGINES,
            operands=operands,
            fields=fields,
            cycles=dispatch,
            cycles_text=DISPATCH_TEXT,
            summary=summary,
            semantics=semantics,
            sources=("hardware.md 1.2", "hardware.md 3.5", "hardware.md 3.6"),
            rules=rules,
        )
    )


SEMAPHORE_FIELDS = (uint("semaphore", 16), uint("value", 32))
SEMAPHORE_RULES = (custom("C20", "semaphore number and value exist", _semaphore_in_range),)
SECOND_VALUE = (register("b"), sint("imm", 32), flag("use_imm", "use imm in place of register b"))

_entry(
    "semaphore_wait",
    0x60,
    Action.WAIT,
    "Wait for a semaphore.",
    "the engine issues nothing until S[semaphore] >= value",
    SEMAPHORE_FIELDS,
    rules=SEMAPHORE_RULES,
)
_entry(
    "semaphore_set",
    0x61,
    Action.SET_SEMAPHORE,
    "Set a semaphore.",
    "S[semaphore] = value",
    SEMAPHORE_FIELDS,
    rules=SEMAPHORE_RULES,
)
_entry(
    "semaphore_add",
    0x62,
    Action.ADD_SEMAPHORE,
    "Add to a semaphore.",
    "S[semaphore] += value",
    SEMAPHORE_FIELDS,
    rules=SEMAPHORE_RULES,
)
_entry(
    "register_move",
    0x63,
    Action.MOVE_REGISTER,
    "Load an immediate into a register.",
    "R[dst] = imm",
    (register("dst"), sint("imm", 32)),
)
_entry(
    "register_alu",
    0x64,
    Action.COMPUTE_REGISTER,
    "Arithmetic on registers.",
    "R[dst] = R[a] op (use_imm ? imm : R[b]), wrapping 32-bit; shifts are logical, by b modulo 32",
    (enum("op", REGISTER_OPS, "add"), register("dst"), register("a"), *SECOND_VALUE),
)
_entry(
    "register_load",
    0x65,
    Action.LOAD_REGISTER,
    "Read a register from SBUF.",
    "R[dst] = src[0, 0]",
    (register("dst"),),
    (read("src", SBUF, WORD_DTYPES),),
    (_single_word("src"),),
)
_entry(
    "register_store",
    0x66,
    Action.STORE_REGISTER,
    "Write a register to SBUF.",
    "dst[0, 0] = R[src]",
    (register("src"),),
    (write("dst", SBUF, WORD_DTYPES),),
    (_single_word("dst"),),
)
_entry(
    "branch",
    0x67,
    Action.BRANCH,
    "Continue elsewhere in this stream.",
    "if R[a] compare (use_imm ? imm : R[b]), or compare is always: the next instruction is number "
    "`target` of this stream, counted from 0; the number after the last one ends the stream",
    (enum("compare", BRANCH_COMPARES, "always"), register("a"), *SECOND_VALUE, uint("target", 32)),
)
_entry("halt", 0x68, Action.HALT, "End of the stream.", "the engine stops")
_entry("nop", 0x69, Action.NOTHING, "Do nothing.", "no effect but its waits and its signal")
