"""Nests of loops over tiles: how an iteration space is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from axonc.backends.isa.access_pattern import Memory
from axonc.dialects.ntile.program import MAX_TILE_STRIDE
from axonc.passes.layout.storage import Lane, merge_loops

MAX_DIMS = 3
"""Free dims most instructions can hold beside other operands (machine.md#operands: 1 to 3)."""


MAX_TILE_ELEMENTS = 2048
"""Elements per partition of one elementwise instruction: long enough to hide its ~100 cycles, short
enough that the next engine need not wait long (one PSUM half)."""


WIDE_BUFFER_BYTES = 64 * 1024
"""Bytes per partition, a third of SBUF, beyond which a buffer is likely to be needed in parts."""


def nest_tiles(
    sizes: Sequence[int], lanes: Sequence[Lane], max_elements: int, max_dims: int = MAX_DIMS
) -> Iterator[tuple[tuple[int, ...], list[Lane]]]:
    """Splits a nest of loops into pieces one instruction can hold: few dims, few elements.

    Yields (sizes, lanes) of each piece; every lane's strides match the piece's sizes.
    """
    is_wide = any(_is_wide(lane) for lane in lanes)
    merged = _merged(list(sizes), lanes, is_wide)
    inner = [size for size, _ in merged]
    pieces = [
        replace(lane, strides=tuple(strides[i] for _, strides in merged))
        for i, lane in enumerate(lanes)
    ]
    yield from _split(tuple(inner), pieces, max_elements, max_dims, is_wide)


def _is_wide(lane: Lane) -> bool:
    """Whether the lane's buffer may be needed in parts."""
    buffer = lane.buffer
    return buffer.memory is Memory.SBUF and buffer.partition_bytes > WIDE_BUFFER_BYTES


def _merged(sizes: list[int], lanes: Sequence[Lane], is_wide: bool) -> list[tuple[int, list[int]]]:
    """Loops that become one are visited in long pieces, whatever the sizes of their dims. The
    outermost dim of wide buffers stays one: pieces that end with it let operations on other pieces
    do without the buffer's other parts (split_buffers.py)."""
    strides = [list(lane.strides) for lane in lanes]
    if not is_wide or len(sizes) < 2:
        return merge_loops(sizes, strides)
    outer = merge_loops(sizes[:1], [s[:1] for s in strides])
    return outer + merge_loops(sizes[1:], [s[1:] for s in strides])


def _split(
    sizes: tuple[int, ...],
    lanes: list[Lane],
    max_elements: int,
    max_dims: int,
    is_wide: bool = False,
) -> Iterator[tuple[tuple[int, ...], list[Lane]]]:
    total = math.prod(sizes)
    fits = not is_wide or not any(map(_strides_too_far, lanes))
    if len(sizes) <= max_dims and total <= max_elements and fits:
        yield sizes, lanes
        return
    per_step = total // sizes[0]
    is_one = len(sizes) > max_dims or not fits
    count = 1 if is_one else max(1, max_elements // per_step)
    if is_wide:  # pieces of powers of two begin and end together, whatever their operations
        count = power_of_two(count)
    for begin in range(0, sizes[0], count):
        size = min(count, sizes[0] - begin)
        moved = [lane.advanced(0, begin) for lane in lanes]
        if size == 1:
            dropped = [replace(lane, strides=lane.strides[1:]) for lane in moved]
            yield from _split(sizes[1:], dropped, max_elements, max_dims, is_wide)
        else:
            yield from _split((size, *sizes[1:]), moved, max_elements, max_dims, is_wide)


def _strides_too_far(lane: Lane) -> bool:
    """Whether an instruction has no room for a stride of a lane on chip."""
    return lane.buffer.memory is not Memory.HBM and any(
        abs(stride) > MAX_TILE_STRIDE for stride in lane.strides
    )


def power_of_two(limit: int) -> int:
    """The largest power of two that is at most `limit`."""
    return 1 << (limit.bit_length() - 1)
