"""The tile level: buffers without addresses, views of them, and tile operations.

A tile operation is one instruction (or a pair that must stay together, such as LoadStationary and
MultiplyMoving) whose operands are views of buffers. It may have several *forms*, one per engine
that can do the work; `assign-engines` keeps one. Its order in the program is a legal sequential
order; `schedule` derives the per-engine order from the data dependences.

Printed and parsed as the `ntile` dialect (dialects/ntile/ops.py).
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from axonc.backends.isa.access_pattern import (
    Access,
    Dims,
    HbmAccess,
    Memory,
    TileAccess,
    element_count,
    span_elements,
)
from axonc.backends.isa.instruction import FieldValues, Instruction
from axonc.backends.isa.spec import InstructionSpec, Role
from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import Groups, HbmTensor
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import SourceLocation


class Pool(enum.Enum):
    """Which part of SBUF a buffer is placed in: streamed weights rotate through their own part, so
    that prefetch never evicts an activation."""

    WORK = "work"
    STREAM = "stream"
    RESIDENT = "resident"  # constants that live through the whole program


@dataclass(eq=False, slots=True)
class Buffer:
    """A block of memory: `partitions` x `partition_bytes` in SBUF or PSUM, or a device tensor."""

    name: str
    memory: Memory
    partitions: int
    partition_bytes: int
    pool: Pool = Pool.WORK
    address: int = -1
    """Byte offset within each partition (SBUF, PSUM), set by `allocate`."""
    tensor: HbmTensor | None = None
    """The device-memory tensor behind an HBM buffer (its address is set by `allocate`)."""
    each: tuple[HbmTensor, ...] = ()
    """The tensors of all iterations of a repeat, where each iteration has its own: `tensor` is the
    first; they lie at equal distances."""
    renewed: bool = False
    """Every iteration of a repeat writes it anew, all of what the next one reads. What it holds is
    of no use between the last read before the first write, and that write."""

    def __repr__(self) -> str:
        return f"Buffer({self.name})"

    def place_iterations(self, stride: int) -> None:
        """The tensors of all iterations lie `stride` bytes apart, the first at `address`."""
        self.each = tuple(
            replace(tensor, address=self.address + number * stride)
            for number, tensor in enumerate(self.each)
        )
        self.tensor = self.each[0]


@dataclass(frozen=True, slots=True)
class View:
    """Elements of one buffer, in the terms of an access pattern (`TileAccess`, `HbmAccess`)."""

    buffer: Buffer
    dtype: DType
    start_partition: int
    """0 in device memory."""
    num_partitions: int
    """0 in device memory."""
    byte_offset: int
    """From the start of the buffer, within each of its partitions."""
    dims: Dims
    """Free dims (stride, size), outermost first; all dims in device memory."""

    @property
    def memory(self) -> Memory:
        return self.buffer.memory

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = tuple(size for _, size in self.dims)
        return sizes if self.memory is Memory.HBM else (self.num_partitions, *sizes)

    @property
    def elements_per_partition(self) -> int:
        return element_count(self.dims)

    def __getitem__(self, index: object) -> View:
        """numpy-like basic indexing; for SBUF and PSUM the first index is the partition axis."""
        items = list(index) if isinstance(index, tuple) else [index]
        view = self
        if self.memory is not Memory.HBM:
            view = view._on_partitions(items.pop(0))
        return view._on_free(items)

    def _on_partitions(self, item: object) -> View:
        start, count = _range(item, self.num_partitions)
        return replace(self, start_partition=self.start_partition + start, num_partitions=count)

    def _on_free(self, items: list[object]) -> View:
        offset, dims = 0, []
        for axis, (stride, size) in enumerate(self.dims):
            item = items[axis] if axis < len(items) else slice(None)
            start, count = _range(item, size)
            offset += start * stride
            if not isinstance(item, int):
                dims.append((stride, count))
        byte_offset = self.byte_offset + offset * self.dtype.size_bytes
        return replace(self, byte_offset=byte_offset, dims=tuple(dims) or ((1, 1),))

    def region(self) -> tuple[int, int, int, int]:
        """(first partition, past-last partition, first byte, past-last byte) within the buffer."""
        low, high = span_elements(self.dims)
        size = self.dtype.size_bytes
        return (
            self.start_partition,
            self.start_partition + max(1, self.num_partitions),
            self.byte_offset + low * size,
            self.byte_offset + (high + 1) * size,
        )

    def resolve(self) -> Access:
        """The instruction operand, once the buffer has an address."""
        if self.memory is Memory.HBM:
            address = self.buffer.address + self.byte_offset
            if not self.buffer.each:
                return HbmAccess(self.dtype, address, self.dims)
            return HbmAccess(self.dtype, address, self.dims, ITERATION_REGISTER, ITERATION_SHIFT)
        return TileAccess(
            self.memory,
            self.dtype,
            self.start_partition,
            self.num_partitions,
            self.buffer.address + self.byte_offset,
            self.dims if _strides_fit(self.dims) else _without_idle_strides(self.dims),
        )


def _strides_fit(dims: Dims) -> bool:
    return all(-MAX_TILE_STRIDE <= stride <= MAX_TILE_STRIDE for stride, _ in dims)


def _without_idle_strides(dims: Dims) -> Dims:
    """The same elements: a loop of one step has no use for its stride."""
    return tuple((stride if size > 1 else 0, size) for stride, size in dims)


def _range(item: object, size: int) -> tuple[int, int]:
    """(start, count) of an int or a step-free slice within [0, size)."""
    if isinstance(item, int):
        start, stop = item, item + 1
    elif isinstance(item, slice) and item.step in (None, 1):
        start = 0 if item.start is None else item.start
        stop = size if item.stop is None else item.stop
    else:
        raise TypeError(f"a view is indexed by integers and slices without step, not {item!r}")
    if not 0 <= start < stop <= size:
        raise IndexError(f"[{start}:{stop}] is outside a dimension of size {size}")
    return start, stop - start


@dataclass(slots=True)
class Step(FieldValues):
    """One instruction of a form, its operands still views."""

    spec: InstructionSpec
    operands: tuple[View | None, ...]
    fields: tuple[object, ...]

    def accesses(self) -> list[tuple[Role, View]]:
        """Every view with what is done to it."""
        return [(o.role, v) for o, v in zip(self.spec.operands, self.operands, strict=True) if v]

    def instruction(self, engine: Engine, location: int) -> Instruction:
        resolved = tuple(v.resolve() if v is not None else None for v in self.operands)
        return Instruction(self.spec, engine, resolved, self.fields, location=location)


@dataclass(slots=True)
class Form:
    """One way to do a tile operation: on which engine, by which instructions in a row."""

    engine: Engine
    steps: tuple[Step, ...]


@dataclass(eq=False, slots=True)
class TileOp:
    """A unit of scheduling. All forms read and write the same views."""

    forms: tuple[Form, ...]
    location: int = 0

    @property
    def form(self) -> Form:
        return self.forms[0]

    def accesses(self) -> list[tuple[Role, View]]:
        return [access for step in self.forms[0].steps for access in step.accesses()]


ITERATION_REGISTER = 8
"""Register of every engine that holds, within a repeat, the distance of this iteration's device
tensors from those of the first, in units of 2^ITERATION_SHIFT bytes. Lower registers are free
within an operation."""

ITERATION_SHIFT = 6


@dataclass(frozen=True)
class Repeat:
    """Operations [first, end) run `count` times."""

    first: int
    end: int
    count: int
    stride: int = 0
    """Bytes from the device tensors of one iteration to those of the next, set by `allocate`."""


@dataclass
class TileProgram:
    """Buffers and operations in a legal sequential order, and the table of source locations."""

    target: Target
    buffers: list[Buffer] = field(default_factory=list)
    ops: list[TileOp] = field(default_factory=list)
    locations: list[SourceLocation] = field(default_factory=lambda: [SourceLocation()])
    repeats: list[Repeat] = field(default_factory=list)
    """Ascending, none within another."""
    notes: list[str] = field(default_factory=list)
    cores: int = 1
    """How many run it."""
    groups: list[Groups] = field(default_factory=list)
    """The table that collectives refer to."""
    branches_alike: bool = False
    """All cores take the same branches wherever there are collectives on the way."""
    control: View | None = None
    """Of a block between which the sequencers branch: the number (i32) that they branch by."""
    _location_index: dict[SourceLocation, int] = field(
        default_factory=lambda: {SourceLocation(): 0}
    )

    def location(self, source: SourceLocation) -> int:
        """Index of `source` in the location table."""
        index = self._location_index.setdefault(source, len(self.locations))
        if index == len(self.locations):
            self.locations.append(source)
        return index

    def segments(self) -> list[Repeat]:
        """The operations as pieces that run one after another; what is not repeated runs once."""
        pieces, position = [], 0
        for repeat in self.repeats:
            if position < repeat.first:
                pieces.append(Repeat(position, repeat.first, 1))
            pieces.append(repeat)
            position = repeat.end
        if position < len(self.ops) or not pieces:
            pieces.append(Repeat(position, len(self.ops), 1))
        return pieces

    def with_groups(self, groups: Sequence[Sequence[TileOp]]) -> TileProgram:
        """The program with some operations in the place of each one; repeats keep theirs."""
        starts = [0, *itertools.accumulate(map(len, groups))]
        repeats = [replace(r, first=starts[r.first], end=starts[r.end]) for r in self.repeats]
        return replace(self, ops=[op for group in groups for op in group], repeats=repeats)

    def part(self, piece: Repeat) -> TileProgram:
        """The program with the operations of one segment only; all else is shared."""
        return replace(self, ops=self.ops[piece.first : piece.end], repeats=[])

    def iterated(self, repeat: Repeat) -> list[Buffer]:
        """Buffers of a repeat that are other tensors in every iteration, by first use."""
        ops = self.ops[repeat.first : repeat.end]
        used = dict.fromkeys(view.buffer for op in ops for _, view in op.accesses())
        return [buffer for buffer in used if buffer.each]

    def tensors(self) -> tuple[HbmTensor, ...]:
        """Every device tensor, those of all iterations too."""
        found: list[HbmTensor] = []
        for buffer in self.buffers:
            if buffer.tensor is not None:
                found += buffer.each or (buffer.tensor,)
        return tuple(found)


def mapped_views(op: TileOp, change: Callable[[View], View]) -> TileOp:
    """The operation with every view replaced by `change(view)`."""
    forms = tuple(
        Form(form.engine, tuple(_mapped_step(step, change) for step in form.steps))
        for form in op.forms
    )
    return TileOp(forms, op.location)


def _mapped_step(step: Step, change: Callable[[View], View]) -> Step:
    views = tuple(None if v is None else change(v) for v in step.operands)
    return replace(step, operands=views)


MAX_TILE_STRIDE = 2**15 - 1
"""Elements from one step of an on-chip loop to the next (machine.md#operands)."""

MAX_BLOCK_BYTES = 32 * 1024
"""Bytes per partition of one column block over all row tiles: a sixth of SBUF, so that blocks can
be fetched ahead."""
