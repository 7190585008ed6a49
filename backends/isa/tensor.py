"""TensorE: a matrix multiplication is `load_stationary` followed by one or more `multiply_moving`.

Source of everything not marked otherwise: machine.md#tensor-engine (nki.isa.nc_matmul and its
profiler view). A transpose by the PE is the same two instructions with an identity matrix as the
moving tile.
"""

from __future__ import annotations

from axonc.backends.isa.cost_terms import MIN_INTERVAL, are_of, at_least_dynamic, elements, tile
from axonc.backends.isa.formula import Cost, Term, choose, field_is, largest, machine
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.operand_kinds import FLOAT_DTYPES, PSUM, SBUF, TENSOR, flag, read, write
from axonc.backends.isa.rules import custom, element_range, same_elements
from axonc.backends.isa.spec import Action, entry
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Target

PASSES = machine(lambda engine, target: target.fp32_matmul_passes)
SPEEDUP = machine(lambda engine, target: target.load_stationary_speedup)


def _passes(name: str) -> Term:
    """How often the array runs: f32 operands need several passes, tf32 and shorter ones one."""
    return choose(are_of((name,), F32), PASSES, 1)


def _one_bank(instruction: Instruction, target: Target) -> str | None:
    first, end = tile(instruction, "dst").byte_range()
    bank = target.psum_bank_bytes
    if first // bank == (end - 1) // bank:
        return None
    return f"dst bytes [{first}, {end}) cross a {bank}-byte bank"


def _dst_dtype(instruction: Instruction, target: Target) -> str | None:
    dtype = tile(instruction, "dst").dtype
    if dtype is F32 or instruction.flag("is_transpose"):
        return None
    return f"dst is {dtype.name}"


def _transpose_overwrites(instruction: Instruction, target: Target) -> str | None:
    both = instruction.flag("is_transpose") and instruction.flag("accumulate")
    return "accumulate and is_transpose are both set" if both else None


entry(
    mnemonic="load_stationary",
    opcode=0x01,
    action=Action.LOAD_STATIONARY,
    engines=TENSOR,
    operands=(
        read("stationary", SBUF, FLOAT_DTYPES, summary="[K, M], K on the partitions, M <= 128"),
    ),
    cost=Cost(
        at_least_dynamic(elements("stationary", "M") / SPEEDUP * _passes("stationary")),
        note="hidden behind the previous multiply_moving",
    ),
    summary="Load the stationary matrix into the systolic array.",
    semantics="PE[k, m] = stationary[k, m] for the following multiply_moving instructions",
    sources=("machine.md#tensor-engine", "nki.isa.nc_matmul"),
    rules=(element_range("C20", "stationary", 1, "pe_columns"),),
)

entry(
    mnemonic="multiply_moving",
    opcode=0x02,
    action=Action.MULTIPLY,
    engines=TENSOR,
    operands=(
        write("dst", PSUM, ("f32", "bf16", "f16"), summary="[M, N], within one PSUM bank"),
        read("moving", SBUF, FLOAT_DTYPES, summary="[K, N], same K partitions as stationary"),
    ),
    fields=(
        flag("accumulate", "add to what an earlier multiply_moving left in dst"),
        flag("is_transpose", "moving is an identity matrix; marks the instruction as a transpose"),
    ),
    reads_destination=field_is("accumulate", True),
    cost=Cost(
        at_least_dynamic(largest(MIN_INTERVAL, elements("moving")) * _passes("moving")),
    ),
    summary="Stream the moving matrix through the array: dst = stationary.T @ moving.",
    semantics="dst[m, n] = (accumulate ? dst[m, n] : 0) + sum_k stationary[k, m] * moving[k, "
    "n]; products and sums in f32; M and K are those of the last load_stationary (checked at "
    "run time); accumulating onto bytes that no matmul wrote is undefined on v2",
    sources=("machine.md#tensor-engine", "machine.md#arithmetic", "nki.isa.nc_matmul"),
    rules=(
        same_elements("C20", "dst", "moving"),
        element_range("C21", "moving", 1, "max_moving_columns"),
        custom("C22", "dst lies within one PSUM bank", _one_bank),
        custom("C23", "dst is f32, except with is_transpose", _dst_dtype),
        custom("C24", "a transpose does not accumulate", _transpose_overwrites),
    ),
)
