"""Instructions every engine's sequencer runs: semaphores, registers, branches.

Source: machine.md#synchronisation (semaphores), machine.md#sequencers (64 registers of 32 bits,
register ALU, branches). The set of register operators is assumed. Registers are private to an
engine and hold 32 bits; arithmetic wraps; `compare` is signed.
"""

from __future__ import annotations

from functools import partial

from axonc.backends.isa.cost_terms import DISPATCH, tile
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
from axonc.backends.isa.spec import Action, Rule, entry
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


SEMAPHORE_FIELDS = (uint("semaphore", 16), uint("value", 32))
SEMAPHORE_RULES = (custom("C20", "semaphore number and value exist", _semaphore_in_range),)
SECOND_VALUE = (register("b"), sint("imm", 32), flag("use_imm", "use imm in place of register b"))

_sequencer = partial(
    entry,
    engines=ALL_ENGINES,
    cost=DISPATCH,
    sources=("machine.md#sequencers", "machine.md#synchronisation"),
)

_sequencer(
    mnemonic="semaphore_wait",
    opcode=0x60,
    action=Action.WAIT,
    fields=SEMAPHORE_FIELDS,
    summary="Wait for a semaphore.",
    semantics="the engine issues nothing until S[semaphore] >= value",
    rules=SEMAPHORE_RULES,
)

_sequencer(
    mnemonic="semaphore_set",
    opcode=0x61,
    action=Action.SET_SEMAPHORE,
    fields=SEMAPHORE_FIELDS,
    summary="Set a semaphore.",
    semantics="S[semaphore] = value",
    rules=SEMAPHORE_RULES,
)

_sequencer(
    mnemonic="semaphore_add",
    opcode=0x62,
    action=Action.ADD_SEMAPHORE,
    fields=SEMAPHORE_FIELDS,
    summary="Add to a semaphore.",
    semantics="S[semaphore] += value",
    rules=SEMAPHORE_RULES,
)

_sequencer(
    mnemonic="register_move",
    opcode=0x63,
    action=Action.MOVE_REGISTER,
    fields=(register("dst"), sint("imm", 32)),
    summary="Load an immediate into a register.",
    semantics="R[dst] = imm",
)

_sequencer(
    mnemonic="register_alu",
    opcode=0x64,
    action=Action.COMPUTE_REGISTER,
    fields=(enum("op", REGISTER_OPS, "add"), register("dst"), register("a"), *SECOND_VALUE),
    summary="Arithmetic on registers.",
    semantics="R[dst] = R[a] op (use_imm ? imm : R[b]), wrapping 32-bit; shifts are logical, by b "
    "modulo 32",
)

_sequencer(
    mnemonic="register_load",
    opcode=0x65,
    action=Action.LOAD_REGISTER,
    operands=(read("src", SBUF, WORD_DTYPES),),
    fields=(register("dst"),),
    summary="Read a register from SBUF.",
    semantics="R[dst] = src[0, 0]",
    rules=(_single_word("src"),),
)

_sequencer(
    mnemonic="register_store",
    opcode=0x66,
    action=Action.STORE_REGISTER,
    operands=(write("dst", SBUF, WORD_DTYPES),),
    fields=(register("src"),),
    summary="Write a register to SBUF.",
    semantics="dst[0, 0] = R[src]",
    rules=(_single_word("dst"),),
)

_sequencer(
    mnemonic="branch",
    opcode=0x67,
    action=Action.BRANCH,
    fields=(
        enum("compare", BRANCH_COMPARES, "always"),
        register("a"),
        *SECOND_VALUE,
        uint("target", 32),
    ),
    summary="Continue elsewhere in this stream.",
    semantics="if R[a] compare (use_imm ? imm : R[b]), or compare is always: the next instruction "
    "is number `target` of this stream, counted from 0; the number after the last one ends the "
    "stream",
)

_sequencer(
    mnemonic="halt",
    opcode=0x68,
    action=Action.HALT,
    summary="End of the stream.",
    semantics="the engine stops",
)

_sequencer(
    mnemonic="nop",
    opcode=0x69,
    action=Action.NOTHING,
    summary="Do nothing.",
    semantics="no effect but its waits and its signal",
)
