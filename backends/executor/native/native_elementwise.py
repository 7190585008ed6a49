"""Elementwise instructions on large tiles as calls of native code (`elementwise_code`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.elementwise_code import Expression, Kernel, elementwise_module
from axonc.backends.executor.native.native_code import NativeModule, Task, native_module
from axonc.backends.executor.native.native_pool import PreparedJob, shared_pool
from axonc.backends.executor.semantics.alu import UNARY
from axonc.backends.executor.semantics.registry import ByMnemonic
from axonc.backends.executor.steps.prepared import region_of, regions_overlap
from axonc.backends.isa.access_pattern import Dims, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.dtypes import F32

Closure = Callable[[], None]

MIN_ELEMENTS = 4096
"""Smaller tiles take numpy no longer than a call takes."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an instruction computes."""

    expression: Expression
    sources: tuple[str, ...]
    """Names of operands."""
    scalars: tuple[str | float, ...] = ()
    """Names of operands, or immediates."""


Fields = Mapping[str, Any]
Operands = Mapping[str, TileAccess]
MEANINGS = ByMnemonic[Callable[[Fields, Operands], Meaning | None]]("native meaning")

SPLIT_ELEMENTS = 1 << 15
"""From here on (some 0.02 ms) half a tile for each of two threads is worth handing over."""


