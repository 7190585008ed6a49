"""Builds a tile program op by op: what the compiler's tiling emits through, and what a person uses
to write a kernel by hand (`axonc.kernel`).

    k = KernelBuilder(INF2)
    x = k.input("x", (128, 512), F32)
    tile = k.sbuf((128, 512), F32)
    k.dma(tile, x)
    k.emit("activation", dst=tile, src=tile, bias=k.zero_bias(), func="exp")
    k.dma(k.output("y", (128, 512), F32), tile)

Buffers, engines, addresses and semaphores are the business of the passes that follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.access_pattern import Dims, Memory
from axonc.backends.isa.dma import is_transfer
from axonc.backends.isa.spec import InstructionSpec
from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import Groups, HbmTensor, Packing, TensorKind
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import SourceLocation, UnsupportedOpError, VerifyError, nearest
from axonc.dialects.ntile.program import (
    Buffer,
    Form,
    Pool,
    Repeat,
    Step,
    TileOp,
    TileProgram,
    View,
)

MLIR_NAME = {"u32": "ui32", "u16": "ui16", "u8": "ui8"}


def row_major(sizes: tuple[int, ...]) -> Dims:
    """((stride, size), ...) of a contiguous block; at least one dimension."""
    dims, stride = [], 1
    for size in reversed(sizes):
        dims.append((stride, size))
        stride *= size
    return tuple(reversed(dims)) or ((1, 1),)


def step(mnemonic: str, **arguments: object) -> Step:
    """One instruction from keyword arguments, matched by name to the operands and fields of its
    entry."""
    if mnemonic not in INSTRUCTIONS:
        known = [spec.mnemonic for spec in INSTRUCTIONS]
        raise VerifyError(f"no instruction '{mnemonic}'", hint=nearest(mnemonic, known))
    spec = INSTRUCTIONS[mnemonic]
    unknown = arguments.keys() - spec.operand_index.keys() - spec.field_index.keys()
    if unknown:
        known = [*spec.operand_index, *spec.field_index]
        raise VerifyError(
            f"{mnemonic} has no operand or field '{min(unknown)}'",
            op=mnemonic,
            hint=nearest(min(unknown), known) or f"it has {', '.join(known)}",
        )
    return Step(spec, _operands(spec, arguments), _fields(spec, arguments))


def _operands(spec: InstructionSpec, arguments: dict[str, object]) -> tuple[View | None, ...]:
    views: list[View | None] = []
    for operand in spec.operands:
        view = arguments.get(operand.name)
        if view is None and not operand.optional:
            raise VerifyError(f"operand '{operand.name}' is missing", op=spec.mnemonic)
        if view is not None and not isinstance(view, View):
            found = type(view).__name__
            raise VerifyError(
                f"operand '{operand.name}' is a {found}, not a view", op=spec.mnemonic
            )
        views.append(view)
    return tuple(views)


def _fields(spec: InstructionSpec, arguments: dict[str, object]) -> tuple[object, ...]:
    return tuple(arguments.get(field.name, field.default) for field in spec.fields)


def _trigger(made: Step, engine: Engine | None, arguments: dict[str, object]) -> Engine:
    """SyncE triggers streamed weights, GpSimdE (which has least to do) all other transfers: a
    transfer that waits for its buffer must not hold up the weights behind it. Queues count in the
    order of one engine's triggers; `schedule` assigns them."""
    streamed = any(v is not None and v.buffer.pool is Pool.STREAM for v in made.operands)
    chosen = Engine.SYNC if streamed else Engine.GPSIMD
    if engine not in (None, chosen):
        raise VerifyError(
            f"triggered by {engine}, not by the {chosen.value} engine", op=made.spec.mnemonic
        )
    if "queue" in arguments:
        raise VerifyError("the queue is chosen by the schedule pass", op=made.spec.mnemonic)
    return chosen


