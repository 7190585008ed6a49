"""Fast mode: many LoadStationary / MultiplyMoving pairs as one matrix product.

A *row* is a sequence of pairs with one moving tile and stationary tiles that are neighbouring
columns; a *block* is a sequence of rows that accumulate into the same results, that is, a sum over
all of their partitions. A block is one product [sum of K, M] x [sum of K, N]. Several
MultiplyMoving that use one LoadStationary are a pair each.

The steps are a sequential program, and two reorderings of it are used:

1. A pair that does not wait for a semaphore runs right behind its predecessor in the tensor
   engine's stream: everything that must happen before it has happened before that.
2. A pair is put off until the last pair of its block has run, or until a step that conflicts with
   it: one that writes an operand of it in SBUF, or reads or writes a result. Two accesses in
   conflict are never exchanged. Operands that are copies of constant device memory are read there
   (`weight_copies`): no step writes them.

Every result element is the same sum over the same partitions as in single products, added in the
order that BLAS likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from axonc.backends.executor.blocks.tensor_steps import eager_tensor_order, find_groups, is_plain
from axonc.backends.executor.blocks.transposes import Transpose, is_unit_matrix
from axonc.backends.executor.blocks.weight_copies import WeightCopies
from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.steps.prepared import Prepared, Region, region_of, regions_overlap
from axonc.backends.isa.access_pattern import (
    Access,
    HbmAccess,
    TileAccess,
)
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.effects import accesses_read, accesses_written
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Engine

MAX_BLOCK_ELEMENTS = 1 << 22
"""Elements of an operand of one product (16 MiB as float32): more gains nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A LoadStationary with the MultiplyMoving that follows it; operands where they are read."""

    load: Prepared
    stationary: Access
    moving: Access
    result: TileAccess
    accumulate: bool
    reads: tuple[Region, ...]

    @property
    def width(self) -> int:
        """Columns of the stationary tile: partitions of the result."""
        return self.result.num_partitions


@dataclass(slots=True, eq=False)
class Block:
    """Rows of pairs, at first one pair."""

    rows: list[list[Pair]]
    reads: set[Region] = field(default_factory=set)
    """On-chip boxes that must not change before the block is run."""
    writes: set[Region] = field(default_factory=set)
    """On-chip boxes that no other step may touch before the block is run."""

    @classmethod
    def of(cls, pair: Pair) -> Block:
        block = cls([[]])
        block._append(pair)
        return block

    @classmethod
    def of_rows(cls, rows: list[list[Pair]]) -> Block:
        pairs = [pair for row in rows for pair in row]
        reads = {region for pair in pairs for region in pair.reads}
        return cls(rows, reads, {region_of(pair.result) for pair in pairs})

    @property
    def first(self) -> Pair:
        return self.rows[0][0]

    def add(self, pair: Pair) -> bool:
        """Take in the next pair of the tensor engine; False if it does not belong here."""
        if _extends_row(self.rows, pair):
            self._append(pair)
            return True
        if not _begins_row(self.rows, pair):
            return False
        self.rows.append([])
        self._append(pair)
        return True

    def _append(self, pair: Pair) -> None:
        self.rows[-1].append(pair)
        self.reads.update(pair.reads)
        self.writes.add(region_of(pair.result))

    def conflicts(self, reads: list[Region], writes: list[Region]) -> bool:
        """Whether a step that reads and writes these boxes must not run before the block."""
        return any(
            regions_overlap(mine, other)
            for mine_all, others in ((self.reads, writes), (self.writes, reads + writes))
            for other in others
            for mine in mine_all
        )

    def split(self) -> list[Block]:
        """The block with all rows equally long, and what is left of an incomplete last row."""
        rows = self.rows
        if len(rows) > 1 and len(rows[-1]) < len(rows[0]):
            return [Block.of_rows(rows[:-1]), Block.of_rows(rows[-1:])]
        return [self]


def _extends_row(rows: list[list[Pair]], pair: Pair) -> bool:
    """Whether `pair` is the next column tile of the last row."""
    row = rows[-1]
    last = row[-1]
    at = len(row)
    if len(rows) > 1 and (at >= len(rows[0]) or pair.result != rows[0][at].result):
        return False
    if at > 1 and _distance(last, pair) != _distance(row[0], row[1]):
        return False
    columns = last.width
    return (
        pair.moving == last.moving
        and pair.accumulate == last.accumulate
        and pair.stationary == _moved(last.stationary, columns)
        and pair.result == replace(last.result, byte_offset=pair.result.byte_offset)
        and _distance(last, pair) >= last.result.elements_per_partition * F32.size_bytes
        and (at + 1) * columns * len(rows) * last.stationary.shape[0] <= MAX_BLOCK_ELEMENTS
    )


def _begins_row(rows: list[list[Pair]], pair: Pair) -> bool:
    """Whether `pair` is the first of a new row of a block whose rows are complete."""
    first, last = rows[0], rows[-1]
    columns = max(len(first) * pair.width, pair.result.elements_per_partition)
    return (
        len(first) == len(last)
        and pair.accumulate
        and pair.result == first[0].result
        and _alike(pair.stationary, first[0].stationary)
        and _alike(pair.moving, first[0].moving)
        and (len(rows) + 1) * columns * pair.stationary.shape[0] <= MAX_BLOCK_ELEMENTS
    )


def _alike(a: Access, b: Access) -> bool:
    """Whether two operands differ only in their address (and perhaps their first partition)."""
    return type(a) is type(b) and a.dtype is b.dtype and a.dims == b.dims and a.shape == b.shape


def _distance(a: Pair, b: Pair) -> int:
    return b.result.byte_offset - a.result.byte_offset


def _moved(access: Access, columns: int) -> Access:
    """`access`, `columns` elements further on."""
    offset = columns * access.dtype.size_bytes
    if isinstance(access, HbmAccess):
        return replace(access, address=access.address + offset)
    return replace(access, byte_offset=access.byte_offset + offset)


PlanItem = int | Block | Transpose
"""The number of a step that runs as it is, or what runs instead of some."""


def plan_blocks(
    steps: Sequence[Prepared], memory: MemorySystem, *, is_whole: bool = True
) -> list[PlanItem]:
    """The steps with an effect in the order of fast mode, matmuls in blocks, copies that no step
    reads left out. is_whole: they are all of a run, not a part of it."""
    planner = _Planner(steps, WeightCopies(memory))
    planner.visit_all()
    unneeded = planner.copies.unneeded_steps(is_whole=is_whole)
    return [item for item in planner.items if not isinstance(item, int) or item not in unneeded]


class _Planner:
    """One pass over the steps, with one block that is put off."""

    def __init__(self, steps: Sequence[Prepared], copies: WeightCopies) -> None:
        self.steps = steps
        self.copies = copies
        self.items: list[PlanItem] = []
        self._open: Block | None = None
        self._groups = find_groups(steps)

    def visit_all(self) -> None:
        order = list(eager_tensor_order(self.steps))
        paired: set[int] = set()
        for position, step in enumerate(order):
            if step in paired or not self.steps[step].instruction.spec.touches_memory:
                continue
            multiplies = self._groups.get(step, [])
            pairs: list[Pair | Transpose | None] = [None]
            if multiplies and order[position + 1 : position + 1 + len(multiplies)] == multiplies:
                pairs = [self._pair(step, multiply) for multiply in multiplies]
            if None in pairs:
                self._visit_other(step)
                continue
            paired.update(multiplies)
            for pair in pairs:
                assert pair is not None
                self._visit_pair(pair)
        self._close()

    def _visit_pair(self, pair: Pair | Transpose) -> None:
        if isinstance(pair, Transpose):
            self._before([region_of(pair.source)], [region_of(pair.result)])
            self.items.append(pair)
        elif self._open is None or not self._open.add(pair):
            self._close()
            self._open = Block.of(pair)

    def _visit_other(self, step: int) -> None:
        prepared = self.steps[step]
        reads = _regions(accesses_read(prepared.instruction))
        writes = _regions(accesses_written(prepared.instruction))
        is_barrier = prepared.engine is Engine.TENSOR or is_collective(prepared.instruction)
        self._before(reads, writes, is_barrier)
        for access in accesses_written(prepared.instruction):
            if isinstance(access, TileAccess):
                self.copies.write(step, prepared.instruction, access)
        self.items.append(step)

    def _before(self, reads: list[Region], writes: list[Region], is_barrier: bool = False) -> None:
        """A step that reads and writes these boxes of on-chip memory is next."""
        if is_barrier or (self._open is not None and self._open.conflicts(reads, writes)):
            self._close()
        for region in reads:
            self.copies.read(region)

    def _close(self) -> None:
        if self._open is not None:
            self.items.extend(self._open.split())
            self._open = None

    def _pair(self, load: int, multiply: int) -> Pair | Transpose | None:
        """The two steps as a pair, operands traced; None if the general path has to do them."""
        first, second = self.steps[load].instruction, self.steps[multiply].instruction
        stationary = first.operand("stationary")
        moving, result = second.operand("moving"), second.operand("dst")
        if not is_plain(stationary, moving, result):
            return None
        assert isinstance(stationary, TileAccess)
        assert isinstance(moving, TileAccess) and isinstance(result, TileAccess)
        if second.flag("is_transpose"):
            unit = self.copies.source(moving)
            if unit is None or not is_unit_matrix(unit, self.copies.memory):
                self.copies.read(region_of(moving))
                return None
            return Transpose(self.steps[load], stationary, result)
        sources = [self.copies.source(tile) or tile for tile in (stationary, moving)]
        reads = tuple(region_of(s) for s in sources if isinstance(s, TileAccess))
        accumulate = second.flag("accumulate")
        return Pair(self.steps[load], sources[0], sources[1], result, accumulate, reads)


def _regions(accesses: list[Access]) -> list[Region]:
    return [region_of(access) for access in accesses if isinstance(access, TileAccess)]