def bind_elementwise(
    instruction: Instruction, memory: MemorySystem, threads: int = 1
) -> Closure | None:
    """The closure of an elementwise instruction; None if native code does not know it or it is not
    worth it. Raises: Violation if an operand leaves its memory."""
    maker = MEANINGS.get(instruction.spec.mnemonic)
    operands = operands_by_name(instruction)
    target = operands.get("dst")
    if maker is None or target is None or np.prod(target.shape) < MIN_ELEMENTS:
        return None
    meaning = maker(instruction.values(), operands)
    kernel = _kernel(meaning, operands) if meaning is not None else None
    if meaning is None or kernel is None or not _is_independent(meaning, operands):
        return None
    loops = _common_loops([operands[name].dims for name in (*meaning.sources, "dst")])
    if loops is None:
        return None
    words = _words(meaning, operands, loops, memory)
    size = target.num_partitions * target.elements_per_partition
    parts = min(threads, target.num_partitions) if size >= SPLIT_ELEMENTS else 1
    if parts == 1:
        return words.task(range(target.num_partitions)).call(_module(kernel).function("kernel"))
    address = _module(kernel).address("kernel")
    limits = [target.num_partitions * n // parts for n in range(parts + 1)]
    tasks = [words.task(range(a, b)) for a, b in pairwise(limits)]
    return PreparedJob(shared_pool(parts), [(address, task) for task in tasks]).run


def operands_by_name(instruction: Instruction) -> dict[str, TileAccess]:
    """On-chip operands by name."""
    named = zip(instruction.spec.operands, instruction.operands, strict=True)
    return {spec.name: a for spec, a in named if isinstance(a, TileAccess)}


def _kernel(meaning: Meaning, operands: Operands) -> Kernel | None:
    """None if some type or operation is not known to native code."""
    tiles = [s for s in meaning.scalars if isinstance(s, str)] + ["accumulate"]
    if any(operands[s].dtype is not F32 for s in tiles if s in operands):
        return None
    kernel = Kernel(
        meaning.expression,
        tuple(_source_kind(operands[name]) for name in meaning.sources),
        operands["dst"].dtype.name,
        tuple("tile" if isinstance(s, str) else "immediate" for s in meaning.scalars),
        "accumulate" in operands,
    )
    return kernel if kernel.is_known else None


def _source_kind(tile: TileAccess) -> str:
    name = tile.dtype.name
    return f"{name} each" if merged(tile.dims)[-1][0] == 0 else name


def _is_independent(meaning: Meaning, operands: Operands) -> bool:
    """Whether what is written is not read again: a source may be the destination itself."""
    target = operands["dst"]
    written = [region_of(operands[name]) for name in ("dst", "accumulate") if name in operands]
    read = [operands[name] for name in meaning.sources if operands[name] != target]
    read += [operands[s] for s in meaning.scalars if isinstance(s, str)]
    if any(regions_overlap(region_of(tile), region) for tile in read for region in written):
        return False
    return len(written) < 2 or not regions_overlap(*written)


@dataclass(frozen=True, slots=True)
class Loops:
    """outer x inner elements per partition; strides of the outer loop in elements per tile. In
    the inner loop elements are neighbours, or all the same one (not in the last tile)."""

    outer: int
    inner: int
    strides: tuple[int, ...]


def _common_loops(patterns: Sequence[Dims]) -> Loops | None:
    """One or two loops that visit the elements of all patterns in their order, if there are any."""
    shapes = [merged(dims) for dims in patterns]
    if any(len(dims) > 2 or dims[-1][0] not in (0, 1) for dims in shapes) or not shapes[-1][-1][0]:
        return None
    inner = min(dims[-1][1] for dims in shapes)
    total = {int(np.prod([size for _, size in dims])) for dims in shapes}
    if len(total) > 1 or any(len(dims) == 2 and dims[-1][1] != inner for dims in shapes):
        return None
    strides = tuple(dims[0][0] if len(dims) == 2 else inner * dims[0][0] for dims in shapes)
    return Loops(total.pop() // inner, inner, strides)


def merged(dims: Dims) -> list[tuple[int, int]]:
    """The pattern with as few dims as possible; at least one."""
    result: list[tuple[int, int]] = []
    for stride, size in dims:
        if size == 1:
            continue
        if result and result[-1][0] == stride * size:
            result[-1] = (stride, result[-1][1] * size)
        else:
            result.append((stride, size))
    return result or [(1, 1)]


@dataclass(frozen=True, slots=True)
class Words:
    """The task of a kernel for all rows; `task` makes that of some of them."""

    values: list[int]
    """Its words, in the order that elementwise_code.py describes."""
    row_strides: dict[int, int]
    """By place in `values` of an address, the bytes from row to row."""
    views: tuple[np.ndarray, ...]
    """The arrays whose addresses are in `values`; they have to outlive the task."""

    def task(self, rows: range) -> Task:
        """For some of the rows."""
        values = list(self.values)
        values[0] = len(rows)
        for place, stride in self.row_strides.items():
            values[place] += rows.start * stride
        return Task.of(values, self.views)


def _words(meaning: Meaning, operands: Operands, loops: Loops, memory: MemorySystem) -> Words:
    values = [operands["dst"].num_partitions, loops.outer, loops.inner]
    row_strides: dict[int, int] = {}
    views = []

    def add_tile(name: str) -> None:
        """Address and bytes from row to row."""
        view = memory.view(operands[name])
        views.append(view)
        row_strides[len(values)] = view.strides[0]
        values.extend((view.__array_interface__["data"][0], view.strides[0]))

    for name, stride in zip((*meaning.sources, "dst"), loops.strides, strict=True):
        add_tile(name)
        values.append(stride * operands[name].dtype.size_bytes)
    for scalar in meaning.scalars:
        if isinstance(scalar, str):
            add_tile(scalar)
        else:
            values.extend((_bits(scalar), 0))
    if "accumulate" in operands:
        add_tile("accumulate")
    return Words(values, row_strides, tuple(views))


def _bits(number: float) -> int:
    return int(np.float32(number).view(np.uint32))


@cache
def _module(kernel: Kernel) -> NativeModule:
    return native_module(elementwise_module(kernel))


# ---- what instructions mean (semantics.elementwise, semantics.scalar, semantics.vector)


@MEANINGS.of("activation")
def _activation(fields: Fields, operands: Operands) -> Meaning | None:
    value: Expression = "r0"
    scalars: list[str | float] = []
    if "scale_tile" in operands or fields["scale"] != 1.0:
        scalars.append("scale_tile" if "scale_tile" in operands else fields["scale"])
        value = ("multiply", value, "s0")
    if "bias" in operands:
        value = ("add", value, f"s{len(scalars)}")
        scalars.append("bias")
    if fields["func"] != "copy":
        value = (fields["func"], value)
    return Meaning(value, ("src",), tuple(scalars))


@MEANINGS.of("tensor_tensor")
def _tensor_tensor(fields: Fields, operands: Operands) -> Meaning | None:
    return Meaning((fields["op"], "r0", "r1"), ("src0", "src1"))


@MEANINGS.of("tensor_scalar")
def _tensor_scalar(fields: Fields, operands: Operands) -> Meaning | None:
    value: Expression = "r0"
    scalars: list[str | float] = []
    for number in "01":
        op = fields["op" + number]
        if op == "bypass":
            continue
        value = _step(op, value, f"s{len(scalars)}", fields["reverse" + number])
        if op not in UNARY:
            name = "scalar" + number
            scalars.append(name if name in operands else fields["imm" + number])
    return Meaning(value, ("src",), tuple(scalars))


@MEANINGS.of("scalar_tensor_tensor")
def _scalar_tensor_tensor(fields: Fields, operands: Operands) -> Meaning | None:
    first = _step(fields["op0"], "r0", "s0", fields["reverse0"])
    value = _step(fields["op1"], first, "r1", fields["reverse1"])
    scalar = "scalar" if "scalar" in operands else fields["imm"]
    return Meaning(value, ("src0", "src1"), (scalar,))


@MEANINGS.of("tensor_copy")
def _tensor_copy(fields: Fields, operands: Operands) -> Meaning | None:
    return Meaning("r0", ("src",)) if operands["src"].dtype is F32 else None


def _step(op: str, value: Expression, operand: Expression, reverse: bool) -> Expression:
    if op in UNARY:
        return (op, value)
    return (op, operand, value) if reverse else (op, value, operand)
