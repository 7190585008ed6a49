"""ScalarE: activation functions, and the loads of their tables.

Source: machine.md#scalar-engine (nki.isa.activation). ScalarE computes in f32; on this generation
even its copy goes through f32, so 32-bit integers above 2^24 do not survive.
"""

from __future__ import annotations

from axonc.backends.isa.activation_functions import ACTIVATION_BY_NAME, TABLE_SETS
from axonc.backends.isa.cost_terms import per_element
from axonc.backends.isa.formula import Cost, Unit, choose, is_present, machine
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.operand_kinds import F32_ONLY, SCALAR, enum, read, real, scalar_tile, write
from axonc.backends.isa.rules import custom, element_count_is, same_elements, same_partitions
from axonc.backends.isa.spec import Action, Reach, entry
from axonc.backends.targets.target import Target

ACCUMULATE_CYCLES = machine(lambda engine, target: target.activation_accumulate_cycles)


def _reciprocal_has_no_bias(instruction: Instruction, target: Target) -> str | None:
    has_bias = instruction.operand("bias") is not None
    return "bias is present" if has_bias and instruction.text("func") == "reciprocal" else None


entry(
    mnemonic="activation",
    opcode=0x30,
    reach=Reach.SAME_PLACE,
    engines=SCALAR,
    operands=(
        write(),
        read("src"),
        scalar_tile("bias", summary="[P, 1], added after scaling; absent: 0"),
        scalar_tile("scale_tile", summary="[P, 1], replaces scale"),
        write("accumulate", dtypes=F32_ONLY, optional=True, summary="[P, 1], sum of the results"),
    ),
    fields=(
        enum("func", tuple(ACTIVATION_BY_NAME), "copy", "table: activation_functions.py"),
        real("scale", 1.0),
    ),
    cost=Cost(per_element("src") + choose(is_present("accumulate"), ACCUMULATE_CYCLES, 0)),
    summary="A function of a scaled and shifted tile, and optionally the sum of the results.",
    semantics="dst = func(src * scale + bias) in f32; accumulate[p] = sum over the free axes "
    "of the f32 results (before the cast to dst); outside a function's valid range the "
    "result is garbage",
    sources=("machine.md#scalar-engine", "nki.isa.activation", "nki.isa.activation_reduce"),
    rules=(
        same_partitions("C20", "dst", "src", "bias", "scale_tile", "accumulate"),
        same_elements("C21", "dst", "src"),
        element_count_is("C22", 1, "bias", "scale_tile", "accumulate"),
        custom("C23", "reciprocal takes no bias", _reciprocal_has_no_bias),
    ),
)

entry(
    mnemonic="act_table_load",
    opcode=0x31,
    action=Action.LOAD_TABLE,
    engines=SCALAR,
    fields=(enum("table", TABLE_SETS, TABLE_SETS[0]),),
    cost=Cost(machine(lambda engine, target: target.act_table_load_ns), Unit.NANOSECONDS),
    summary="Load a set of activation functions.",
    semantics="later activations may use the functions of `table` (and those in every set); "
    "the set loaded before is gone",
    sources=(
        "machine.md#scalar-engine",
        "work-with-neff-files.rst (set names)",
        "assumed: members of a set",
    ),
)
