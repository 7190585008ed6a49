"""Sends work buffers to device memory and back when they do not all fit in SBUF.

Why: a large batch, a long sequence or a wide row needs more on-chip memory at once than there is.
Moving what is needed last out of the way costs transfers; refusing the model costs more.

Precondition: one form per operation, program order, no addresses. Postcondition: `allocate-memory`
finds a place for every SBUF buffer; or, if the program fitted as it was, nothing has changed.

How, each step only if the one before was not enough:

1. Buffers are cut into parts that no operation touches together (split_buffers.py), whose lives
   end earlier.
2. Operations on wide tiles are cut into pieces (cut_operations.py), and buffers again; loads move
   to the first use and stores to the last write of their part (move_transfers.py).
3. Buffers go out whose next use is farthest, weighed by bytes (spill_plan.py): stored right after
   the use before, if device memory does not have the bytes already, and loaded again before the
   next use, as early as there is room. What comes back is a new buffer, so that it may lie
   elsewhere. Room is planned in bytes, but buffers must also find gaps: the plan is made again for
   less and less room until they do.

Before:
    memset(%a) ; ... ; copy(%big, ...) ; ... ; copy(%b, %a)
After:
    memset(%a) ; dma_copy(%"spill:a", %a) ; ... ; copy(%big, ...)
    dma_copy(%a1, %"spill:a") ; ... ; copy(%b, %a1)

Leaves alone: constants of the whole program, streamed weights (loaded again anyway), PSUM.

Raises: CapacityError when the buffers of one operation do not fit together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Role
from axonc.diagnostics import CapacityError
from axonc.dialects.ntile.program import Buffer, Pool, TileOp, TileProgram, View
from axonc.passes.base import Pass, State
from axonc.passes.memory.buffer_placement import lifetimes, peak_bytes
from axonc.passes.memory.cut_operations import cut_operations, without_wide_streams
from axonc.passes.memory.memory_map import on_chip_error, operation_error
from axonc.passes.memory.move_transfers import move_transfers, write_once_tensors
from axonc.passes.memory.sbuf_plan import plan_sbuf
from axonc.passes.memory.spill_plan import SpillPlan, Stay, plan_spills
from axonc.passes.memory.spill_transfers import (
    is_plain_load,
    on_buffer,
    reloads,
    scratch_tensor,
    stores,
    unchanging_tensors,
    written_boxes,
)
from axonc.passes.memory.split_buffers import split_buffers
from axonc.passes.tile_level.tile_state import TileLevel, TileState, require_engines

ROOM_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Shares of the room for work buffers to plan with, until every buffer finds a gap."""


def spill_buffers(program: TileProgram) -> bool:
    """Changes `program` so that it fits SBUF; returns whether it had to. See the module docstring.

    Raises: CapacityError.
    """
    if _fits(program):
        return False
    fitting = split_buffers(program)
    if not _fits(fitting):
        cut = split_buffers(cut_operations(without_wide_streams(program)))
        fitting = move_transfers(cut, write_once_tensors(program))
    if not _fits(fitting):
        fitting = _spilled(fitting)
    program.buffers, program.ops = fitting.buffers, fitting.ops
    program.repeats = fitting.repeats
    return True


def _fits(program: TileProgram) -> bool:
    lives = [x for x in lifetimes(program) if x.buffer.memory is Memory.SBUF]
    size = program.target.sbuf_partition_bytes
    return plan_sbuf(lives, len(program.ops), size) is not None


def _spilled(program: TileProgram) -> TileProgram:
    room = _work_room(program)
    # With and without keeping what iterations hand on: either may move fewer bytes.
    ways = [_plans(program, room, keep_lasting=keep) for keep in (True, False)]
    plans = [next(way) for way in ways[: 2 if program.repeats else 1]]
    too_large = plans[-1]
    while possible := [n for n, plan in enumerate(plans) if plan.too_large is None]:
        best = min(possible, key=lambda n: plans[n].moved_bytes)
        made = _Rewriter(program, plans[best]).run()
        if _fits(made):
            return made
        plans[best] = next(ways[best], SpillPlan(too_large=0))
    if too_large.too_large is None:
        raise _no_gap(program)
    raise _too_large(program, too_large, room)


def _plans(program: TileProgram, room: int, *, keep_lasting: bool) -> Iterator[SpillPlan]:
    """For less and less room."""
    loaded = _loaded_buffers(program)
    for share in ROOM_SHARES:
        yield plan_spills(program, int(room * share), loaded, keep_lasting=keep_lasting)


def _work_room(program: TileProgram) -> int:
    """Bytes per partition that constants and one set of streamed weights leave."""
    lives = [x for x in lifetimes(program) if x.buffer.memory is Memory.SBUF]
    constants = sum(x.buffer.partition_bytes for x in lives if x.buffer.pool is Pool.RESIDENT)
    streamed = peak_bytes([x for x in lives if x.buffer.pool is Pool.STREAM])
    return program.target.sbuf_partition_bytes - constants - streamed


def _loaded_buffers(program: TileProgram) -> set[Buffer]:
    """Buffers that are only ever loaded: they can be loaded again."""
    unchanging = unchanging_tensors(program)
    found: dict[Buffer, bool] = {}
    for op in program.ops:
        for role, view in op.accesses():
            if role is not Role.READ:
                plain = _is_load(op, view.buffer, unchanging)
                found[view.buffer] = found.get(view.buffer, True) and plain
    return {buffer for buffer, is_loaded in found.items() if is_loaded}


def _is_load(op: TileOp, buffer: Buffer, unchanging: set[Buffer]) -> bool:
    """Whether the operation can be repeated to get the bytes it wrote; what iterations renew has
    been written by another one since."""
    return not buffer.renewed and is_plain_load(op, buffer, unchanging)


