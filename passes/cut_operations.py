"""Cuts operations on wide tiles into operations on pieces of them.

Needed only where SBUF is short: a piece can be computed while the rest of its row is elsewhere.
Elementwise instructions and plain transfers are cut along their outermost free dim. What looks at a
whole row at once (reductions, sums on the side) is not: tiling emits it in pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.targets.target import Engine
from axonc.passes.split_buffers import mapped_views
from axonc.passes.tile_program import Buffer, Form, Pool, Step, TileOp, TileProgram, View
from axonc.passes.weight_stream import MAX_BLOCK_BYTES

PIECE_BYTES = 16 * 1024
"""Most bytes per partition of one operand of a piece: DMA rows of this length reach full bandwidth,
and instructions are long against their fixed cost."""

ELEMENTWISE = frozenset(
    (
        "activation",
        "dma_copy",
        "iota",
        "memset",
        "reciprocal",
        "scalar_tensor_tensor",
        "tensor_copy",
        "tensor_copy_predicated",
        "tensor_scalar",
        "tensor_tensor",
    )
)
"""Instructions every element of whose result depends on the elements at its place alone."""

SIDE_RESULTS = ("accumulate", "index")
"""Operands that make an instruction depend on more."""


def cut_operations(program: TileProgram) -> TileProgram:
    """A program that does the same in pieces; `program` is unchanged."""
    return program.with_groups([list(_pieces(op)) for op in program.ops])


def _pieces(op: TileOp) -> Iterator[TileOp]:
    step = op.form.steps[0]
    axis = _axis(op, step)
    if axis is None:
        yield op
        return
    size = _sizes(step)[axis]
    inner = math.prod(_sizes(step)[axis + 1 :])
    widest = max(v.dtype.size_bytes for v in step.operands if v is not None)
    count = max(1, PIECE_BYTES // (inner * widest))
    for start in range(0, size, count):
        made = _slice(step, axis, start, min(count, size - start))
        yield from _pieces(TileOp((Form(op.form.engine, (made,)),), op.location))


def _axis(op: TileOp, step: Step) -> int | None:
    """The free dim to cut; None to leave the operation whole."""
    if len(op.form.steps) > 1 or step.spec.mnemonic not in ELEMENTWISE or _has_side_result(step):
        return None
    tiles = [v for v in step.operands if v is not None and v.memory is not Memory.HBM]
    if not any(_is_wide(view) for view in tiles) or not all(_follows(v, step) for v in _all(step)):
        return None
    return next((axis for axis, size in enumerate(_sizes(step)) if size > 1), None)


def _has_side_result(step: Step) -> bool:
    pairs = zip(step.spec.operands, step.operands, strict=True)
    return any(operand.name in SIDE_RESULTS and view is not None for operand, view in pairs)


def _is_wide(view: View) -> bool:
    is_work = view.memory is Memory.SBUF and view.buffer.pool is Pool.WORK
    return is_work and view.elements_per_partition * view.dtype.size_bytes > PIECE_BYTES


def _all(step: Step) -> list[View]:
    return [view for view in step.operands if view is not None]


def _sizes(step: Step) -> tuple[int, ...]:
    """Free sizes of the result on chip, or of the tile that is stored."""
    tiles = [v for v in step.operands if v is not None and v.memory is not Memory.HBM]
    return tuple(size for _, size in tiles[0].dims)


def _follows(view: View, step: Step) -> bool:
    """Whether the view has the same free sizes (in device memory: after one dim of rows), or one
    value per partition."""
    sizes = tuple(size for _, size in view.dims)
    if view.memory is Memory.HBM:
        return len(sizes) == len(_sizes(step)) + 1 and sizes[1:] == _sizes(step)
    return sizes == _sizes(step) or view.elements_per_partition == 1


def _slice(step: Step, axis: int, start: int, count: int) -> Step:
    views = tuple(None if v is None else _sliced(v, axis, start, count) for v in step.operands)
    fields = step.fields
    if step.spec.mnemonic == "iota":
        fields = _later(step, axis, start)
    return Step(step.spec, views, fields)


def _sliced(view: View, axis: int, start: int, count: int) -> View:
    if view.memory is not Memory.HBM and view.elements_per_partition == 1:
        return view
    at = axis + (view.memory is Memory.HBM)
    stride = view.dims[at][0]
    dims = (*view.dims[:at], (stride, count), *view.dims[at + 1 :])
    return replace(
        view, dims=dims, byte_offset=view.byte_offset + start * stride * view.dtype.size_bytes
    )


def _later(step: Step, axis: int, start: int) -> tuple[object, ...]:
    """The fields of an iota that begins `start` steps later on loop `axis`."""
    index = step.spec.field_index
    offset, stride = step.fields[index["offset"]], step.fields[index[f"step{axis}"]]
    assert isinstance(offset, int) and isinstance(stride, int)
    fields = list(step.fields)
    fields[index["offset"]] = offset + start * stride
    return tuple(fields)


def without_wide_streams(program: TileProgram) -> TileProgram:
    """Streamed buffers wider than a block of weights become work buffers, which can be cut and
    spilled; what is not a weight's block can be of any width."""
    wide = {
        b: replace(b, pool=Pool.WORK)
        for b in program.buffers
        if b.pool is Pool.STREAM and b.partition_bytes > MAX_BLOCK_BYTES
    }
    if not wide:
        return program
    buffers = [wide.get(b, b) for b in program.buffers]
    return replace(program, buffers=buffers, ops=[_unstreamed(op, wide) for op in program.ops])


def _unstreamed(op: TileOp, wide: dict[Buffer, Buffer]) -> TileOp:
    """Transfers of work buffers are triggered by another engine than those of weights."""
    if not any(view.buffer in wide for _, view in op.accesses()):
        return op
    made = mapped_views(op, lambda v: replace(v, buffer=wide.get(v.buffer, v.buffer)))
    engine = Engine.GPSIMD if made.form.engine is Engine.SYNC else made.form.engine
    return TileOp((Form(engine, made.form.steps),), op.location)
