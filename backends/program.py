"""A compiled program in memory: packed streams, device-memory map, and where every instruction came
from.

`compiler/program/package.py` writes it to a file and reads it back; the executor runs it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from axonc.backends.isa.access_pattern import Dims, element_count
from axonc.backends.isa.collective_groups import Groups
from axonc.backends.numerics.dtypes import DType
from axonc.backends.numerics.strided import as_strided
from axonc.backends.targets.target import Engine
from axonc.diagnostics import SourceLocation

SPILL_PREFIX = "spill:"
"""Names of the SCRATCH tensors that hold spilled buffers begin with this."""


class TensorKind(enum.Enum):
    """What a device-memory tensor is for."""

    INPUT = "input"  # written by the host before each run
    OUTPUT = "output"  # read by the host after each run
    WEIGHT = "weight"  # written once, when the program is loaded
    CONSTANT = "constant"  # like a weight; its bytes are part of the program
    SCRATCH = "scratch"
    RANK = "rank"  # one u32: the number of the core, written when the program is loaded


@dataclass(frozen=True)
class Packing:
    """How a weight lies in device memory, so that every DMA row is long (docs/design/0003).

    The source array, row-major, is read through a strided pattern as a matrix: `row_dims` (the axes
    that go to partitions) and `column_dims`, each ((stride, size), ...) in elements. It is cast to
    the tensor's dtype and stored as [column block, partition, row tile, column within block]; rows
    and columns are padded with zeros."""

    row_dims: Dims
    column_dims: Dims
    offset: int
    partition_tile: int
    column_block: int

    @property
    def rows(self) -> int:
        return element_count(self.row_dims)

    @property
    def columns(self) -> int:
        return element_count(self.column_dims)

    @property
    def row_tiles(self) -> int:
        return -(-self.rows // self.partition_tile)

    @property
    def column_blocks(self) -> int:
        return -(-self.columns // self.column_block)

    @property
    def packed_shape(self) -> tuple[int, int, int, int]:
        return (self.column_blocks, self.partition_tile, self.row_tiles, self.column_block)

    def apply(self, source: np.ndarray, dtype: DType) -> np.ndarray:
        """The packed array (shape `packed_shape`) of `source`."""
        flat = np.ascontiguousarray(source).reshape(-1)[self.offset :]
        dims = self.row_dims + self.column_dims
        strides = tuple(stride * source.itemsize for stride, _ in dims)
        matrix = as_strided(flat, tuple(size for _, size in dims), strides)
        padded = np.zeros(
            (self.row_tiles * self.partition_tile, self.column_blocks * self.column_block),
            dtype.numpy,
        )
        padded[: self.rows, : self.columns] = matrix.reshape(self.rows, self.columns)
        blocks = padded.reshape(
            self.row_tiles, self.partition_tile, self.column_blocks, self.column_block
        )
        return np.ascontiguousarray(blocks.transpose(2, 1, 0, 3))


@dataclass(frozen=True)
class HbmTensor:
    """A tensor in device memory: row-major at `address`, or packed when `packing` is set."""

    name: str
    """The name of the argument, result or weight."""
    kind: TensorKind
    address: int
    shape: tuple[int, ...]
    dtype: DType
    host_dtype: str
    """The program's element type as MLIR spells it (`i1` and `i64` differ from what the machine
    stores)."""
    packing: Packing | None = None
    data: bytes | None = None
    """Bytes of a CONSTANT."""
    source: str = ""
    """Name of the argument a WEIGHT is made from (several tensors may pack the same one)."""
    alias: str = ""
    """Name of the INPUT whose memory an OUTPUT has taken over: the program has updated it in
    place."""

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return self.packing.packed_shape if self.packing else self.shape

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.stored_shape, dtype=np.int64)) * self.dtype.size_bytes


@dataclass
class Program:
    """The encoded program of one core, or of several that run the same."""

    target: str
    streams: dict[Engine, bytes]
    """Encoded instructions per engine."""
    tensors: tuple[HbmTensor, ...]
    locations: tuple[SourceLocation, ...] = (SourceLocation(),)
    instruction_locations: dict[Engine, np.ndarray] = field(default_factory=dict)
    """By engine, for the i-th instruction of its stream, an index into `locations`; the first of
    these is the unknown one."""
    sbuf_peak_bytes: int = 0
    """Per partition."""
    notes: tuple[str, ...] = ()
    cores: int = 1
    """How many run these streams, each on its own tensors (SPMD)."""
    groups: tuple[Groups, ...] = ()
    """What the `group` of a collective refers to."""

    def tensor(self, name: str) -> HbmTensor:
        return next(t for t in self.tensors if t.name == name)


@dataclass(frozen=True)
class CoreProgram:
    """What every core of a machine runs."""

    programs: tuple[Program, ...]
    """The different ones; all have the same target and the same table of groups."""
    program_of: tuple[int, ...]
    """Per core, an index into `programs`."""

    @staticmethod
    def of(program: Program) -> CoreProgram:
        """One program on all of its cores (SPMD)."""
        return CoreProgram((program,), (0,) * program.cores)

    @property
    def cores(self) -> int:
        return len(self.program_of)

    @property
    def groups(self) -> tuple[Groups, ...]:
        return self.programs[0].groups

    @property
    def is_spmd(self) -> bool:
        return len(set(self.program_of)) == 1

    def program(self, core: int) -> Program:
        return self.programs[self.program_of[core]]