def _too_large(program: TileProgram, plan: SpillPlan, room: int) -> CapacityError:
    assert plan.too_large is not None
    return operation_error(program, plan.too_large, room, "spill-buffers")


def _no_gap(program: TileProgram) -> CapacityError:
    lives = [x for x in lifetimes(program) if x.buffer.memory is Memory.SBUF]
    size = program.target.sbuf_partition_bytes
    return on_chip_error(program, "SBUF", lives, size, "spill-buffers")


# ---- rewriting -----------------------------------------------------------------------------------


@dataclass
class _Inserted:
    """Operations to put before and after those of the program, by number."""

    before: dict[int, list[TileOp]] = field(default_factory=dict)
    after: dict[int, list[TileOp]] = field(default_factory=dict)


class _Rewriter:
    """Makes the program in which buffers come and go as planned."""

    def __init__(self, program: TileProgram, plan: SpillPlan) -> None:
        self.program = program
        self.plan = plan
        self.ops = list(program.ops)
        self.buffers = list(program.buffers)
        self.inserted = _Inserted()
        self.users = self._users()
        self.unchanging = unchanging_tensors(program)

    def run(self) -> TileProgram:
        for buffer, stays in self.plan.stays.items():
            self._rewrite(buffer, stays)
        groups = [list(self._group(number)) for number in range(len(self.ops))]
        return replace(self.program.with_groups(groups), buffers=self.buffers)

    def _users(self) -> dict[Buffer, list[int]]:
        found: dict[Buffer, list[int]] = {buffer: [] for buffer in self.plan.stays}
        for number, op in enumerate(self.program.ops):
            for buffer in dict.fromkeys(view.buffer for _, view in op.accesses()):
                if buffer in found:
                    found[buffer].append(number)
        return found

    def _group(self, number: int) -> Iterator[TileOp]:
        """The operation with the transfers beside it."""
        yield from self.inserted.before.get(number, ())
        yield self.ops[number]
        yield from self.inserted.after.get(number, ())

    def _rewrite(self, buffer: Buffer, stays: list[Stay]) -> None:
        spill = _Spill(self, buffer)
        current = buffer
        for number, (stay, following) in enumerate(zip(stays, stays[1:], strict=False)):
            spill.leave(current, stay)
            current = replace(buffer, name=f"{buffer.name}~{number + 1}", renewed=False)
            self.buffers.append(current)
            spill.come_back(current, following)
            for user in self.users[buffer]:
                if following.first <= user <= following.last:
                    self.ops[user] = on_buffer(self.ops[user], buffer, current)


class _Spill:
    """One buffer's way out and back."""

    def __init__(self, rewriter: _Rewriter, buffer: Buffer) -> None:
        self.rewriter = rewriter
        self.buffer = buffer
        self.scratch: Buffer | None = None
        self.stored_up_to = -1
        self.writers = [n for n in rewriter.users[buffer] if self._writes(n)]

    def _writes(self, number: int) -> bool:
        return bool(self._written_views(number))

    def _written_views(self, number: int) -> list[View]:
        accesses = self.rewriter.program.ops[number].accesses()
        return [v for role, v in accesses if v.buffer is self.buffer and role is not Role.READ]

    def _before(self, last: int) -> list[int]:
        return [number for number in self.writers if number <= last]

    def _loads(self, last: int) -> list[TileOp]:
        """The loads that made the buffer, if nothing else did."""
        ops = [self.rewriter.program.ops[number] for number in self._before(last)]
        unchanging = self.rewriter.unchanging
        return ops if all(_is_load(op, self.buffer, unchanging) for op in ops) else []

    def _renewal(self, stay: Stay) -> int:
        """The first operation whose writes are of use in the stay: within an iteration that has
        begun to write anew, its own first one."""
        for repeat in self.rewriter.program.repeats if self.buffer.renewed else ():
            own = [number for number in self.writers if repeat.first <= number < repeat.end]
            if own and own[0] <= stay.first < repeat.end:
                return own[0]
        return 0

    def leave(self, current: Buffer, stay: Stay) -> None:
        """Stores what device memory does not have."""
        new = [number for number in self._before(stay.last) if number > self.stored_up_to]
        if not new or self._loads(stay.last):
            return
        if self.scratch is None:
            self.scratch = scratch_tensor(self.buffer)
            self.rewriter.buffers.append(self.scratch)
        boxes = written_boxes(self.buffer, [v for n in new for v in self._written_views(n)])
        location = self.rewriter.program.ops[stay.last].location
        made = stores(current, self.scratch, boxes, location)
        self.rewriter.inserted.after.setdefault(stay.last, []).extend(made)
        self.stored_up_to = stay.last

    def come_back(self, current: Buffer, stay: Stay) -> None:
        """Loads everything written so far into the new buffer."""
        renewed_from = self._renewal(stay)
        written = [number for number in self._before(stay.first - 1) if number >= renewed_from]
        loads = self._loads(stay.first - 1)
        place = self.rewriter.inserted.before.setdefault(stay.begin, [])
        if loads:
            place.extend(on_buffer(op, self.buffer, current) for op in loads)
        elif written:
            assert self.scratch is not None, "leave stored it"
            boxes = written_boxes(self.buffer, [v for n in written for v in self._written_views(n)])
            location = self.rewriter.program.ops[stay.first].location
            place.extend(reloads(current, self.scratch, boxes, location))


@dataclass(frozen=True)
class SpillBuffersPass(TileLevel, Pass, name="spill-buffers"):
    """Send buffers to device memory and back when they do not all fit in SBUF."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        require_engines(state)
        return state, spill_buffers(state.program)