class KernelBuilder:
    """Appends buffers and tile operations to `self.program`."""

    def __init__(self, target: Target, *, exact_transposes: bool = False) -> None:
        self.target = target
        self.exact_transposes = exact_transposes
        self.program = TileProgram(target)
        self._location = 0
        self._names: dict[str, int] = {}
        self._tensors: set[str] = set()
        self._constants: dict[tuple[object, ...], View] = {}
        self._setup: set[TileOp] = set()
        self._is_repeating = False

    # ---- memory -----------------------------------------------------------------------------

    def sbuf(
        self, shape: tuple[int, ...], dtype: DType, name: str = "tile", pool: Pool = Pool.WORK
    ) -> View:
        """A new SBUF buffer: shape[0] partitions x row-major free dims."""
        return self._on_chip(Memory.SBUF, shape, dtype, name, pool)

    def psum(self, shape: tuple[int, ...], dtype: DType, name: str = "psum") -> View:
        """A new PSUM buffer of whole banks."""
        return self._on_chip(Memory.PSUM, shape, dtype, name, Pool.WORK)

    def _on_chip(
        self, memory: Memory, shape: tuple[int, ...], dtype: DType, name: str, pool: Pool
    ) -> View:
        if not 1 <= shape[0] <= self.target.partitions:
            raise VerifyError(f"{shape[0]} partitions; a tile has 1 to {self.target.partitions}")
        size = math.prod(shape[1:]) * dtype.size_bytes
        buffer = Buffer(self._unique(name), memory, shape[0], size, pool)
        self.program.buffers.append(buffer)
        return View(buffer, dtype, 0, shape[0], 0, row_major(shape[1:]))

    def hbm(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DType,
        kind: TensorKind,
        *,
        host_dtype: str = "",
        packing: Packing | None = None,
        data: bytes | None = None,
        source: str = "",
        alias: str = "",
        each: Sequence[str] = (),
    ) -> View:
        """A new device-memory tensor. Its view is row-major, of the stored shape if packed.

        each: within a repeat, the names (of weights: sources) of the tensors that the iterations
        access, one each."""
        host = host_dtype or MLIR_NAME.get(dtype.name, dtype.name)
        unique = name if kind in (TensorKind.INPUT, TensorKind.OUTPUT) else self._unique(name)
        if unique in self._tensors:
            raise VerifyError(f"two device tensors are called '{name}'")
        self._tensors.add(unique)
        tensor = HbmTensor(
            unique, kind, -1, shape, dtype, host, packing, data, source or name, alias
        )
        buffer = Buffer(unique, Memory.HBM, 0, tensor.size_bytes, tensor=tensor)
        buffer.each = self._each(tensor, each)
        self.program.buffers.append(buffer)
        return View(buffer, dtype, 0, 0, 0, row_major(tensor.stored_shape))

    def _each(self, first: HbmTensor, names: Sequence[str]) -> tuple[HbmTensor, ...]:
        """The tensors of all iterations."""
        if not names:
            return ()
        is_named = first.kind in (TensorKind.INPUT, TensorKind.OUTPUT)
        how = first.name.removeprefix(first.source)  # such as ":packed"
        others = []
        for name in names[1:]:
            unique = name if is_named else self._unique(f"{name}{how}")
            self._tensors.add(unique)
            others.append(replace(first, name=unique, source=name))
        return (first, *others)

    def input(
        self, name: str, shape: tuple[int, ...], dtype: DType, each: Sequence[str] = ()
    ) -> View:
        """A program input in device memory; each: as many, one for each iteration of a repeat."""
        return self.hbm(name, shape, dtype, TensorKind.INPUT, each=each)

    def output(
        self, name: str, shape: tuple[int, ...], dtype: DType, each: Sequence[str] = ()
    ) -> View:
        """A program output in device memory; each: as for inputs."""
        return self.hbm(name, shape, dtype, TensorKind.OUTPUT, each=each)

    def constant(self, array: np.ndarray, dtype: DType, name: str = "constant") -> View:
        """A small tensor whose bytes are part of the program, loaded to SBUF once.

        array: [partitions, ...]. Returns the SBUF view.
        """
        data = np.ascontiguousarray(array.astype(dtype.numpy)).tobytes()
        key = (array.shape, dtype.name, data)
        if key not in self._constants:
            hbm = self.hbm(name, array.shape, dtype, TensorKind.CONSTANT, data=data)
            tile = self.sbuf(array.shape, dtype, name, Pool.RESIDENT)
            self.dma(tile, hbm)
            self._keep(key, tile)
        return self._constants[key]

    def fill(self, value: float, dtype: DType) -> View:
        """[partitions, 1] tile holding `value` in every partition; made once per program."""
        key = ("fill", float(value).hex(), dtype.name)
        if key not in self._constants:
            tile = self.sbuf((self.target.partitions, 1), dtype, "fill", Pool.RESIDENT)
            self.memset(tile, value)
            self._keep(key, tile)
        return self._constants[key]

    def ones_row(self, dtype: DType) -> View:
        """[1, partitions] of ones: as stationary matrix it repeats a row over all partitions."""
        key = ("ones", dtype.name)
        if key not in self._constants:
            tile = self.sbuf((1, self.target.partitions), dtype, "ones", Pool.RESIDENT)
            self.memset(tile, 1.0)
            self._keep(key, tile)
        return self._constants[key]

    def identity(self, dtype: DType) -> View:
        """The unit matrix on all partitions, for PE transposes."""
        return self.constant(np.eye(self.target.partitions), dtype, "identity")

    def _keep(self, key: tuple[object, ...], tile: View) -> None:
        """The last operation has made a constant of the whole program."""
        self._constants[key] = tile
        self._setup.add(self.program.ops[-1])

    def _unique(self, name: str) -> str:
        """`name`, with a number where it is taken, by a program's input, too."""
        count = self._names.get(name, 0)
        while (unique := f"{name}.{count}" if count else name) in self._tensors:
            count += 1
        self._names[name] = count + 1
        return unique

    # ---- operations -------------------------------------------------------------------------

    @contextmanager
    def at(self, source: SourceLocation) -> Iterator[None]:
        """Operations emitted inside come from `source`."""
        saved, self._location = self._location, self.program.location(source)
        yield
        self._location = saved

    @contextmanager
    def repeat(self, count: int) -> Iterator[None]:
        """Operations emitted inside run `count` times, as a loop in the streams: buffers made
        outside keep their contents from one iteration to the next, device tensors made with `each`
        are other ones every time. Constants are made once, before."""
        if count < 1 or self._is_repeating:
            raise VerifyError("a repeat runs once or more, and is not within another")
        ops, first = self.program.ops, len(self.program.ops)
        self._is_repeating = True
        yield
        self._is_repeating = False
        setup = [op for op in ops[first:] if op in self._setup]
        ops[first:] = [*setup, *(op for op in ops[first:] if op not in self._setup)]
        first += len(setup)
        if first < len(ops):
            self.program.repeats.append(Repeat(first, len(ops), count))

    def append(self, *forms: Form) -> None:
        """One operation with one or more equivalent forms, the preferred one first."""
        self.program.ops.append(TileOp(forms, self._location))

    def emit(self, mnemonic: str, engine: Engine | None = None, **arguments: object) -> None:
        """One instruction; `engine` defaults to the first of the entry's engines."""
        made = step(mnemonic, **arguments)
        if is_transfer(made):
            engine = _trigger(made, engine, arguments)
        self.append(Form(engine or made.spec.engines[0], (made,)))

    def dma(self, dst: View, src: View, **fields: object) -> None:
        """A DMA transfer; it casts when the element types differ."""
        self.emit("dma_copy", None, dst=dst, src=src, **fields)

    def memset(self, dst: View, value: float) -> None:
        """Fills dst with `value` (rounded to its dtype)."""
        pattern = np.array(value).astype(dst.dtype.numpy).tobytes()
        bits = int.from_bytes(pattern, "little")
        made = step("memset", dst=dst, value_bits=bits)
        self.append(Form(Engine.GPSIMD, (made,)), Form(Engine.VECTOR, (made,)))

    def matmul(
        self,
        dst: View,
        stationary: View,
        moving: View,
        *,
        accumulate: bool,
        transpose: bool = False,
    ) -> None:
        """dst (PSUM, [M, N]) = or += stationary[K, M].T @ moving[K, N]."""
        load = step("load_stationary", stationary=stationary)
        multiply = step(
            "multiply_moving",
            dst=dst,
            moving=moving,
            accumulate=accumulate,
            is_transpose=transpose,
        )
        self.append(Form(Engine.TENSOR, (load, multiply)))

    def copy(self, dst: View, src: View) -> None:
        """Copy or cast, on ScalarE or VectorE, whichever has less to do. 32-bit integers do not
        survive ScalarE's float32 path, so they stay on VectorE (machine.md#arithmetic)."""
        vector = Form(Engine.VECTOR, (step("tensor_copy", dst=dst, src=src),))
        if src.dtype.is_float and dst.dtype.is_float:
            self.append(Form(Engine.SCALAR, (self._activation_copy(dst, src),)), vector)
        else:
            self.append(vector)

    @staticmethod
    def _activation_copy(dst: View, src: View) -> Step:
        return step("activation", dst=dst, src=src, func="copy", scale=1.0)

    def replica_groups(self, groups: Groups) -> int:
        """The number of a list of groups in the program's table; each has a semaphore.

        Raises: UnsupportedOpError when there are more than semaphores.
        """
        table = self.program.groups
        if groups not in table:
            if len(table) == self.target.collective_semaphores:
                raise UnsupportedOpError(
                    f"more than {len(table)} different lists of replica groups",
                    hint="use fewer mesh axes",
                )
            table.append(groups)
        return table.index(groups)

    def packed_weight(self, buffer: Buffer, packing: Packing, dtype: DType) -> View:
        """The weight behind a device buffer, packed; one device tensor per way of packing it."""
        tensor = buffer.tensor
        assert tensor is not None, "weights lie in device memory"
        each = tuple(other.source for other in buffer.each)
        key = ("packed", tensor.source, each, packing, dtype.name)
        if key not in self._constants:
            self._constants[key] = self.hbm(
                f"{tensor.source}:packed",
                tensor.shape,
                dtype,
                TensorKind.WEIGHT,
                host_dtype=tensor.host_dtype,
                packing=packing,
                source=tensor.source,
                each=each,
            )
        return self._constants[key]
