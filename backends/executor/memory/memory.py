"""SBUF, PSUM and device memory as byte arrays, and typed strided views of what operands name.

SBUF and PSUM are [partitions, bytes per partition and padding]. Device memory is one segment per
tensor of the program, at the tensor's address; a weight's array is used where it lies, without a
copy.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.isa.access_pattern import Access, HbmAccess, Memory, TileAccess
from axonc.backends.program import HbmTensor, TensorKind
from axonc.backends.targets.target import Target

POISON = 0xFF
"""Byte that fills memory before it is written: NaN in every float type that has one."""


HOST_WRITTEN = (TensorKind.INPUT, TensorKind.WEIGHT, TensorKind.CONSTANT, TensorKind.RANK)
"""Tensors the host has written before the program runs."""


@dataclass(slots=True)
class Segment:
    """Device-memory bytes [address, end) of one tensor."""

    tensor: HbmTensor
    data: np.ndarray | None
    """Its bytes; None until they are bound."""
    is_read_only: bool = False
    """Whether the program never writes there. An input that an output aliases may be written."""

    @property
    def address(self) -> int:
        return self.tensor.address

    @property
    def end(self) -> int:
        return self.tensor.address + self.tensor.size_bytes


def flat_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of a C-contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8)


ROW_PADDING_BYTES = 2112
"""Unused bytes between the partitions of on-chip memory. Partition sizes are multiples of 16 KiB:
side by side, the same bytes of all partitions would fall into the same few sets of a CPU's cache.
2 KiB and a cache line put rows of up to 2 KiB into different ones."""


class MemorySystem:
    """The memories of one NeuronCore.

    Raises `Violation` (out of range) for an access that leaves its memory or its tensor.
    """

    def __init__(self, target: Target, tensors: tuple[HbmTensor, ...], fill: int = 0) -> None:
        self.target = target
        self.partition_bytes = {
            Memory.SBUF: target.sbuf_partition_bytes,
            Memory.PSUM: target.psum_partition_bytes,
        }
        self.on_chip = {
            memory: _filled((target.partitions, size + ROW_PADDING_BYTES), fill)
            for memory, size in self.partition_bytes.items()
        }
        own = [tensor for tensor in tensors if tensor.size_bytes and not tensor.alias]
        updated = {tensor.alias for tensor in tensors}
        self.segments = [
            Segment(t, None, t.kind in HOST_WRITTEN and t.name not in updated)
            for t in sorted(own, key=lambda tensor: tensor.address)
        ]
        self._addresses = [segment.address for segment in self.segments]
        self._by_key = {(s.tensor.kind, s.tensor.name): s for s in self.segments}

    def bind(self, tensor: HbmTensor, array: np.ndarray) -> None:
        """Let `array` (C-contiguous) be the bytes of `tensor`; the array is not copied."""
        if tensor.size_bytes:
            self.segment(tensor).data = flat_bytes(array)

    def segment(self, tensor: HbmTensor) -> Segment:
        """Where `tensor` lies; an output that was updated in place lies in an input."""
        if tensor.alias:
            return self._by_key[TensorKind.INPUT, tensor.alias]
        return self._by_key[tensor.kind, tensor.name]

    def data(self, tensor: HbmTensor) -> np.ndarray:
        """The bytes of a bound tensor."""
        data = self.segment(tensor).data
        assert data is not None, tensor.name
        return data

    def segment_at(self, access: HbmAccess) -> Segment:
        """The segment that holds all bytes of `access`."""
        first, end = access.byte_range()
        index = bisect.bisect_right(self._addresses, first) - 1
        if index >= 0 and end <= self.segments[index].end:
            return self.segments[index]
        near = self.segments[max(index, 0)] if self.segments else None
        known = f"; tensor {near.tensor.name} is [{near.address}, {near.end})" if near else ""
        raise Violation(
            FindingKind.OUT_OF_RANGE,
            f"device memory bytes [{first}, {end}) lie in no single tensor{known}",
        )

    def is_read_only(self, access: HbmAccess) -> bool:
        """Whether only the host writes the tensor that `access` lies in."""
        return self.segment_at(access).is_read_only

    def view(self, access: Access) -> np.ndarray:
        """What `access` names: shape `access.shape`, storage dtype; writable if its array is."""
        if isinstance(access, TileAccess):
            self.check_tile(access)
            return tile_view(self.on_chip[access.memory], access)
        segment = self.segment_at(access)
        assert segment.data is not None, segment.tensor.name
        return hbm_view(segment.data, segment.address, access)

    def check_tile(self, access: TileAccess) -> None:
        """Raises: Violation if `access` leaves the partitions or the bytes of its memory."""
        first, end = access.byte_range()
        last_partition = access.start_partition + access.num_partitions
        name, size = access.memory.value, self.partition_bytes[access.memory]
        if access.start_partition < 0 or last_partition > self.target.partitions:
            raise Violation(
                FindingKind.OUT_OF_RANGE,
                f"{name} partitions [{access.start_partition}, {last_partition}) exceed "
                f"{self.target.partitions}",
            )
        if first < 0 or end > size:
            raise Violation(
                FindingKind.OUT_OF_RANGE,
                f"{name} bytes [{first}, {end}) exceed the {size} bytes of a partition",
            )


def _filled(shape: tuple[int, int], fill: int) -> np.ndarray:
    return np.full(shape, fill, np.uint8) if fill else np.zeros(shape, np.uint8)


def tile_view(memory: np.ndarray, access: TileAccess) -> np.ndarray:
    """View of `access` in `memory` (uint8 [partitions, bytes from one to the next])."""
    row = memory.shape[1]
    size = access.dtype.size_bytes
    return np.ndarray(
        access.shape,
        access.dtype.numpy,
        memory,
        access.start_partition * row + access.byte_offset,
        (row, *(stride * size for stride, _ in access.dims)),
    )


def hbm_view(data: np.ndarray, address: int, access: HbmAccess) -> np.ndarray:
    """View of `access` in the segment `data` that starts at `address`."""
    size = access.dtype.size_bytes
    strides = tuple(stride * size for stride, _ in access.dims)
    return np.ndarray(access.shape, access.dtype.numpy, data, access.address - address, strides)
