"""DMA: `dma_copy`, triggered from any engine's stream, run by the DMA engines.

Source: machine.md#dma and machine.md#operators (nki.isa.dma_copy). The trigger only starts the
transfer; the signal of the instruction is posted when the transfer is complete.

Shapes. A tile's shape is (partitions, *free sizes), a device-memory access's is its sizes. Both
sides visit their elements in row-major order of their own dims; the counts must be equal. With
`indirect`, dims[0] of the device-memory side is the row dimension of a table: its size is the
number of rows (the bound of an index), its stride the distance between rows, and the tile has one
row per partition.
"""

from __future__ import annotations

import math

from axonc.backends.isa.access_pattern import Access, HbmAccess, TileAccess
from axonc.backends.isa.cost_terms import dma_trigger
from axonc.backends.isa.formula import field_is_not
from axonc.backends.isa.instruction import FieldValues, Instruction
from axonc.backends.isa.operand_kinds import (
    ALL_ENGINES,
    DMA_REACHABLE,
    SBUF,
    WORD_DTYPES,
    enum,
    read,
    uint,
    write,
)
from axonc.backends.isa.rules import custom, total_elements
from axonc.backends.isa.spec import Action, Reach, entry
from axonc.backends.targets.target import Target

DMA_OPS = ("copy", "add", "max", "min")
INDIRECT_MODES = ("none", "gather", "scatter")


def is_transfer(instruction: FieldValues) -> bool:
    """Whether the instruction triggers a transfer of the DMA engines."""
    return instruction.spec.action is Action.TRANSFER


def indirect_sides(instruction: Instruction) -> tuple[Access | None, Access | None]:
    """(table, rows): the device-memory side that is indexed, and the other one."""
    dst, src = instruction.operand("dst"), instruction.operand("src")
    return (src, dst) if instruction.text("indirect") == "gather" else (dst, src)


def _equal_counts(instruction: Instruction, target: Target) -> str | None:
    if instruction.text("indirect") != "none":
        return None
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    if total_elements(dst) == total_elements(src):
        return None
    return f"dst is {list(dst.shape)}, src is {list(src.shape)}"


def _index_presence(instruction: Instruction, target: Target) -> str | None:
    mode, index = instruction.text("indirect"), instruction.operand("index")
    if (mode == "none") == (index is None):
        return None
    return f"indirect = {mode} {'without' if index is None else 'with'} index"


def _table_shape(instruction: Instruction, target: Target) -> str | None:
    if instruction.text("indirect") == "none":
        return None
    table, rows = indirect_sides(instruction)
    if not isinstance(table, HbmAccess) or not isinstance(rows, TileAccess) or not table.dims:
        return "the table must be in device memory with a row dim, the rows in SBUF"
    wanted = math.prod(table.shape[1:])
    if rows.elements_per_partition == wanted:
        return None
    return f"a table row has {wanted} elements, a partition {rows.elements_per_partition}"


def _one_index_per_row(instruction: Instruction, target: Target) -> str | None:
    index = instruction.operand("index")
    if index is None or instruction.text("indirect") == "none":
        return None
    _, rows = indirect_sides(instruction)
    assert isinstance(index, TileAccess) and rows is not None
    if index.elements_per_partition == 1 and index.num_partitions == rows.shape[0]:
        return None
    return f"index is {list(index.shape)}, rows are {list(rows.shape)}"


def _queue(instruction: Instruction, target: Target) -> str | None:
    queue = instruction.integer("queue")
    return None if queue < target.dma.queues else f"queue is {queue}"


def _posts_by_sixteens(instruction: Instruction, target: Target) -> str | None:
    step = target.dma.semaphore_increment
    if instruction.signal is None or instruction.signal[1] == step:
        return None
    return f"increment is {instruction.signal[1]}"


entry(
    mnemonic="dma_copy",
    opcode=0x50,
    reach=Reach.SAME_PLACE,
    action=Action.TRANSFER,
    engines=ALL_ENGINES,
    operands=(
        write("dst", DMA_REACHABLE),
        read("src", DMA_REACHABLE),
        read("index", SBUF, WORD_DTYPES, True, "[P, 1], one row of the table per partition"),
    ),
    fields=(
        uint("queue", 4, 0, "descriptor ring"),
        enum("op", DMA_OPS, "copy"),
        enum("oob", ("error", "skip"), "error", "what an index outside the table does"),
        enum("indirect", INDIRECT_MODES, "none"),
    ),
    reads_destination=field_is_not("op", "copy"),
    cost=dma_trigger(
        "of the triggering sequencer, assumed; the transfer: about 1.3 us plus bytes / bandwidth "
        "on the DMA engines"
    ),
    summary="Copy between device memory and SBUF in any combination, casting if the types differ.",
    semantics="dst = src, or dst = dst op src in f32; equal types keep every bit, others go "
    "through f32; gather: dst[p] = src[index[p]]; scatter: dst[index[p]] = src[p]; oob skip "
    "leaves the row as it was",
    sources=("machine.md#dma", "machine.md#operators", "nki.isa.dma_copy"),
    rules=(
        custom("C20", "dst and src have the same number of elements", _equal_counts),
        custom("C21", "index is present if and only if indirect is not none", _index_presence),
        custom("C22", "gather reads, scatter writes a table in device memory", _table_shape),
        custom("C23", "index is [P, 1] with one entry per row of the tile", _one_index_per_row),
        custom("C24", "queue is below the number of queues", _queue),
        custom("C25", "the signal of a transfer adds 16", _posts_by_sixteens),
    ),
)
