"""Fast mode: which SBUF tiles are verbatim copies of device memory that is never written.

A matmul whose operand lies in such a copy can read device memory itself: it does not matter then
whether the tile is overwritten in the meantime. A copy that no other step reads need not be made.

The steps are visited in the order of execution, so that what is known is true at each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.steps.findings import Violation
from axonc.backends.executor.steps.prepared import Region, region_of, regions_overlap
from axonc.backends.isa.access_pattern import Access, Dims, HbmAccess, Memory, TileAccess
from axonc.backends.isa.dma import is_transfer
from axonc.backends.isa.instruction import Instruction

PAGE_BYTES = 4096
"""Bytes of a partition that share a list of copies."""

MIN_COPY_BYTES = 16384
"""Smaller copies are no matrices of weights; following them costs more than making them."""


@dataclass(slots=True, eq=False)
class WeightCopy:
    """Rows of device memory in SBUF: partition p of `region` holds the bytes from `address + (p -
    first partition) * row_bytes`."""

    step: int
    region: Region
    address: int
    row_bytes: int
    left: list[Region]
    """Boxes of it that were not overwritten."""
    is_needed: bool = False
    """Whether a step reads it in SBUF."""

    def covers(self, region: Region) -> bool:
        return any(covers(box, region) for box in self.left)

    def overlaps(self, region: Region) -> bool:
        return any(regions_overlap(box, region) for box in self.left)

    def source_of(self, tile: TileAccess) -> HbmAccess:
        """Where in device memory the elements of `tile`, which lies in the copy, come from."""
        _, first_partition, _, first_byte, _ = self.region
        size = tile.dtype.size_bytes
        row = (tile.start_partition - first_partition) * self.row_bytes
        address = self.address + row + tile.byte_offset - first_byte
        dims = ((self.row_bytes // size, tile.num_partitions), *tile.dims)
        return HbmAccess(tile.dtype, address, dims)


def covers(outer: Region, inner: Region) -> bool:
    return (
        outer[0] == inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and outer[3] <= inner[3]
        and inner[4] <= outer[4]
    )


def without(box: Region, hole: Region) -> list[Region]:
    """Boxes of `box` outside of `hole`."""
    if not regions_overlap(box, hole):
        return [box]
    memory, first, end, low, high = box
    top, bottom = max(first, hole[1]), min(end, hole[2])
    parts = [
        (memory, first, top, low, high),
        (memory, bottom, end, low, high),
        (memory, top, bottom, low, hole[3]),
        (memory, top, bottom, hole[4], high),
    ]
    return [part for part in parts if part[1] < part[2] and part[3] < part[4]]


class WeightCopies:
    """The copies that are in SBUF at the step that is being visited."""

    def __init__(self, memory: MemorySystem) -> None:
        self.memory = memory
        self._pages: dict[int, list[WeightCopy]] = defaultdict(list)
        self._made: list[WeightCopy] = []

    def unneeded_steps(self, *, is_whole: bool) -> set[int]:
        """Steps whose copies only operands that were traced to device memory read. is_whole: nobody
        reads SBUF after the last step; else copies that are left then are needed."""
        return {
            copy.step for copy in self._made if not copy.is_needed and (is_whole or not copy.left)
        }

    def source(self, tile: TileAccess) -> HbmAccess | None:
        """The device memory that `tile` is a copy of. None: it is not; SBUF is read."""
        region = region_of(tile)
        found = list(self._overlapping(region))
        if len(found) == 1 and found[0].covers(region):
            copy = found[0]
            if copy.row_bytes % tile.dtype.size_bytes == 0:
                return copy.source_of(tile)
        self.read(region)
        return None

    def read(self, region: Region) -> None:
        """A step reads `region` of SBUF."""
        for copy in self._overlapping(region):
            copy.is_needed = True

    def write(self, step: int, instruction: Instruction, access: TileAccess) -> None:
        """`instruction` writes `access`: perhaps a copy, perhaps over copies."""
        region = region_of(access)
        is_whole = run_length(access.dims) is not None and not _may_skip(instruction)
        for copy in list(self._overlapping(region)):
            if is_whole:
                copy.left = [part for box in copy.left for part in without(box, region)]
            else:  # what is left between the written bytes may be read by anybody
                copy.left, copy.is_needed = [], True
            if not copy.left:
                self._drop(copy)
        made = self._copy_made(step, instruction, region)
        if made is not None:
            self._made.append(made)
            for page in _pages(region):
                self._pages[page].append(made)

    def _drop(self, copy: WeightCopy) -> None:
        for page in _pages(copy.region):
            self._pages[page].remove(copy)

    def _overlapping(self, region: Region) -> Iterator[WeightCopy]:
        if region[0] != Memory.SBUF.value:
            return
        seen: set[int] = set()
        for page in _pages(region):
            for copy in self._pages.get(page, ()):
                if copy.step not in seen and copy.overlaps(region):
                    seen.add(copy.step)
                    yield copy

    def _copy_made(self, step: int, instruction: Instruction, region: Region) -> WeightCopy | None:
        if not _is_verbatim(instruction):
            return None
        target, source = instruction.operand("dst"), instruction.operand("src")
        rows = _row_copy(target, source)
        if rows is None or not isinstance(target, TileAccess):
            return None
        if (region[2] - region[1]) * (region[4] - region[3]) < MIN_COPY_BYTES:
            return None
        if not self._is_constant(target, source):
            return None
        return WeightCopy(step, region, *rows, left=[region])

    def _is_constant(self, target: TileAccess, source: Access | None) -> bool:
        """Whether both accesses are in range (who makes the copy reports it if they are not) and
        only the host writes the source."""
        assert isinstance(source, HbmAccess)
        try:
            self.memory.check_tile(target)
            return self.memory.is_read_only(source)
        except Violation:
            return False


def _pages(region: Region) -> range:
    return range(region[3] // PAGE_BYTES, (region[4] - 1) // PAGE_BYTES + 1)


def _may_skip(instruction: Instruction) -> bool:
    """Whether rows of the destination may keep what they hold."""
    return is_transfer(instruction) and instruction.text("indirect") != "none"


def _is_verbatim(instruction: Instruction) -> bool:
    return (
        is_transfer(instruction)
        and instruction.text("op") == "copy"
        and instruction.text("indirect") == "none"
    )


def _row_copy(target: Access | None, source: Access | None) -> tuple[int, int] | None:
    """(address, bytes from row to row) of a copy of one run of device memory per partition."""
    if not isinstance(target, TileAccess) or not isinstance(source, HbmAccess):
        return None
    if target.memory is not Memory.SBUF or target.dtype is not source.dtype:
        return None
    count = run_length(target.dims)
    if count is None or not source.dims:
        return None
    stride, rows = source.dims[0]
    if rows != target.num_partitions or run_length(source.dims[1:]) != count or stride < 0:
        return None
    return source.address, stride * target.dtype.size_bytes


def run_length(dims: Dims) -> int | None:
    """Elements of a pattern that visits neighbouring elements in order; None for others."""
    count = 1
    for stride, size in reversed(dims):
        if size != 1 and stride != count:
            return None
        count *= size
    return count
