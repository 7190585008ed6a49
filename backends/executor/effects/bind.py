"""Turn an instruction with static addresses into a closure that does its work on the memories.

Views of the operands are made once. The tensor engine and DMA addressing are here; what any other
instruction computes is in `semantics`. Closures for the most frequent instructions are in
`fast_paths`; they compute the same bits as the general one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from axonc.backends.executor.effects.fast_paths import direct_closure
from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.native_elementwise import bind_elementwise
from axonc.backends.executor.native.native_rows import bind_rows
from axonc.backends.executor.native.workers import Workers
from axonc.backends.executor.semantics import SEMANTICS, Context, EngineState
from axonc.backends.executor.semantics.registry import Inputs, Outputs
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.isa.access_pattern import Access, HbmAccess, TileAccess
from axonc.backends.isa.effects import READS_DESTINATION
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.sequencer import Registers
from axonc.backends.isa.spec import Role
from axonc.backends.numerics.cast import Rounding, from_float32, to_float32
from axonc.backends.numerics.dtypes import BF16, F16, F32, DType
from axonc.backends.numerics.strided import as_strided
from axonc.backends.targets.target import Engine, Target

Closure = Callable[[], None]


@dataclass(slots=True)
class SystolicArray:
    """The stationary matrix of the tensor engine, float32 [M, K] (transposed); at first None."""

    stationary: np.ndarray | None = None


@dataclass(slots=True)
class Bindings:
    """What closures share.

    report: told with a sentence that a result is garbage on hardware. allow_direct: use fast_paths.
    allow_native: use native code.
    scratch: float32 buffers by name and size, which any closure may use while it runs.
    workers: threads for large products.
    """

    target: Target
    memory: MemorySystem
    states: dict[Engine, EngineState]
    rounding: Rounding = "rne"
    report: Callable[[str], None] | None = None
    allow_direct: bool = True
    allow_native: bool = False
    array: SystolicArray = field(default_factory=SystolicArray)
    scratch: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True, slots=True)
class BoundOperand:
    """An operand: view is [partitions, *free sizes], or has the dims of a device-memory access."""

    name: str
    view: np.ndarray
    dtype: DType


def bind(instruction: Instruction, bindings: Bindings) -> Closure:
    """The closure of a data-path or DMA instruction. Raises: Violation (range, read-only)."""
    special = _BINDERS.get(instruction.spec.mnemonic)
    if special is not None:
        return special(instruction, bindings)
    native = None
    if bindings.allow_native and bindings.rounding == "rne":
        memory = bindings.memory
        threads = bindings.workers.count
        native = bind_elementwise(instruction, memory, threads) or bind_rows(instruction, memory)
    return native or bind_general(instruction, bindings)


def bind_general(instruction: Instruction, bindings: Bindings) -> Closure:
    """Load operands, apply the semantics, store results."""
    reads, writes = bound_operands(instruction, bindings)
    return _closure(instruction, bindings, reads, writes)


def _closure(
    instruction: Instruction,
    bindings: Bindings,
    reads: list[BoundOperand],
    writes: list[BoundOperand],
) -> Closure:
    semantics = SEMANTICS[instruction.spec.mnemonic]
    context, fields = make_context(instruction, bindings), field_values(instruction)
    function = semantics.function
    if semantics.mode(fields, context) == "raw":
        return _raw_closure(lambda inputs: function(inputs, fields, context), reads, writes)
    views = {operand.name: operand.view for operand in (*reads, *writes)}
    dtypes = {operand.dtype.name for operand in (*reads, *writes)}
    direct = direct_closure(instruction.spec.mnemonic, views, fields, dtypes)
    if direct is not None and bindings.allow_direct:
        return direct
    stores = [(o.name, _store_float32(o, bindings.rounding, context.state)) for o in writes]
    sources = [(operand.name, operand.view, operand.dtype) for operand in reads]

    def run() -> None:
        inputs = {name: to_float32(view, dtype) for name, view, dtype in sources}
        results = function(inputs, fields, context)
        for name, store_result in stores:
            store_result(results[name])

    return run


def _raw_closure(
    function: Callable[[Inputs], Outputs], reads: list[BoundOperand], writes: list[BoundOperand]
) -> Closure:
    inputs = {operand.name: operand.view for operand in reads}

    def run() -> None:
        results = function(inputs)
        for operand in writes:
            store(operand.view, results[operand.name])

    return run


def _store_float32(
    operand: BoundOperand, rounding: Rounding, state: EngineState
) -> Callable[[np.ndarray], None]:
    """Stores a float32 result in `operand`; bf16 and f16 are cast while they are copied."""
    view, dtype = operand.view, operand.dtype
    if rounding == "rne" and dtype in (F32, BF16, F16):
        return partial(store, view)

    def cast_and_store(result: np.ndarray) -> None:
        store(view, from_float32(result, dtype, rounding=rounding, rng=state.rounding_rng))

    return cast_and_store


def store(view: np.ndarray, result: np.ndarray) -> None:
    """Write `result` (as many elements as the view, or a shape that broadcasts to it)."""
    if result.shape != view.shape and result.size == view.size:
        result = result.reshape(view.shape)
    np.copyto(view, result, casting="unsafe")


def field_values(instruction: Instruction) -> dict[str, Any]:
    names = (spec.name for spec in instruction.spec.fields)
    return dict(zip(names, instruction.fields, strict=True))


def present_operands(instruction: Instruction) -> list[tuple[str, Role, Access]]:
    """(name, role, access) of the operands that are there."""
    return [
        (spec.name, spec.role, access)
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None
    ]


def make_context(instruction: Instruction, bindings: Bindings) -> Context:
    present = present_operands(instruction)
    return Context(
        engine=instruction.engine,
        target=bindings.target,
        dtypes={name: access.dtype for name, _, access in present},
        shapes={name: access.shape for name, _, access in present},
        state=bindings.states[instruction.engine],
        rounding=bindings.rounding,
        report=bindings.report,
    )


def reads_destination(instruction: Instruction) -> bool:
    """Whether `dst` is read although its role is WRITE (accumulation)."""
    test = READS_DESTINATION.get(instruction.spec.mnemonic)
    return test is not None and test(instruction)


def bound_operands(
    instruction: Instruction, bindings: Bindings
) -> tuple[list[BoundOperand], list[BoundOperand]]:
    """(read, written) operands with their views."""
    also_dst = reads_destination(instruction)
    reads, writes = [], []
    for name, role, access in present_operands(instruction):
        operand = BoundOperand(name, bindings.memory.view(access), access.dtype)
        if role is not Role.WRITE or (also_dst and name == "dst"):
            reads.append(operand)
        if role is not Role.READ:
            check_writable(access, bindings.memory)
            writes.append(operand)
    return reads, writes


def check_writable(access: Access, memory: MemorySystem) -> None:
    """Raises: Violation if `access` is part of an input, a weight or a constant."""
    if isinstance(access, HbmAccess) and memory.is_read_only(access):
        tensor = memory.segment_at(access).tensor
        raise Violation(FindingKind.READ_ONLY, f"writes {tensor.kind.value} tensor {tensor.name}")


# ---- tensor engine


def free_flattened(view: np.ndarray) -> np.ndarray | None:
    """`view` [P, *free] as a [P, N] view, or None if its strides do not allow one."""
    flat = view.reshape(view.shape[0], -1)
    return flat if np.shares_memory(flat, view) else None


def bind_load_stationary(instruction: Instruction, bindings: Bindings) -> Closure:
    (operand,), _ = bound_operands(instruction, bindings)
    array, view, dtype = bindings.array, operand.view, operand.dtype
    rows = view.shape[0]

    def run() -> None:
        loaded = to_float32(view, dtype)
        if loaded is view:  # later writes to SBUF must not reach the array
            loaded = view.copy()
        array.stationary = loaded.reshape(rows, -1).T

    return run


def bind_multiply_moving(instruction: Instruction, bindings: Bindings) -> Closure:
    destination, moving = instruction.operand("dst"), instruction.operand("moving")
    assert destination is not None and moving is not None
    array, source = bindings.array, bindings.memory.view(moving)
    target, rows = bindings.memory.view(destination), source.shape[0]
    flat = free_flattened(target) if target.dtype == np.float32 else None
    accumulate = bool(instruction.field("accumulate"))
    columns = destination.shape[0]

    def product() -> tuple[np.ndarray, np.ndarray]:
        stationary = checked_stationary(array, rows, columns)
        return stationary, to_float32(source, moving.dtype).reshape(rows, -1)

    if instruction.field("is_transpose"):
        return _transpose(product, target, destination.dtype)

    def general() -> None:
        result = np.matmul(*product()).reshape(target.shape)
        if accumulate:
            result += to_float32(target, destination.dtype)
        target[...] = from_float32(result, destination.dtype)

    if flat is None:
        return general
    return _flat_product(flat, product, accumulate)


def _transpose(
    product: Callable[[], tuple[np.ndarray, np.ndarray]], target: np.ndarray, dtype: DType
) -> Closure:
    """A transpose by the unit matrix."""

    def transpose() -> None:
        stationary, streamed = product()
        check_finite(stationary)
        if np.array_equal(streamed, unit_matrix(stationary.shape[1])):
            result = stationary + _POSITIVE_ZERO  # what the product gives, zeros' signs included
        else:
            result = np.matmul(stationary, streamed)
        target[...] = from_float32(result.reshape(target.shape), dtype)

    return transpose


_POSITIVE_ZERO = np.float32(0)


def check_finite(stationary: np.ndarray) -> None:
    """Infinities and NaN times the zeros of a unit matrix would spoil their whole row
    (hardware.md 2.3): that is a finding in every mode, as nobody wants such a result.

    Raises: Violation.
    """
    if not np.isfinite(stationary).all():
        raise Violation(
            FindingKind.TRANSPOSE_RANGE,
            "transposes infinities or NaN on the tensor engine: NaN spreads over their row",
        )


@cache
def unit_matrix(size: int) -> np.ndarray:
    made = np.eye(size, dtype=np.float32)
    made.flags.writeable = False
    return made


def multiply_matrices(stationary: np.ndarray, moving: np.ndarray, out: np.ndarray) -> None:
    """[M, K] @ [K, N]. A single row and column are multiplied without BLAS, which is four times as
    slow there; it sums from +0, so that is added: no result is -0."""
    if stationary.shape[1] > 1:
        np.matmul(stationary, moving, out=out)
        return
    np.multiply(stationary, moving, out=out)
    np.add(out, _POSITIVE_ZERO, out=out)


def _flat_product(
    flat: np.ndarray, product: Callable[[], tuple[np.ndarray, np.ndarray]], accumulate: bool
) -> Closure:
    """Multiplication straight into `flat` [M, N] float32."""

    def overwrite() -> None:
        stationary, streamed = product()
        multiply_matrices(stationary, streamed, flat)

    def add() -> None:
        stationary, streamed = product()
        np.add(flat, np.matmul(stationary, streamed), out=flat)

    return add if accumulate else overwrite


def checked_stationary(array: SystolicArray, rows: int, columns: int) -> np.ndarray:
    """The loaded matrix [columns, rows]. Raises: Violation if none of that shape is loaded."""
    loaded = array.stationary
    if loaded is None or loaded.shape != (columns, rows):
        found = "nothing" if loaded is None else f"K={loaded.shape[1]}, M={loaded.shape[0]}"
        raise Violation(
            FindingKind.STATIONARY_MISSING,
            f"needs a stationary matrix of K={rows}, M={columns}; {found} is loaded",
        )
    return loaded


# ---- DMA


def bind_dma_copy(instruction: Instruction, bindings: Bindings) -> Closure:
    if instruction.field("indirect") != "none":
        return bind_indirect(instruction, bindings)
    reads, writes = bound_operands(instruction, bindings)
    return plain_copy(instruction, reads, writes) or _closure(instruction, bindings, reads, writes)


def plain_copy(
    instruction: Instruction, reads: list[BoundOperand], writes: list[BoundOperand]
) -> Closure | None:
    """A copy between equal types, as one strided copy of words; None if it is something else."""
    if instruction.field("op") != "copy" or reads[0].dtype is not writes[0].dtype:
        return None
    word = np.dtype(f"u{reads[0].dtype.size_bytes}")
    source, target = reads[0].view.view(word), writes[0].view.view(word)
    common = common_shape(source.shape, target.shape)
    if common is None:
        return lambda: np.copyto(target, source.reshape(target.shape))
    split_source, split_target = split_view(source, common), split_view(target, common)
    return lambda: np.copyto(split_target, split_source)


def common_shape(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    """The coarsest shape that both refine by splitting dims; None if there is none.

    (128, 512) and (128, 4, 128) give (128, 4, 128); (2, 3) and (3, 2) give None.
    """
    boundaries = sorted(set(_boundaries(first)) | set(_boundaries(second)))
    if any(b % a for a, b in zip(boundaries, boundaries[1:], strict=False)):
        return None
    return tuple(b // a for a, b in zip(boundaries, boundaries[1:], strict=False))[::-1]


def _boundaries(shape: tuple[int, ...]) -> list[int]:
    """Products of the trailing sizes, from 1 up to the number of elements."""
    products = [1]
    for size in reversed(shape):
        products.append(products[-1] * size)
    return products


def split_view(view: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`view` with its dims split so that it has `shape`; never a copy."""
    sizes, strides = list(reversed(shape)), []
    position = 0
    for size, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        covered = 1
        while covered < size:
            strides.append(stride * covered)
            covered *= sizes[position]
            position += 1
    return as_strided(view, shape, tuple(reversed(strides)))


