"""Cuts SBUF buffers into parts that no operation touches together: shorter lives, smaller spills.

A tensor of many row tiles is one buffer, although most operations work on one row tile. Cut into
row tiles, each part lives from its own first write to its own last read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.dialects.ntile.program import (
    Buffer,
    Pool,
    TileOp,
    TileProgram,
    View,
    mapped_views,
)

MIN_PART_BYTES = 2048
"""Least bytes per partition of a part: shorter ones would cost a transfer's overhead each when
spilled, and compile time."""


@dataclass(frozen=True)
class Parts:
    """The pieces a buffer is split into."""

    starts: tuple[int, ...]
    """First byte of each part, ascending."""
    buffers: tuple[Buffer, ...]
    """The parts."""

    def view(self, whole: View) -> View:
        """The same bytes, in the part that holds them."""
        number = bisect_right(self.starts, whole.region()[2]) - 1
        offset = whole.byte_offset - self.starts[number]
        return replace(whole, buffer=self.buffers[number], byte_offset=offset)


def split_buffers(program: TileProgram) -> TileProgram:
    """A program that does the same on parts of buffers; `program` is unchanged."""
    found = {
        buffer: parts
        for buffer, ranges in _touched(program.ops).items()
        if (parts := _parts(buffer, ranges)) is not None
    }
    buffers = [part for b in program.buffers for part in (found[b].buffers if b in found else (b,))]
    return replace(program, buffers=buffers, ops=[_rewritten(op, found) for op in program.ops])


def _touched(ops: Iterable[TileOp]) -> dict[Buffer, set[tuple[int, int]]]:
    """Byte ranges of the views of every buffer that is worth cutting."""
    found: dict[Buffer, set[tuple[int, int]]] = {}
    for op in ops:
        for _, view in op.accesses():
            buffer = view.buffer
            is_work = buffer.memory is Memory.SBUF and buffer.pool is Pool.WORK
            if is_work and buffer.partition_bytes >= 2 * MIN_PART_BYTES:
                found.setdefault(buffer, set()).add(view.region()[2:])
    return found


def _parts(buffer: Buffer, ranges: set[tuple[int, int]]) -> Parts | None:
    """Parts such that every range is within one; None if there is one only."""
    starts: list[int] = [0]
    end = 0
    for low, high in sorted(ranges):
        if low >= end and low - starts[-1] >= MIN_PART_BYTES:
            starts.append(low)
        end = max(end, high)
    if len(starts) == 1:
        return None
    stops = [*starts[1:], buffer.partition_bytes]
    parts = tuple(
        replace(buffer, name=f"{buffer.name}[{number}]", partition_bytes=stop - start)
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
    )
    return Parts(tuple(starts), parts)


def _rewritten(op: TileOp, found: dict[Buffer, Parts]) -> TileOp:
    if not any(view.buffer in found for _, view in op.accesses()):
        return op
    return mapped_views(op, lambda v: found[v.buffer].view(v) if v.buffer in found else v)
