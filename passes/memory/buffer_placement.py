"""Where buffers can lie: their lives in program order, and three ways to place them in a range.

First fit and next fit go through the buffers by first use; first fit is tight where lives nest,
next fit lets bytes rest. Placement by size knows all lives at once: large and long-lived ones come
first, so that small ones never cut the range into pieces too short for them.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from axonc.backends.isa.spec import Role
from axonc.dialects.ntile.program import Buffer, Repeat, TileProgram

REST_OPS = 500
"""Bytes that were not used for this many operations can be taken over without waiting (assumed:
some 20 us of work, more than the engines run apart)."""


@dataclass
class Lifetime:
    """First and last operation (program order) that touches the buffer, or between which it has to
    keep what it holds."""

    buffer: Buffer
    first: int
    last: int


def lifetimes(program: TileProgram) -> list[Lifetime]:
    """When every buffer in use lives, by first use. A buffer that every iteration of a repeat
    writes anew has two lives with one address: others may have its bytes in between."""
    found: dict[Buffer, Lifetime] = {}
    for number, op in enumerate(program.ops):
        for _, view in op.accesses():
            life = found.get(view.buffer)
            if life is None:
                found[view.buffer] = Lifetime(view.buffer, number, number)
            else:
                life.last = number
    for repeat in program.repeats:
        for life in found.values():
            _span(life, repeat)
    lives = [part for life in found.values() for part in _parts(program, life)]
    return sorted(lives, key=lambda life: life.first)


def _span(life: Lifetime, repeat: Repeat) -> None:
    """What is used in a repeat and outside of it lives through all iterations."""
    inside = life.first < repeat.end and life.last >= repeat.first
    if inside and (life.first < repeat.first or life.last >= repeat.end):
        life.first = min(life.first, repeat.first)
        life.last = max(life.last, repeat.end - 1)


def _parts(program: TileProgram, life: Lifetime) -> list[Lifetime]:
    """The lives before and after a rest within a repeat."""
    for repeat in program.repeats if life.buffer.renewed else ():
        if life.first < repeat.first and life.last >= repeat.end - 1:
            last_read, first_write = _rest(program, repeat, life.buffer)
            if first_write > last_read + 1:
                first, second = (life.first, last_read), (first_write, life.last)
                return [Lifetime(life.buffer, *first), Lifetime(life.buffer, *second)]
    return [life]


def _rest(program: TileProgram, repeat: Repeat, buffer: Buffer) -> tuple[int, int]:
    """The last operation of an iteration that reads what the one before wrote, and the first that
    writes."""
    last_read = repeat.first
    for number in range(repeat.first, repeat.end):
        roles = {role for role, view in program.ops[number].accesses() if view.buffer is buffer}
        if roles - {Role.WRITE}:
            last_read = number
        if roles - {Role.READ}:
            return last_read, number
    return last_read, last_read


def aligned(size: int, alignment: int) -> int:
    """`size` rounded up."""
    return -(-size // alignment) * alignment


class Arena:
    """A range of addresses with the buffers alive in it, placed by next fit or by first fit.

    later: of buffers that live twice, the first operation of their second life, for which their
    bytes are kept.
    """

    def __init__(
        self,
        base: int,
        size: int,
        alignment: int,
        *,
        next_fit: bool,
        later: Mapping[Buffer, int] | None = None,
    ) -> None:
        self.base, self.size, self.alignment = base, size, alignment
        self.next_fit = next_fit
        self._later = later or {}
        self._kept: dict[Buffer, tuple[int, int]] = {}
        self.peak = 0
        self._cursor = base
        self._lows: list[int] = []
        self._live: list[tuple[int, int, Buffer]] = []  # (low, high, buffer), ascending
        self._ends: list[tuple[int, int]] = []  # heap of (last op, low)

    def place(self, buffer: Buffer, first: int, last: int) -> int | None:
        """An address for a buffer alive in [first, last], or None. Calls by ascending `first`."""
        self._retire(first)
        size = aligned(buffer.partition_bytes, self.alignment)
        if buffer in self._kept:
            address: int | None = self._kept.pop(buffer)[0]
        else:
            address = self._fit(size, last)
        if address is None:
            return None
        if first < self._later.get(buffer, 0):
            self._kept[buffer] = (address, address + size)
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

    def _fit(self, size: int, last: int) -> int | None:
        for start in (self._cursor, self.base) if self.next_fit else (self.base,):
            for low, high in self._gaps(start, last):
                if low + size <= high:
                    return low
        return None

    def _gaps(self, start: int, last: int) -> Iterator[tuple[int, int]]:
        """The ranges from `start` on that are free until operation `last`."""
        index = bisect.bisect(self._lows, start)
        position = max(start, self._live[index - 1][1]) if index else start
        taken: Iterable[tuple[int, int]] = (
            x[:2] for x in itertools.islice(self._live, index, None)
        )
        kept = [place for b, place in self._kept.items() if self._later[b] <= last]
        if kept:
            taken = sorted([*taken, *kept])
        for low, high in taken:
            if low > position:
                yield position, low
            position = max(position, high)
        yield position, self.base + self.size


def place_in_order(
    lives: list[Lifetime], base: int, size: int, alignment: int, *, next_fit: bool
) -> list[int] | None:
    """Addresses in [base, base + size) by first use; None if one finds no place."""
    later = {x.buffer: x.first for x in lives if x.buffer.renewed}
    arena = Arena(base, size, alignment, next_fit=next_fit, later=later)
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


def place_by_size(
    lives: list[Lifetime], base: int, size: int, alignment: int, *, leisure: float = 0.0
) -> list[int] | None:
    """Addresses in [base, base + size), what is large and lives long first, each free for the whole
    life, or both: the lowest; or, if during that life at most the part `leisure` of the room is
    taken, the one whose bytes rest longest before and after it. None if one finds no place.

    O(n log n) plus the neighbours in time of every buffer, found by vector comparisons.
    """
    both: dict[Buffer, list[Lifetime]] = {}
    for life in lives:
        both.setdefault(life.buffer, []).append(life)
    placed = _Placed(len(lives))
    alive = _alive_bytes(lives)
    addresses: dict[Buffer, int] = {}
    for mine in sorted(both.values(), key=lambda x: (-_weight(x), x[0].first)):
        need = aligned(mine[0].buffer.partition_bytes, alignment)
        most = max(alive[life.first : life.last + 1].max() for life in mine)
        if len(mine) == 1 and most <= size * leisure:
            address = placed.most_rested(mine[0], base, base + size, need)
        else:
            address = placed.lowest(mine, base, need)
        if address is None or address + need > base + size:
            return None
        for life in mine:
            placed.add(life, address, address + need)
        addresses[mine[0].buffer] = address
    return [addresses[life.buffer] for life in lives]


def _weight(lives: list[Lifetime]) -> float:
    """Size counts more than duration: what is large and lives long is hardest to place."""
    duration = sum(life.last - life.first + 1 for life in lives)
    return lives[0].buffer.partition_bytes * math.sqrt(duration)


def _alive_bytes(lives: list[Lifetime]) -> np.ndarray:
    """Bytes per partition alive at every operation."""
    change = np.zeros(max((x.last for x in lives), default=0) + 2, np.int64)
    for at, difference in changes(lives):
        change[at] += difference
    return change.cumsum()


class _Placed:
    """Rectangles of operations x bytes."""

    def __init__(self, capacity: int) -> None:
        self._boxes = np.zeros((4, capacity), np.int64)  # first op, last op, low, high
        self._count = 0

    def add(self, life: Lifetime, low: int, high: int) -> None:
        self._boxes[:, self._count] = (life.first, life.last, low, high)
        self._count += 1

    def _between(self, first_op: int, last_op: int) -> np.ndarray:
        """Boxes alive at some operation from first_op to last_op."""
        boxes = self._boxes[:, : self._count]
        return boxes[:, (boxes[0] <= last_op) & (boxes[1] >= first_op)]

    def lowest(self, lives: list[Lifetime], base: int, need: int) -> int:
        """The lowest address of `need` bytes that no buffer has during `lives`."""
        boxes = [self._between(life.first, life.last) for life in lives]
        _, _, low, high = np.concatenate(boxes, axis=1)
        order = np.argsort(low, kind="stable")
        position = base
        for start, stop in zip(low[order].tolist(), high[order].tolist(), strict=True):
            if start - position >= need:
                break
            position = max(position, stop)
        return position

    def most_rested(self, life: Lifetime, base: int, end: int, need: int) -> int | None:
        """The address whose neighbours in time, among those that had or will have its bytes, are
        farthest from `life`; the lowest of equals; None if there is no room."""
        first, last, low, high = self._between(life.first - REST_OPS, life.last + REST_OPS)
        places = np.unique(np.concatenate(([base, end - need], high, low - need)))
        places = places[(places >= base) & (places + need <= end)]
        rest = np.maximum(life.first - last, first - life.last)  # of each box; <= 0: they meet
        shares = (low < places[:, None] + need) & (high > places[:, None])
        least = np.where(shares, rest, REST_OPS).min(axis=1, initial=REST_OPS)
        if not least.size or least.max() <= 0:
            return None
        return int(places[least.argmax()])