def bind_indirect(instruction: Instruction, bindings: Bindings) -> Closure:
    """Gather or scatter: one table row per partition, by the values of `index`."""
    destination, source = instruction.operand("dst"), instruction.operand("src")
    index = instruction.operand("index")
    assert destination is not None and source is not None and isinstance(index, TileAccess)
    is_gather = instruction.field("indirect") == "gather"
    check_writable(destination, bindings.memory)
    view = bindings.memory.view
    table, rows = view(destination), view(source)
    if is_gather:
        table, rows = rows, table
    indices = view(index)
    skip = instruction.field("oob") == "skip"
    move = _gather if is_gather else _scatter
    step = _row_step(instruction, bindings)

    def run() -> None:
        numbers = indices.reshape(-1).astype(np.int64)
        valid = (numbers >= 0) & (numbers < table.shape[0])
        if not skip and not valid.all():
            wrong = int(np.argmin(valid))
            raise Violation(
                FindingKind.OUT_OF_RANGE,
                f"index[{wrong}] is {numbers[wrong]}; the table has {table.shape[0]} rows",
            )
        move(table, rows, numbers, np.flatnonzero(valid), step)

    return run


RowStep = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(source, old destination) [rows, elements] -> new destination rows; all in storage types."""


def _row_step(instruction: Instruction, bindings: Bindings) -> RowStep:
    semantics = SEMANTICS["dma_copy"]
    context, fields = make_context(instruction, bindings), field_values(instruction)
    source, destination = context.dtypes["src"], context.dtypes["dst"]
    is_raw = semantics.mode(fields, context) == "raw"
    rounding, rng = bindings.rounding, context.state.rounding_rng

    def step(rows: np.ndarray, old: np.ndarray) -> np.ndarray:
        if is_raw:
            return semantics.function({"src": rows}, fields, context)["dst"]
        inputs = {"src": to_float32(rows, source), "dst": to_float32(old, destination)}
        result = semantics.function(inputs, fields, context)["dst"]
        return from_float32(result, destination, rounding=rounding, rng=rng)

    return step


def _gather(
    table: np.ndarray, rows: np.ndarray, numbers: np.ndarray, valid: np.ndarray, step: RowStep
) -> None:
    taken = table[numbers[valid]].reshape(len(valid), -1)
    old = rows[valid]
    rows[valid] = step(taken, old.reshape(len(valid), -1)).reshape(old.shape)


def _scatter(
    table: np.ndarray, rows: np.ndarray, numbers: np.ndarray, valid: np.ndarray, step: RowStep
) -> None:
    """Row by row, in order: equal indices combine, or the last one stays."""
    for position in valid:
        number = numbers[position]
        old = table[number]
        new = step(rows[position].reshape(1, -1), old.reshape(1, -1))
        table[number] = new.reshape(old.shape)


# ---- registers: these run only while the event loop runs, which has the registers


def load_register(instruction: Instruction, bindings: Bindings, registers: Registers) -> None:
    access = instruction.operand("src")
    assert access is not None
    registers.load(instruction, int(bindings.memory.view(access).reshape(-1)[0]))


def store_register(instruction: Instruction, bindings: Bindings, value: int) -> None:
    access = instruction.operand("dst")
    assert access is not None
    view = bindings.memory.view(access)
    view[...] = np.array([value % (1 << 32)], np.uint32).view(view.dtype)


Binder = Callable[[Instruction, Bindings], Closure]

_BINDERS: dict[str, Binder] = {
    "load_stationary": bind_load_stationary,
    "multiply_moving": bind_multiply_moving,
    "dma_copy": bind_dma_copy,
}

WITHOUT_EFFECT = frozenset(
    (
        "semaphore_wait",
        "semaphore_set",
        "semaphore_add",
        "register_move",
        "register_alu",
        "branch",
        "halt",
        "nop",
        "act_table_load",
    )
)
"""Instructions that touch no memory: the event loop does all of them."""
