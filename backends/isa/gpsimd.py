"""GpSimdE: pattern generation, gathers and reductions across partitions. SBUF only.

Source: machine.md#gpsimd-engine. GpSimdE also runs tensor_tensor, tensor_scalar, tensor_copy and
memset (`vector.py`).
"""

from __future__ import annotations

from axonc.backends.isa.alu import ALU_OPS, AluKind
from axonc.backends.isa.cost_terms import (
    element_bytes,
    elements,
    field_value,
    per_element,
    streamed,
    tile,
)
from axonc.backends.isa.formula import Cost, Term, smallest
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.operand_kinds import GPSIMD, SBUF, enum, read, real, sint, uint, write
from axonc.backends.isa.rules import (
    custom,
    same_dtype,
    same_elements,
    same_partitions,
    unused_steps_are_zero,
)
from axonc.backends.isa.spec import Reach, entry
from axonc.backends.targets.target import Target

PARTITIONS_PER_CORE = 16
"""Each of the eight GpSimd processors owns 16 SBUF partitions (machine.md#engines)."""

MAX_INDICES_PER_CORE = 4096  # machine.md#gpsimd-engine
GATHER_RUNS = (1, 2, 4, 8, 16, 32)
COMPARES = tuple(op.name for op in ALU_OPS if op.kind is AluKind.COMPARE)
PARTITION_REDUCTIONS = ("add", "average", "max", "bitwise_or", "bitwise_and")
AFFINE_FIELDS = (
    sint("offset"),
    sint("channel_multiplier", summary="times the partition, counted from the tile's start"),
    *(sint(f"step{i}", summary=f"times the index along free dim {i} of dst") for i in range(4)),
)


def _local_gather_cycles() -> Term:
    """The published formula divides by the factor of run lengths, which cannot be meant."""
    indices = PARTITIONS_PER_CORE * elements("indices")
    run, size = field_value("elements_per_index", "e"), element_bytes("src", "s")
    per_element = (28 + 4 * run) / (4 * run) / smallest(4 / size, run)
    return streamed(indices * run * per_element)


def _whole_cores(instruction: Instruction, target: Target) -> str | None:
    count = tile(instruction, "src").num_partitions
    return f"{count} partitions" if count % PARTITIONS_PER_CORE else None


def _gathered_count(instruction: Instruction, target: Target) -> str | None:
    run = instruction.integer("elements_per_index")
    wanted = PARTITIONS_PER_CORE * tile(instruction, "indices").elements_per_partition * run
    found = tile(instruction, "dst").elements_per_partition
    return None if found == wanted else f"dst has {found} elements per partition, not {wanted}"


def _run_length(instruction: Instruction, target: Target) -> str | None:
    run = instruction.integer("elements_per_index")
    return None if run in GATHER_RUNS else f"elements_per_index is {run}"


def _index_count(instruction: Instruction, target: Target) -> str | None:
    count = PARTITIONS_PER_CORE * tile(instruction, "indices").elements_per_partition
    return f"{count} indices per core" if count > MAX_INDICES_PER_CORE else None


def _bitwise_integers(instruction: Instruction, target: Target) -> str | None:
    op = instruction.text("op")
    floats = tile(instruction, "src").dtype.is_float or tile(instruction, "dst").dtype.is_float
    return f"{op} of a float tile" if op.startswith("bitwise") and floats else None


def _one_partition(instruction: Instruction, target: Target) -> str | None:
    count = tile(instruction, "dst").num_partitions
    return None if count == 1 else f"dst has {count} partitions"


entry(
    mnemonic="iota",
    opcode=0x40,
    reach=Reach.SAME_PLACE,
    engines=GPSIMD,
    operands=(write("dst", SBUF),),
    fields=AFFINE_FIELDS,
    cost=Cost(per_element("dst")),
    summary="An affine function of partition and free indices.",
    semantics="dst[p, i0, ...] = offset + p * channel_multiplier + sum_d i_d * step<d>, in "
    "wrapping int32, then cast to dst's type",
    sources=("machine.md#gpsimd-engine", "nki.isa.iota"),
    rules=(unused_steps_are_zero("C20"),),
)

entry(
    mnemonic="affine_select",
    opcode=0x41,
    engines=GPSIMD,
    operands=(write("dst", SBUF), read("src", SBUF)),
    fields=(*AFFINE_FIELDS, enum("compare", COMPARES, "is_equal"), real("imm")),
    cost=Cost(per_element("dst")),
    summary="Keep the elements where an affine function compares with 0; others become imm.",
    semantics="dst[p, i0, ...] = (offset + p * channel_multiplier + sum_d i_d * step<d>) "
    "compare 0 ? src : imm; unequal types go through f32",
    sources=("machine.md#gpsimd-engine", "nki.isa.affine_select"),
    rules=(
        unused_steps_are_zero("C20"),
        same_partitions("C21", "dst", "src"),
        same_elements("C22", "dst", "src"),
    ),
)

entry(
    mnemonic="local_gather",
    opcode=0x42,
    engines=GPSIMD,
    operands=(write("dst", SBUF), read("src", SBUF), read("indices", SBUF, ("u16",))),
    fields=(uint("elements_per_index", 6, 1, "1, 2, 4, 8, 16 or 32"),),
    cost=Cost(_local_gather_cycles()),
    summary="Gather along the free axis, with indices shared by each group of 16 partitions.",
    semantics="per group of 16 partitions, index j is indices[j % 16, j // 16], an element "
    "offset; dst[p, j * e + k] = src[p, index j + k]; bits kept; out of range is undefined",
    sources=("machine.md#gpsimd-engine", "nki.isa.local_gather"),
    rules=(
        same_partitions("C20", "dst", "src", "indices"),
        custom("C21", "partitions are a multiple of 16", _whole_cores),
        same_dtype("C22", "dst", "src"),
        custom("C23", "elements_per_index is 1, 2, 4, 8, 16 or 32", _run_length),
        custom("C24", "at most 4096 indices per group of 16 partitions", _index_count),
        custom(
            "C25",
            "dst has 16 * indices per partition * elements_per_index elements",
            _gathered_count,
        ),
    ),
)

entry(
    mnemonic="partition_reduce",
    opcode=0x43,
    engines=GPSIMD,
    operands=(write("dst", SBUF, summary="[1, F]"), read("src", SBUF)),
    fields=(enum("op", PARTITION_REDUCTIONS, "add"),),
    cost=Cost(per_element("src"), note="assumed"),
    summary="Reduce across the partitions.",
    semantics="dst[0, f] = op over p of src[p, f]; average is the sum divided by the "
    "partitions; f32, bitwise on the bits, exact int32 with i32/u32 tiles",
    sources=("machine.md#gpsimd-engine", "nki.isa.tensor_partition_reduce"),
    rules=(
        custom("C20", "dst has one partition", _one_partition),
        same_elements("C21", "dst", "src"),
        custom("C22", "bitwise operators take integer operands", _bitwise_integers),
    ),
)
