"""Hand-made programs for the tests of the executor: a few lines instead of a compiler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from axonc.backends.encoding import encode_stream
from axonc.backends.isa import instruction
from axonc.backends.isa.access_pattern import Access, Dims, HbmAccess, Memory, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.program import HbmTensor, Program, TensorKind
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine
from axonc.diagnostics import SourceLocation

TARGET = TARGETS["inf2"]
ENGINE_SEMAPHORE = {engine: number for number, engine in enumerate(Engine)}


def queue_semaphore(queue: int) -> int:
    return len(ENGINE_SEMAPHORE) + queue


def tile(
    memory: Memory,
    offset: int,
    *sizes: int,
    partitions: int = 128,
    start: int = 0,
    dtype: DType = F32,
    dims: Dims | None = None,
    register: int = -1,
) -> TileAccess:
    """A tile with row-major free dims of `sizes`, unless `dims` says otherwise."""
    if dims is None:
        dims = row_major(sizes)
    return TileAccess(memory, dtype, start, partitions, offset, dims, register)


def sbuf(offset: int, *sizes: int, **named: object) -> TileAccess:
    return tile(Memory.SBUF, offset, *sizes, **named)  # type: ignore[arg-type]


def psum(offset: int, *sizes: int, **named: object) -> TileAccess:
    return tile(Memory.PSUM, offset, *sizes, **named)  # type: ignore[arg-type]


def row_major(sizes: Sequence[int]) -> Dims:
    strides = [int(np.prod(sizes[i + 1 :], dtype=np.int64)) for i in range(len(sizes))]
    return tuple(zip(strides, sizes, strict=True))


class ProgramMaker:
    """Collects instructions and tensors; counts the signals of every engine and queue."""

    def __init__(self, target: str = "inf2") -> None:
        self.target = target
        self.streams: dict[Engine, list[Instruction]] = defaultdict(list)
        self.tensors: list[HbmTensor] = []
        self.locations = [SourceLocation()]
        self.counts: dict[int, int] = defaultdict(int)
        self._address = 4096

    def tensor(
        self,
        name: str,
        kind: TensorKind,
        *shape: int,
        dtype: DType = F32,
        data: bytes | None = None,
    ) -> HbmTensor:
        made = HbmTensor(name, kind, self._address, shape, dtype, dtype.name, data=data)
        self._address += -(-made.size_bytes // 64) * 64
        self.tensors.append(made)
        return made

    @staticmethod
    def whole(tensor: HbmTensor) -> HbmAccess:
        return HbmAccess(tensor.dtype, tensor.address, row_major(tensor.shape))

    def add(
        self,
        mnemonic: str,
        engine: Engine,
        operands: Mapping[str, Access | None] | None = None,
        fields: Mapping[str, object] | None = None,
        *,
        waits: Sequence[tuple[int, int]] = (),
        signal: bool = False,
        line: int = 0,
    ) -> tuple[int, int]:
        """Append an instruction; the answer is what a consumer waits for if `signal`."""
        location = 0
        if line:
            location = len(self.locations)
            self.locations.append(SourceLocation(f"op{line}", "model.py", line, 1))
        queue = (fields or {}).get("queue", 0) if mnemonic == "dma_copy" else None
        semaphore = ENGINE_SEMAPHORE[engine] if queue is None else queue_semaphore(int(queue))
        step = 1 if queue is None else TARGET.dma.semaphore_increment
        posted = (semaphore, step) if signal else None
        made = instruction(
            mnemonic, engine, operands, fields, waits=waits, signal=posted, location=location
        )
        self.streams[engine].append(made)
        if signal:
            self.counts[semaphore] += step
        return semaphore, self.counts[semaphore]

    def load(self, destination: Access, tensor: HbmTensor, **named: object) -> tuple[int, int]:
        """Copy a whole tensor to a tile; signals."""
        return self.copy(destination, self.whole(tensor), **named)

    def store(self, tensor: HbmTensor, source: Access, **named: object) -> tuple[int, int]:
        return self.copy(self.whole(tensor), source, **named)

    def copy(
        self,
        destination: Access,
        source: Access,
        *,
        queue: int = 0,
        engine: Engine = Engine.SYNC,
        waits: Sequence[tuple[int, int]] = (),
        signal: bool = True,
        line: int = 0,
    ) -> tuple[int, int]:
        operands = {"dst": destination, "src": source}
        fields = {"queue": queue}
        return self.add("dma_copy", engine, operands, fields, waits=waits, signal=signal, line=line)

    def program(self) -> Program:
        return Program(
            target=self.target,
            streams={engine: encode_stream(stream) for engine, stream in self.streams.items()},
            tensors=tuple(self.tensors),
            locations=tuple(self.locations),
            instruction_locations={
                engine: np.array([i.location for i in stream], np.int64)
                for engine, stream in self.streams.items()
            },
        )
