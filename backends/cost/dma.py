"""How long DMA engines need for a transfer: descriptors, their times, their spread over engines.

A transfer is a list of descriptors, one per run that is contiguous in both source and destination
(machine.md#dma); a tile needs at least one per partition. Up to `target.dma.engines` engines share
the descriptors evenly. `docs/design/0004-executor-and-time.md` has the calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from axonc.backends.isa.access_pattern import Access, Dims, Memory
from axonc.backends.targets.target import DmaTiming


@dataclass(frozen=True, slots=True)
class TransferCost:
    """What one DMA transfer costs."""

    descriptors: int
    """How many."""
    descriptor_ns: float
    """Time one DMA engine needs for each (of mean size)."""
    hbm_bytes: int
    """Read from plus written to device memory."""
    hbm_read_bytes: int
    """Only read."""
    moved_bytes: int
    """Written at the destination (a cast on the way changes the size)."""

    def busiest_engine_ns(self, timing: DmaTiming) -> float:
        """Time of the engine with most descriptors, when nothing else runs."""
        return -(-self.descriptors // timing.engines) * self.descriptor_ns


def descriptor_ns(timing: DmaTiming, size_bytes: float) -> float:
    """Time one DMA engine needs for one contiguous descriptor."""
    points = timing.descriptor_time_ns
    if size_bytes <= points[0][0]:
        return points[0][1]
    for (low, low_ns), (high, high_ns) in zip(points, points[1:], strict=False):
        if size_bytes <= high:
            return low_ns + (high_ns - low_ns) * (size_bytes - low) / (high - low)
    last_bytes, last_ns = points[-1]
    return last_ns * size_bytes / last_bytes


def contiguous_elements(dims: Dims) -> int:
    """Length of the runs of neighbouring elements, in visiting order, of a pattern."""
    run = 1
    for stride, size in reversed(dims):
        if size == 1:
            continue
        if stride != run:
            break
        run *= size
    return run


def run_count(source_run: int, destination_run: int, total: int) -> int:
    """Number of pieces of `total` elements broken every `source_run` and `destination_run`."""
    common = math.lcm(source_run, destination_run)
    return -(-total // source_run) + -(-total // destination_run) - -(-total // common)


def access_run(access: Access, is_table: bool = False) -> int:
    """Elements of the contiguous runs of `access`: within one partition, within one table row."""
    return contiguous_elements(access.dims[1:] if is_table else access.dims)


def transfer_cost(
    timing: DmaTiming, source: Access, destination: Access, indirect: str = "none"
) -> TransferCost:
    """Cost of copying `source` to `destination`.

    indirect: "none", or "gather" / "scatter": the source / destination is a table in device memory
    whose rows are addressed one by one, so that each row is at least one descriptor.
    """
    rows = source if indirect == "scatter" else destination
    total = math.prod(rows.shape)
    source_run = access_run(source, indirect == "gather")
    destination_run = access_run(destination, indirect == "scatter")
    element_bytes = max(source.dtype.size_bytes, destination.dtype.size_bytes)
    count = max(
        run_count(min(source_run, total), min(destination_run, total), total),
        rows.shape[0] if indirect != "none" else 1,
        -(-total * element_bytes // timing.descriptor_max_bytes),
    )
    size = total * element_bytes / count
    read = total * source.dtype.size_bytes if source.memory is Memory.HBM else 0
    moved = total * destination.dtype.size_bytes
    return TransferCost(
        descriptors=count,
        descriptor_ns=descriptor_ns(timing, size),
        hbm_bytes=read + (moved if destination.memory is Memory.HBM else 0),
        hbm_read_bytes=read,
        moved_bytes=moved,
    )
