"""Where buffers can lie: their lives in program order, and three ways to place them in a range.

First fit and next fit go through the buffers by first use; first fit is tight where lives nest,
next fit lets bytes rest. Placement by size knows all lives at once: the large buffers come first,
so that small ones never cut the range into pieces too short for them.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from axonc.passes.tile_program import Buffer, TileProgram


@dataclass
class Lifetime:
    """First and last operation (program order) that touches the buffer."""

    buffer: Buffer
    first: int
    last: int


def lifetimes(program: TileProgram) -> list[Lifetime]:
    """Of every buffer in use, by first use."""
    found: dict[Buffer, Lifetime] = {}
    for number, op in enumerate(program.ops):
        for _, view in op.accesses():
            life = found.get(view.buffer)
            if life is None:
                found[view.buffer] = Lifetime(view.buffer, number, number)
            else:
                life.last = number
    return list(found.values())


def aligned(size: int, alignment: int) -> int:
    """`size` rounded up."""
    return -(-size // alignment) * alignment


class Arena:
    """A range of addresses with the buffers alive in it, placed by next fit or by first fit."""

    def __init__(self, base: int, size: int, alignment: int, *, next_fit: bool) -> None:
        self.base, self.size, self.alignment = base, size, alignment
        self.next_fit = next_fit
        self.peak = 0
        self._cursor = base
        self._lows: list[int] = []
        self._live: list[tuple[int, int, Buffer]] = []  # (low, high, buffer), ascending
        self._ends: list[tuple[int, int]] = []  # heap of (last op, low)

    def place(self, buffer: Buffer, first: int, last: int) -> int | None:
        """An address for a buffer alive in [first, last], or None. Calls by ascending `first`."""
        self._retire(first)
        size = aligned(buffer.partition_bytes, self.alignment)
        address = self._fit(size)
        if address is None:
            return None
        position = bisect.bisect(self._lows, address)
        self._lows.insert(position, address)
        self._live.insert(position, (address, address + size, buffer))
        heapq.heappush(self._ends, (last, address))
        self._cursor = address + size
        self.peak = max(self.peak, address + size - self.base)
        return address

    def _retire(self, first: int) -> None:
        """Forget the buffers whose last use is before operation `first`."""
        while self._ends and self._ends[0][0] < first:
            position = bisect.bisect_left(self._lows, heapq.heappop(self._ends)[1])
            del self._lows[position], self._live[position]

    def _fit(self, size: int) -> int | None:
        for start in (self._cursor, self.base) if self.next_fit else (self.base,):
            for low, high in self._gaps(start):
                if low + size <= high:
                    return low
        return None

    def _gaps(self, start: int) -> Iterator[tuple[int, int]]:
        """The free ranges from `start` on."""
        index = bisect.bisect(self._lows, start)
        position = max(start, self._live[index - 1][1]) if index else start
        for low, high, _ in itertools.islice(self._live, index, None):
            if low > position:
                yield position, low
            position = high
        yield position, self.base + self.size


def place_in_order(
    lives: list[Lifetime], base: int, size: int, alignment: int, *, next_fit: bool
) -> list[int] | None:
    """Addresses in [base, base + size) by first use; None if one finds no place."""
    arena = Arena(base, size, alignment, next_fit=next_fit)
    addresses = [arena.place(x.buffer, x.first, x.last) for x in lives]
    return None if None in addresses else [a for a in addresses if a is not None]


def extent(lives: list[Lifetime], addresses: list[int], base: int) -> int:
    """Bytes from `base` to the end of the highest buffer."""
    ends = (a + x.buffer.partition_bytes for x, a in zip(lives, addresses, strict=True))
    return max(ends, default=base) - base


def peak_bytes(lives: list[Lifetime]) -> int:
    """Most bytes per partition alive at once, in program order."""
    return max(itertools.accumulate(b for _, b in changes(lives)), default=0)


def peak_position(lives: list[Lifetime]) -> int:
    """The first operation at which most bytes are alive."""
    alive, best, position = 0, -1, 0
    for at, change in changes(lives):
        alive += change
        if alive > best:
            best, position = alive, at
    return position


def changes(lives: list[Lifetime]) -> list[tuple[int, int]]:
    """(operation, bytes per partition that begin or end to be alive there), ascending."""
    change: dict[int, int] = {}
    for life in lives:
        change[life.first] = change.get(life.first, 0) + life.buffer.partition_bytes
        change[life.last + 1] = change.get(life.last + 1, 0) - life.buffer.partition_bytes
    return sorted(change.items())


def place_by_size(lives: list[Lifetime], base: int, size: int, alignment: int) -> list[int] | None:
    """Addresses in [base, base + size), large buffers first, each at the lowest place that is free
    for its whole life; None if one finds no place. O(n log n) plus the overlaps of every buffer,
    found by one vector comparison each."""
    order = sorted(
        range(len(lives)), key=lambda i: (-lives[i].buffer.partition_bytes, lives[i].first)
    )
    placed = _Placed(len(lives))
    addresses = [base] * len(lives)
    for number in order:
        life = lives[number]
        need = aligned(life.buffer.partition_bytes, alignment)
        address = placed.lowest(life, base, need)
        if address + need > base + size:
            return None
        placed.add(life, address, address + need)
        addresses[number] = address
    return addresses


class _Placed:
    """Rectangles of operations x bytes."""

    def __init__(self, capacity: int) -> None:
        self._boxes = np.zeros((4, capacity), np.int64)  # first op, last op, low, high
        self._count = 0

    def add(self, life: Lifetime, low: int, high: int) -> None:
        self._boxes[:, self._count] = (life.first, life.last, low, high)
        self._count += 1

    def lowest(self, life: Lifetime, base: int, need: int) -> int:
        """The lowest address of `need` bytes that no buffer has during `life`."""
        first, last, low, high = self._boxes[:, : self._count]
        meets = np.flatnonzero((first <= life.last) & (last >= life.first))
        meets = meets[np.argsort(low[meets], kind="stable")]
        position = base
        for start, stop in zip(low[meets].tolist(), high[meets].tolist(), strict=True):
            if start - position >= need:
                break
            position = max(position, stop)
        return position
