"""Operands: how an instruction names the bytes it reads or writes.

A `TileAccess` is what engines and DMA use for on-chip memory: a contiguous range of partitions and,
the same in each of them, a byte offset and up to four free dimensions of (stride, size) counted in
elements, outermost first. A `HbmAccess` names device memory: an absolute byte address and up to
five (stride, size) dimensions counted in elements, outermost first.

Source: NKI access patterns (machine.md#operands): up to 4 free dims, int16 strides in elements,
uint16 sizes, one pattern for all partitions. An operand's byte offset may be increased at run time
by a sequencer register (`register`), which is how rolled loops and outlined blocks address their
data.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from axonc.backends.numerics.dtypes import DType


class Memory(enum.Enum):
    """The three memories of a NeuronCore."""

    SBUF = "sbuf"
    PSUM = "psum"
    HBM = "hbm"


Dims = tuple[tuple[int, int], ...]

NO_REGISTER = -1
"""Value of `register` when an operand's address is static."""


def element_count(dims: Dims) -> int:
    """Number of elements a pattern visits (1 for no dims)."""
    count = 1
    for _, size in dims:  # a loop: four times as fast as math.prod of a generator
        count *= size
    return count


def span_elements(dims: Dims) -> tuple[int, int]:
    """(lowest, highest) element offset that the pattern visits, relative to its start."""
    low = sum(min(0, stride * (size - 1)) for stride, size in dims)
    high = sum(max(0, stride * (size - 1)) for stride, size in dims)
    return low, high


@dataclass(frozen=True, slots=True)
class TileAccess:
    """A box of SBUF or PSUM: partitions [start_partition, start_partition + num_partitions), and in
    each of them the same free dims."""

    memory: Memory
    dtype: DType
    start_partition: int
    num_partitions: int
    byte_offset: int
    """Where the pattern starts within each partition."""
    dims: Dims
    """Free dims ((stride, size), ...) in elements, outermost first."""
    register: int = NO_REGISTER
    """The sequencer register that is added to the byte offset at run time, or NO_REGISTER."""

    @property
    def elements_per_partition(self) -> int:
        return element_count(self.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.num_partitions, *(size for _, size in self.dims))

    def byte_range(self) -> tuple[int, int]:
        """[first, past-the-last) byte touched within each partition."""
        low, high = span_elements(self.dims)
        size = self.dtype.size_bytes
        return self.byte_offset + low * size, self.byte_offset + (high + 1) * size


@dataclass(frozen=True, slots=True)
class HbmAccess:
    """Device memory: absolute byte address and ((stride, size), ...) in elements, outermost
    first. The register counts units of 2^register_shift bytes, so that 32 bits reach all of it."""

    dtype: DType
    address: int
    dims: Dims
    register: int = NO_REGISTER
    register_shift: int = 0

    @property
    def memory(self) -> Memory:
        return Memory.HBM

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size for _, size in self.dims)

    def byte_range(self) -> tuple[int, int]:
        """[first, past-the-last) byte address touched."""
        low, high = span_elements(self.dims)
        size = self.dtype.size_bytes
        return self.address + low * size, self.address + (high + 1) * size


Access = TileAccess | HbmAccess
