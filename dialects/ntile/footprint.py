"""Which bytes of a buffer a view touches, and whether two views can touch the same.

Boxes of partitions x bytes answer most questions. Views with strides (a block of columns of a
matrix in device memory, one head of several) interleave without touching: their bytes, modulo the
stride, lie in disjoint intervals.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from axonc.backends.isa.access_pattern import Dims
from axonc.dialects.ntile.program import View

Lattice = tuple[tuple[int, int], ...]


class Footprint(NamedTuple):
    """Partitions [first_partition, end_partition) x some of the bytes [first_byte, end_byte)."""

    first_partition: int
    end_partition: int
    first_byte: int
    end_byte: int
    lattice: Lattice = ()
    """(pitch, run) pairs: every byte touched is within `run` bytes after first_byte + some multiple
    of `pitch`."""
    pattern: object = None
    """Equal for views that touch the same bytes of an equal box; None if every byte of the box is
    touched."""


def footprint(view: View) -> Footprint:
    """The footprint of `view` within its buffer."""
    lattice, is_dense = _lattice(view.dims, view.dtype.size_bytes)
    pattern = None if is_dense else (view.dims, view.dtype.size_bytes)
    return Footprint(*view.region(), lattice, pattern)


@lru_cache(maxsize=4096)
def _lattice(dims: Dims, element_bytes: int) -> tuple[Lattice, bool]:
    """The lattice of a pattern, and whether it leaves no gaps."""
    ascending = sorted((abs(s) * element_bytes, n) for s, n in dims if n > 1 and s)
    pairs, extent, is_dense = [], element_bytes, True
    for position, (pitch, count) in enumerate(ascending):
        if pitch > extent:
            is_dense = False
            if all(outer % pitch == 0 for outer, _ in ascending[position + 1 :]):
                pairs.append((pitch, extent))
        extent += pitch * (count - 1)
    return tuple(pairs), is_dense


def may_overlap(a: Footprint, b: Footprint) -> bool:
    """False only if no byte is in both."""
    if a[0] >= b[1] or b[0] >= a[1] or a[2] >= b[3] or b[2] >= a[3]:
        return False
    return not ((a.lattice or b.lattice) and _interleave(a, b))


def _interleave(a: Footprint, b: Footprint) -> bool:
    """Whether the bytes of a and b, modulo a common pitch, lie in disjoint intervals."""
    distance = b.first_byte - a.first_byte
    for pitch, _ in a.lattice + b.lattice:
        run_a, run_b = _run(a, pitch), _run(b, pitch)
        if run_a and run_b and distance % pitch >= run_a and -distance % pitch >= run_b:
            return True
    return False


def _run(a: Footprint, pitch: int) -> int:
    """Length of the interval that holds the bytes of `a` modulo `pitch`; 0 if that is not known."""
    for own_pitch, run in a.lattice:
        if own_pitch == pitch:
            return run
    extent = a.end_byte - a.first_byte
    return extent if extent <= pitch else 0


def covers(outer: Footprint, inner: Footprint) -> bool:
    """True only if every byte of `inner` is in `outer`."""
    if outer.pattern is not None:
        return outer == inner
    return (
        outer[0] <= inner[0]
        and inner[1] <= outer[1]
        and outer[2] <= inner[2]
        and inner[3] <= outer[3]
    )
