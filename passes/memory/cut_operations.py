"""Cuts operations on wide tiles into operations on pieces of them.

Needed only where SBUF is short: a piece can be computed while the rest of its row is elsewhere.
Elementwise instructions and plain transfers are cut along a free dim, as are reductions along one
that stays. What looks at a whole row at once (reductions of it, sums on the side) is not: tiling
emits it in pieces. Pieces are a power of two long, so that those of several operations end
together. An operation is wide, too, whose few elements lie far apart, such as parts of four rows:
it would hold the rows together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Reach
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import (
    MAX_BLOCK_BYTES,
    Buffer,
    Form,
    Pool,
    Step,
    TileOp,
    TileProgram,
    View,
    mapped_views,
)

PIECE_BYTES = 16 * 1024
"""Most bytes per partition of one operand of a piece: DMA rows of this length reach full bandwidth,
and instructions are long against their fixed cost."""

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
    apart = max(_apart(view, axis) for view in _tiles(step) if _is_work(view))
    # Less than all of it, though it may be the other dims that are long: these are cut next.
    count = 1 << max(0, min(PIECE_BYTES // apart, size - 1).bit_length() - 1)
    for start in range(0, size, count):
        made = _slice(step, axis, start, min(count, size - start))
        yield from _pieces(TileOp((Form(op.form.engine, (made,)),), op.location))


def _axis(op: TileOp, step: Step) -> int | None:
    """The free dim to cut, along which the widest tile goes farthest; None to leave the operation
    whole."""
    if len(op.form.steps) > 1 or step.spec.reach is Reach.ANY or _has_side_result(step):
        return None
    wide = [view for view in _tiles(step) if _is_work(view) and _span(view) > PIECE_BYTES]
    if not wide or not all(_follows(v, step) for v in _all(step)):
        return None
    view = max(wide, key=_span)
    axes = [axis for axis, size in enumerate(_sizes(step)) if size > 1]
    axis = max(axes, key=lambda a: _apart(view, a) * (_sizes(step)[a] - 1), default=None)
    if axis is None or 2 * _apart(view, axis) * _sizes(step)[axis] < _span(view):
        return None  # it would be as wide in pieces
    return axis


def _has_side_result(step: Step) -> bool:
    pairs = zip(step.spec.operands, step.operands, strict=True)
    return any(operand.name in SIDE_RESULTS and view is not None for operand, view in pairs)


def _is_work(view: View) -> bool:
    return view.memory is Memory.SBUF and view.buffer.pool is Pool.WORK


def _span(view: View) -> int:
    """Bytes per partition from the first it touches to the last."""
    _, _, low, high = view.region()
    return high - low


def _apart(view: View, axis: int) -> int:
    """Bytes from one element along `axis` to the next; 0 for one value per partition."""
    if view.elements_per_partition == 1:
        return 0
    return abs(view.dims[axis][0]) * view.dtype.size_bytes


def _tiles(step: Step) -> list[View]:
    return [view for view in _all(step) if view.memory is not Memory.HBM]


def _all(step: Step) -> list[View]:
    return [view for view in step.operands if view is not None]


def _sizes(step: Step) -> tuple[int, ...]:
    """Free sizes of the result on chip, or of the tile that is stored."""
    return tuple(size for _, size in _tiles(step)[0].dims)


def _follows(view: View, step: Step) -> bool:
    """Whether the view has the same free sizes (in device memory: after one dim of rows; what is
    reduced: before the dims that vanish), or one value per partition."""
    sizes, result = tuple(size for _, size in view.dims), _sizes(step)
    if view.memory is Memory.HBM:
        return len(sizes) == len(result) + 1 and sizes[1:] == result
    if step.spec.reach is Reach.LAST_DIMS and view is not _tiles(step)[0]:
        return sizes[: len(result)] == result
    return sizes == result or view.elements_per_partition == 1


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
    offset, stride = step.integer("offset"), step.integer(f"step{axis}")
    return step.fields_with("offset", offset + start * stride)


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
