"""Fast mode: other steps run while threads compute a large product.

A step that comes right before a block of matmuls and has no access in conflict with it may as well
run at the same time: an activation of one result beside the product of the next one. Only the main
thread runs such steps, as two threads with short numpy calls would wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from axonc.backends.executor.blocks.matmul_blocks import Block, PlanItem
from axonc.backends.executor.blocks.transposes import Transpose
from axonc.backends.executor.steps.prepared import Prepared, Region, region_of
from axonc.backends.isa.access_pattern import TileAccess
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.effects import accesses_read, accesses_written
from axonc.backends.targets.target import Engine

MIN_REGION_BYTES = 1 << 16
"""Steps are worth it if one of them writes a box of so many bytes: smaller ones are done sooner
than a thread has begun."""

ShortItem = int | Transpose
"""An item of a plan that is no block: the number of a step, or a transpose."""


@dataclass(frozen=True, slots=True)
class OverlappedBlock:
    """A block, and what the main thread runs while the block is computed."""

    block: Block
    steps: tuple[ShortItem, ...]
    """In the order of the program."""


def overlap(
    items: Sequence[PlanItem], steps: Sequence[Prepared]
) -> list[PlanItem | OverlappedBlock]:
    """The plan, with each block and what can run at the same time in one item."""
    result: list[PlanItem | OverlappedBlock] = []
    before: list[ShortItem] = []
    for item in items:
        if not isinstance(item, Block):
            before.append(item)
            continue
        count = sum(1 for _ in _independent(item, before, steps))
        independent = before[len(before) - count :]
        if count and _is_worth_it(independent, steps):
            dependent = before[: len(before) - count]
            result += [*dependent, OverlappedBlock(item, tuple(independent))]
        else:
            result += [*before, item]
        before = []
    return [*result, *before]


def _independent(
    block: Block, before: Sequence[ShortItem], steps: Sequence[Prepared]
) -> Iterator[ShortItem]:
    """The last ones of `before`, from the end, as long as they have no conflict with `block`."""
    for item in reversed(before):
        if isinstance(item, int) and _is_barrier(steps[item]):
            return
        if block.conflicts(*_accesses(item, steps)):
            return
        yield item


def _is_barrier(prepared: Prepared) -> bool:
    """Other cores take part, or it uses the state of the tensor engine."""
    return prepared.engine is Engine.TENSOR or is_collective(prepared.instruction)


def _accesses(item: ShortItem, steps: Sequence[Prepared]) -> tuple[list[Region], list[Region]]:
    """(read, written) boxes of on-chip memory."""
    if isinstance(item, Transpose):
        return [region_of(item.source)], [region_of(item.result)]
    made = steps[item].instruction
    read, written = accesses_read(made), accesses_written(made)
    return (
        [region_of(access) for access in read if isinstance(access, TileAccess)],
        [region_of(access) for access in written if isinstance(access, TileAccess)],
    )


def _is_worth_it(items: Sequence[ShortItem], steps: Sequence[Prepared]) -> bool:
    written = (region for item in items for region in _accesses(item, steps)[1])
    return any((r[2] - r[1]) * (r[4] - r[3]) >= MIN_REGION_BYTES for r in written)
