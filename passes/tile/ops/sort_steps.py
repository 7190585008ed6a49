"""The steps of a sorting network, as data: which elements of a row are compared and exchanged.

A row of `length` elements (a power of two) lies in `chunks` partitions, `chunk` elements in each.
Bitonic merging: two sorted blocks are compared element by element, one of them backwards; then
every half, and half of a half, element by element. A block is read backwards by an access pattern
within a partition. Blocks of several partitions are sorted the other way round instead: in every
second of them larger elements come first (`Exchange.direction`).

Elements that are compared must be in one partition. Those of other chunks are brought together by
a change of layout (`Relayout`): `MIDDLE` has the places of a row cut in three, [top, middle, low]
of `chunks`, `chunks` and the remaining elements, with the middle on partitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Loops = tuple[tuple[int, int], ...]
"""(stride, size) of the loops over the elements of a partition, outermost first."""


@dataclass(frozen=True)
class Exchange:
    """Pairs of elements, of which the smaller one goes to `low`, the larger one to `high`."""

    low: int
    """The first of the low elements."""
    low_loops: Loops
    high: int
    """The first of the high elements."""
    high_loops: Loops
    direction: int | None = None
    """A bit of the number of a chunk: where it is set, the larger ones go to low."""
    keeps_low: bool = False
    """Whether what goes to high is not read any more."""
    continues: bool = False
    """Whether it is about other pairs of the elements that the step before began with."""


@dataclass(frozen=True)
class Relayout:
    """To the layout MIDDLE, or back."""

    to_middle: bool


@dataclass(frozen=True)
class Regroup:
    """Of every partition the first elements stay; those of several come together in one."""

    kept: int
    """Elements of a partition that stay."""
    chunks: int
    """Partitions of a row afterwards."""


Step = Exchange | Relayout | Regroup


def sorting_steps(length: int, chunks: int) -> Iterator[Step]:
    """Sorts rows of `length` elements; both are powers of two, chunks^2 <= length."""
    chunk = length // chunks
    bits = chunks.bit_length() - 1
    yield from _sorted_blocks(chunk, chunk, 0 if bits else None)
    for level in range(1, bits + 1):
        direction = level if level < bits else None
        yield Relayout(to_middle=True)
        for bit in reversed(range(level)):
            yield from _middle_exchanges(chunks, chunk // chunks, bit, direction)
        yield Relayout(to_middle=False)
        yield from _halves(chunk, chunk, chunk, direction)


def leading_steps(length: int, chunks: int, kept: int) -> Iterator[Step]:
    """Sorts the first `kept` elements of rows to their begin, where they lie in one partition at
    the end; all are powers of two, kept <= length / chunks."""
    chunk = length // chunks
    yield from _sorted_blocks(chunk, kept, None)
    while True:
        stride = kept
        while stride < chunk:
            yield from _leading_merge(chunk, kept, 2 * stride)
            stride *= 2
        if chunks == 1:
            return
        fewer = max(1, chunks // _FEWER)
        yield Regroup(kept, fewer)
        chunk = chunks // fewer * kept
        chunks = fewer


_FEWER = 8
"""How many partitions' elements come together in one: each time is a transfer to device memory and
back."""


def _sorted_blocks(chunk: int, size: int, last_direction: int | None) -> Iterator[Exchange]:
    """Sorts blocks of `size` elements, in ascending order; the largest ones in a direction."""
    half = 1
    while half < size:
        direction = last_direction if 2 * half == size else None
        block, blocks = 2 * half, chunk // (2 * half)
        yield Exchange(
            0,
            ((block, blocks), (1, half)),
            block - 1,
            ((block, blocks), (-1, half)),
            direction,
        )
        yield from _halves(chunk, half, half, direction)
        half *= 2


def _halves(chunk: int, stride: int, size: int, direction: int | None) -> Iterator[Exchange]:
    """Sorts bitonic blocks of `size` elements, one every `stride`."""
    distance = size // 2
    while distance:
        loops = ((stride, chunk // stride), (2 * distance, size // (2 * distance)), (1, distance))
        yield Exchange(0, loops, distance, loops, direction)
        distance //= 2


def _leading_merge(chunk: int, kept: int, stride: int) -> Iterator[Exchange]:
    """Of two sorted blocks every `stride` elements, the smaller elements, sorted."""
    blocks = (stride, chunk // stride)
    high = stride // 2 + kept - 1
    yield Exchange(0, (blocks, (1, kept)), high, (blocks, (-1, kept)), keeps_low=True)
    yield from _halves(chunk, stride, kept, None)


def _middle_exchanges(chunks: int, low: int, bit: int, direction: int | None) -> Iterator[Exchange]:
    """In the layout MIDDLE: chunks that differ in `bit`. Where bit `direction` of the chunk is set,
    larger elements come first."""
    run = low << bit
    if direction is None:
        every = ((2 * run, chunks >> (bit + 1)), (1, run))
        yield Exchange(0, every, run, every)
        return
    turn = low << direction
    loops = (
        (2 * turn, chunks >> (direction + 1)),
        (2 * run, 1 << (direction - bit - 1)),
        (1, run),
    )
    yield Exchange(0, loops, run, loops)
    yield Exchange(turn + run, loops, turn, loops, continues=True)
