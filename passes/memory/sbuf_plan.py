"""Cuts SBUF into its three parts and finds every buffer a place there: a question, nothing is set.

Constants of the whole program lie at the bottom. Above are work buffers, placed by next fit (the
address after the last one, so that bytes rest as long as possible before reuse); and streamed
weights, in a ring. Work gets what its tightest packing needs and a quarter of the rest (all of it
if nothing is streamed); the stream the remainder, for prefetch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from axonc.dialects.ntile.program import Buffer, Pool, Repeat
from axonc.passes.memory.buffer_placement import (
    Lifetime,
    aligned,
    extent,
    place_by_size,
    place_in_order,
)

ALIGNMENT = 64
"""Bytes SBUF and device addresses are multiples of (assumed: 8.10, alignments are not
published)."""

LEISURE_SHARES = (0.75, 0.6, 0.4)
"""Parts of the room up to which buffers may be scattered, so that bytes rest before reuse; where
more is taken they are packed tightly, to leave room for each other. The first that fits."""


@dataclass
class SbufPlan:
    """Where buffers lie in SBUF."""

    addresses: dict[Buffer, int] = field(default_factory=dict)
    """By buffer, its byte offset within each partition."""
    pools: dict[str, int] = field(default_factory=dict)
    """By part of the room, its bytes."""

    @property
    def extent_bytes(self) -> int:
        """Bytes of all parts: buffers lie below."""
        return sum(self.pools.values())

    def add(self, lives: list[Lifetime], addresses: list[int]) -> None:
        self.addresses.update(
            (life.buffer, address) for life, address in zip(lives, addresses, strict=True)
        )


def plan_sbuf(
    lives: list[Lifetime], op_count: int, size: int, repeats: Sequence[Repeat] = ()
) -> SbufPlan | None:
    """Places in `size` bytes per partition for the buffers of a program of `op_count` operations;
    None if they do not fit. repeats: for which the ring closes well."""
    by_pool = {pool: [x for x in lives if x.buffer.pool is pool] for pool in Pool}
    resident = [Lifetime(x.buffer, 0, op_count) for x in by_pool[Pool.RESIDENT]]
    work, stream = by_pool[Pool.WORK], by_pool[Pool.STREAM]
    plan = SbufPlan()
    constants = place_in_order(resident, 0, size, ALIGNMENT, next_fit=False)
    if constants is None:
        return None
    plan.add(resident, constants)
    base = aligned(extent(resident, constants, 0), ALIGNMENT)
    tight = _tight(work, base, size - base)
    if tight is None:
        return None
    width = aligned(extent(work, tight, base), ALIGNMENT)
    spare = size - base - width
    for extra in (spare // 4 // ALIGNMENT * ALIGNMENT, 0) if stream else (spare,):
        start = base + width + extra
        ring = _ring(stream, start, size - start, repeats)
        if ring is not None:
            plan.add(work, _loose(work, base, width + extra) or tight)
            plan.add(stream, ring)
            used = aligned(extent(stream, ring, start), ALIGNMENT)
            plan.pools = {"resident": base, "work": width + extra, "stream": used}
            return plan
    return None


def _loose(lives: list[Lifetime], base: int, size: int) -> list[int] | None:
    """Next fit; should that fragment, by size, bytes resting where there is room for it."""
    found = place_in_order(lives, base, size, ALIGNMENT, next_fit=True)
    for leisure in LEISURE_SHARES:
        if found is None:
            found = place_by_size(lives, base, size, ALIGNMENT, leisure=leisure)
    return found


def _ring(
    lives: list[Lifetime], base: int, size: int, repeats: Sequence[Repeat]
) -> list[int] | None:
    """Next fit, so that chunks are fetched long before their turn; else by size."""
    found = place_in_order(lives, base, size, ALIGNMENT, next_fit=True)
    if found is None:
        return place_by_size(lives, base, size, ALIGNMENT)
    if not any(r.first <= life.first < r.end for r in repeats for life in lives):
        return found
    return _closed_ring(lives, base, size, repeats, found)


def _closed_ring(
    lives: list[Lifetime], base: int, size: int, repeats: Sequence[Repeat], whole: list[int]
) -> list[int]:
    """A shorter ring may be better in a loop: where an iteration ends in the middle of a lap, the
    next one begins with bytes that were used just now. Takes the length with which the least is
    fetched between two uses of the same bytes at most; `whole` is the ring of all the room."""
    inside = [
        [n for n, life in enumerate(lives) if repeat.first <= life.first < repeat.end]
        for repeat in repeats
    ]
    body = max(inside, key=len)
    sizes = [aligned(lives[n].buffer.partition_bytes, ALIGNMENT) for n in body]
    laps = {sum(sizes[:n]) for n in range(len(sizes) + 1)}
    best, most = whole, _least_between(sizes, [whole[n] for n in body])
    for lap in sorted((lap for lap in laps if most < lap < size), reverse=True):
        found = place_in_order(lives, base, lap, ALIGNMENT, next_fit=True)
        between = _least_between(sizes, [found[n] for n in body]) if found else 0
        if found and between > most:
            best, most = found, between
    return best


def _least_between(sizes: list[int], addresses: list[int]) -> int:
    """In a loop over chunks, the fewest bytes fetched from one with the same bytes, exclusive, to
    the next, inclusive."""
    ends = list(accumulate([*sizes, *sizes]))
    last: dict[int, int] = {}
    least = ends[-1]
    unit = math.gcd(*sizes, *addresses)
    for n, (size, address) in enumerate(
        zip([*sizes, *sizes], [*addresses, *addresses], strict=True)
    ):
        for place in range(address, address + size, unit):
            if place in last:
                least = min(least, ends[n] - ends[last[place]])
            last[place] = n
    return least


def _tight(lives: list[Lifetime], base: int, size: int) -> list[int] | None:
    """By first fit where that leaves half of the room; else by size, if that is possible."""
    first_fit = place_in_order(lives, base, size, ALIGNMENT, next_fit=False)
    if first_fit is not None and extent(lives, first_fit, base) <= size // 2:
        return first_fit
    by_size = place_by_size(lives, base, size, ALIGNMENT)
    if by_size is None or first_fit is None:
        return by_size or first_fit
    return min(by_size, first_fit, key=lambda found: extent(lives, found, base))
