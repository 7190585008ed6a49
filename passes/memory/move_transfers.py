"""Moves transfers next to what they serve: loads to the first use, stores to the last write.

Needed only where SBUF is short: what waits in device memory takes no room. The scheduler still
starts a load as early as its buffer is free.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Role
from axonc.dialects.ntile.footprint import Footprint, footprint, may_overlap
from axonc.dialects.ntile.program import Buffer, TileOp, TileProgram
from axonc.passes.memory.spill_transfers import is_plain_load, is_transfer, unchanging_tensors

MAX_COMPARED = 64
"""Stores into one tensor that are compared with each other, interleaving ones: each with all."""


def move_transfers(program: TileProgram, write_once: set[Buffer]) -> TileProgram:
    """A program that does the same, its transfers in other places; `program` is unchanged.
    write_once: device tensors whose stores may come in any order. Nothing moves into a repeat or
    out of it."""
    unchanging = unchanging_tensors(program)
    touched: set[Buffer] = set()
    ops: list[TileOp] = []
    for piece in program.segments():
        stored = _with_early_stores(program.ops[piece.first : piece.end], write_once)
        ops += _with_late_loads(stored, unchanging, touched)
    return replace(program, ops=ops)


# ---- loads ---------------------------------------------------------------------------------------


def _with_late_loads(
    ops: list[TileOp], unchanging: set[Buffer], touched: set[Buffer]
) -> list[TileOp]:
    """Loads of a buffer nothing touched before wait for the first other use of that buffer.
    touched: in earlier segments; those of this one are added."""
    waiting: dict[Buffer, list[TileOp]] = {}
    result: list[TileOp] = []
    for op in ops:
        buffers = list(dict.fromkeys(view.buffer for _, view in op.accesses()))
        loaded = [b for b in buffers if b not in touched and is_plain_load(op, b, unchanging)]
        if loaded:
            waiting.setdefault(loaded[0], []).append(op)
            continue
        for buffer in buffers:
            result += waiting.pop(buffer, ())
        touched.update(buffers)
        result.append(op)
    for buffer, remaining in waiting.items():
        result += remaining
        touched.add(buffer)
    return result


# ---- stores --------------------------------------------------------------------------------------


def write_once_tensors(program: TileProgram) -> set[Buffer]:
    """Device tensors that transfers write, each byte once, and nothing reads."""
    written: dict[Buffer, list[Footprint]] = {}
    others: set[Buffer] = {b for b in program.buffers if b.tensor is not None and b.tensor.alias}
    for op in program.ops:
        for role, view in op.accesses():
            if view.memory is not Memory.HBM:
                continue
            if role is Role.WRITE and is_transfer(op):
                written.setdefault(view.buffer, []).append(footprint(view))
            else:
                others.add(view.buffer)
    return {b for b, touched in written.items() if b not in others and _are_apart(touched)}


def _are_apart(touched: list[Footprint]) -> bool:
    """Whether no byte is in two footprints; False as well where that would take long to know."""
    ordered = sorted(touched, key=lambda f: f.first_byte)
    pairs = zip(ordered, ordered[1:], strict=False)
    if all(a.end_byte <= b.first_byte for a, b in pairs):
        return True
    few = len(touched) <= MAX_COMPARED
    return few and not any(may_overlap(a, b) for a, b in itertools.combinations(touched, 2))


def _with_early_stores(ops: list[TileOp], free: set[Buffer]) -> list[TileOp]:
    """Stores into `free` tensors follow the last write of the buffer they store."""
    last_write: dict[Buffer, int] = {}
    early: dict[int, list[TileOp]] = {}
    kept: list[tuple[int, TileOp]] = []
    for number, op in enumerate(ops):
        source = _stored_buffer(op, free)
        if source is not None and source in last_write:
            early.setdefault(last_write[source], []).append(op)
            continue
        kept.append((number, op))
        for role, view in op.accesses():
            if role is not Role.READ:
                last_write[view.buffer] = number
    return [made for number, op in kept for made in (op, *early.get(number, ()))]


def _stored_buffer(op: TileOp, free: set[Buffer]) -> Buffer | None:
    """The buffer a plain store into one of `free` reads."""
    accesses = op.accesses()
    if not is_transfer(op) or len(accesses) != 2:
        return None
    (_, target), (_, source) = sorted(accesses, key=lambda access: access[0] is Role.READ)
    is_store = target.buffer in free and source.memory is Memory.SBUF
    return source.buffer if is_store else None
