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

Light = int | Transpose


@dataclass(frozen=True, slots=True)
class Beside:
    """`steps`, in this order, while `block` is computed."""

    block: Block
    steps: tuple[Light, ...]


def overlap(items: Sequence[PlanItem], steps: Sequence[Prepared]) -> list[PlanItem | Beside]:
    """The plan, with blocks and what can run beside them in one."""
    result: list[PlanItem | Beside] = []
    light: list[Light] = []
    for item in items:
        if not isinstance(item, Block):
            light.append(item)
            continue
        count = sum(1 for _ in _independent(item, light, steps))
        beside = light[len(light) - count :]
        if count and _is_worth_it(beside, steps):
            result += [*light[: len(light) - count], Beside(item, tuple(beside))]
        else:
            result += [*light, item]
        light = []
    return [*result, *light]


def _independent(
    block: Block, light: Sequence[Light], steps: Sequence[Prepared]
) -> Iterator[Light]:
    """The last ones of `light`, from the end, as long as they have no conflict with `block`."""
    for item in reversed(light):
        if isinstance(item, int) and _is_barrier(steps[item]):
            return
        if block.conflicts(*_accesses(item, steps)):
            return
        yield item


def _is_barrier(prepared: Prepared) -> bool:
    """Other cores take part, or it uses the state of the tensor engine."""
    return prepared.engine is Engine.TENSOR or is_collective(prepared.instruction)


def _accesses(item: Light, steps: Sequence[Prepared]) -> tuple[list[Region], list[Region]]:
    """(read, written) boxes of on-chip memory."""
    if isinstance(item, Transpose):
        return [region_of(item.source)], [region_of(item.result)]
    made = steps[item].instruction
    read, written = accesses_read(made), accesses_written(made)
    return (
        [region_of(access) for access in read if isinstance(access, TileAccess)],
        [region_of(access) for access in written if isinstance(access, TileAccess)],
    )


def _is_worth_it(light: Sequence[Light], steps: Sequence[Prepared]) -> bool:
    written = (region for item in light for region in _accesses(item, steps)[1])
    return any((r[2] - r[1]) * (r[4] - r[3]) >= MIN_REGION_BYTES for r in written)
