"""Errors about memory that is full: who needs it, and the smallest change that would fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.program import HbmTensor, TensorKind
from axonc.diagnostics import CapacityError
from axonc.dialects.ntile.program import Buffer, Pool, TileProgram
from axonc.passes.memory.buffer_placement import Lifetime, peak_position

MAP_ROWS = 12
"""Largest buffers an error lists."""

SBUF_HINT = "use a smaller batch or sequence, a narrower --auto-cast-type, or more cores"

DEVICE_SECTIONS = (
    ("weights", (TensorKind.WEIGHT, TensorKind.CONSTANT)),
    ("inputs and outputs", (TensorKind.INPUT, TensorKind.OUTPUT)),
    ("scratch and spilled", (TensorKind.SCRATCH,)),
)


def on_chip_error(
    program: TileProgram, memory: str, lives: list[Lifetime], capacity: int, pass_name: str
) -> CapacityError:
    """The memory map at the operation where most is alive, largest first."""
    at = min(peak_position(lives), len(program.ops) - 1)
    alive = [x.buffer for x in lives if x.first <= at <= x.last]
    need = sum(b.partition_bytes for b in alive)
    return CapacityError(
        f"{memory} is full: {need:,} bytes per partition are in use at once, "
        f"{capacity:,} are there:\n" + "\n".join(map_rows(alive)),
        location=program.locations[program.ops[at].location],
        pass_name=pass_name,
        hint=SBUF_HINT,
    )


def operation_error(program: TileProgram, number: int, room: int, pass_name: str) -> CapacityError:
    """One operation's work buffers do not fit together, however much else is spilled."""
    op = program.ops[number]
    buffers = list(dict.fromkeys(v.buffer for _, v in op.accesses()))
    work = [b for b in buffers if b.memory is Memory.SBUF and b.pool is Pool.WORK]
    need = sum(b.partition_bytes for b in work)
    return CapacityError(
        f"one operation needs {need:,} bytes of SBUF per partition, {room:,} are there beside "
        "constants and weights:\n" + "\n".join(map_rows(work)),
        op=op.form.steps[0].spec.mnemonic,
        location=program.locations[op.location],
        pass_name=pass_name,
        hint=f"make the tensor, or the part of it one partition holds, {-(-need // room)} times "
        "smaller: a smaller batch or sequence, or a reshape that gives it more rows",
    )


def map_rows(buffers: Iterable[Buffer]) -> list[str]:
    """The largest buffers, a line each."""
    ordered = sorted(buffers, key=lambda b: -b.partition_bytes)
    rows = [
        f"  {b.partition_bytes:>9,} B x {b.partitions:3} partitions  {b.name}"
        for b in ordered[:MAP_ROWS]
    ]
    if len(ordered) > MAP_ROWS:
        rest = sum(b.partition_bytes for b in ordered[MAP_ROWS:])
        rows.append(f"  {rest:>9,} B in {len(ordered) - MAP_ROWS} more")
    return rows


def device_memory_error(tensors: list[HbmTensor], need: int, capacity: int) -> CapacityError:
    """The map of a core's device memory by what it is for, and its largest tensors."""
    return CapacityError(
        f"device memory: {need:,} bytes needed, a core has {capacity:,}\n"
        + "\n".join([*_section_rows(tensors), "  largest:", *_tensor_rows(tensors)]),
        hint=_smallest_change(tensors, need, capacity),
    )


def _section_rows(tensors: list[HbmTensor]) -> Iterator[str]:
    for title, kinds in DEVICE_SECTIONS:
        yield f"  {_bytes_of(tensors, kinds):>18,} B  {title}"


def _tensor_rows(tensors: list[HbmTensor]) -> Iterator[str]:
    for tensor in sorted(tensors, key=lambda t: -t.size_bytes)[:MAP_ROWS]:
        yield f"  {tensor.size_bytes:>18,} B  {tensor.kind.value:8} {tensor.name}"


def _bytes_of(tensors: Iterable[HbmTensor], kinds: tuple[TensorKind, ...]) -> int:
    return sum(t.size_bytes for t in tensors if t.kind in kinds)


def _smallest_change(tensors: list[HbmTensor], need: int, capacity: int) -> str:
    """Weights in 16 bits if that is enough; else the number of cores that share the weights."""
    weights = _bytes_of(tensors, (TensorKind.WEIGHT,))
    wide = sum(
        t.size_bytes for t in tensors if t.kind is TensorKind.WEIGHT and t.dtype.size_bytes == 4
    )
    choices = []
    if wide and need - wide // 2 <= capacity:
        choices.append("--auto-cast matmult --auto-cast-type bf16 (weights of half the size)")
    shared = capacity - (need - weights)
    if weights and shared > 0:
        choices.append(f"--tensor-parallel over {-(-weights // shared)} cores")
    if choices:
        return " or ".join(choices)
    if _bytes_of(tensors, (TensorKind.INPUT,)) > capacity // 2:
        return (
            "if these inputs are weights, bind them (--weights), so that they can be stored in "
            "bf16 or cut over cores; else use a smaller batch or sequence"
        )
    return "use a smaller batch or sequence"
