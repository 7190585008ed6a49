"""Which work buffers are in SBUF when: an analysis for spill-buffers.

In program order, an operation's buffers come in; when they do not fit, others go out first: those
whose next use is farthest, weighed by their bytes (Belady's rule for pages of many sizes). A buffer
that needs no store, because device memory has its bytes already, goes before one that does.

Buffers that hold something from one iteration of a repeat to the next stay in SBUF throughout; or,
if that is asked for, they are in device memory whenever an iteration begins.

A *stay* is a run of uses of one buffer without going out in between.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Role
from axonc.dialects.ntile.program import Buffer, Pool, Repeat, TileOp, TileProgram
from axonc.passes.memory.buffer_placement import aligned, lifetimes, peak_bytes
from axonc.passes.memory.sbuf_plan import ALIGNMENT

CLEAN_WEIGHT = 2.0
"""How much rather a buffer goes out that is in device memory already: half of the transfers."""

PREFETCH_OPS = 256
"""How many operations before its use a buffer may come back, where there is room: some 10 us of
work, against 2 us of latency and 7 us for 2 MiB (assumed)."""


@dataclass
class Stay:
    """Operations [first, last] of the program use the buffer, all of them in SBUF."""

    buffer: Buffer
    first: int
    last: int
    begin: int
    """The operation before which it comes in, at most `first`."""


@dataclass
class SpillPlan:
    """Which buffers leave SBUF, and when they come back."""

    stays: dict[Buffer, list[Stay]] = field(default_factory=dict)
    """By buffer that goes out at least once, its stays in SBUF, in order."""
    too_large: int | None = None
    """The operation whose buffers do not fit, if there is one; then the plan is of no use."""
    moved_bytes: int = 0
    """Per partition, of buffers coming back, in all iterations."""


@dataclass
class Uses:
    """Operations that touch one buffer, ascending; those that write it."""

    at: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)

    def next_after(self, op: int) -> int:
        return self.at[bisect_left(self.at, op + 1)]

    def writes_within(self, first: int, last: int) -> bool:
        position = bisect_left(self.writes, first)
        return position < len(self.writes) and self.writes[position] <= last


def work_uses(ops: list[TileOp]) -> dict[Buffer, Uses]:
    """The uses of every work buffer in SBUF, by first use."""
    found: dict[Buffer, Uses] = {}
    for number, op in enumerate(ops):
        for role, view in op.accesses():
            buffer = view.buffer
            if buffer.memory is not Memory.SBUF or buffer.pool is not Pool.WORK:
                continue
            uses = found.setdefault(buffer, Uses())
            for wanted, positions in ((True, uses.at), (role is not Role.READ, uses.writes)):
                if wanted and (not positions or positions[-1] != number):
                    positions.append(number)
    return found


def lasting_buffers(program: TileProgram) -> set[Buffer]:
    """Work buffers used in a repeat and outside of it: what they hold goes from one iteration to
    the next."""
    return {
        buffer
        for buffer, uses in work_uses(program.ops).items()
        if any(_is_partly_in(uses, repeat) for repeat in program.repeats)
    }


def _is_partly_in(uses: Uses, repeat: Repeat) -> bool:
    inside = bisect_left(uses.at, repeat.end) - bisect_left(uses.at, repeat.first)
    return 0 < inside < len(uses.at)


def _can_leave(buffer: Buffer, uses: Uses, repeats: list[Repeat]) -> bool:
    """Whether iterations may find a lasting buffer's contents in device memory: what they write is
    all that the next one reads, or they only read."""
    return buffer.renewed or not any(uses.writes_within(r.first, r.end - 1) for r in repeats)


class _Planner:
    def __init__(
        self, program: TileProgram, capacity: int, clean: set[Buffer], *, keep_lasting: bool
    ) -> None:
        self.op_count = len(program.ops)
        self.segments = program.segments()
        self.starts = [piece.first for piece in self.segments]
        found = work_uses(program.ops)
        lasting = lasting_buffers(program)
        self.leaving = {b for b in lasting if _can_leave(b, found[b], program.repeats)}
        if keep_lasting:
            self.leaving.clear()
        kept = lasting - self.leaving
        self.capacity = capacity - peak_bytes([x for x in lifetimes(program) if x.buffer in kept])
        self.uses = {b: u for b, u in found.items() if b not in kept}
        self.touched: list[list[Buffer]] = [[] for _ in program.ops]
        for buffer, uses in self.uses.items():
            for op in uses.at:
                self.touched[op].append(buffer)
        self.here: dict[Buffer, Stay] = {}
        self.clean = set(clean)
        self.always_clean = clean
        self.alive = 0
        self.alive_at = [0] * self.op_count
        self.all_stays: dict[Buffer, list[Stay]] = {b: [] for b in self.uses}

    def run(self) -> SpillPlan:
        for op, buffers in enumerate(self.touched):
            need = sum(_size(b) for b in buffers if b not in self.here)
            if not self._make_room(op, need):
                return SpillPlan(too_large=op)
            for buffer in buffers:
                self._touch(buffer, op)
            self.alive_at[op] = self.alive
            for buffer in buffers:
                if self.uses[buffer].at[-1] == op:
                    self._leave(buffer)
            if op + 1 in self.starts:
                self._end_segment()
        spilled = {b: stays for b, stays in self.all_stays.items() if len(stays) > 1}
        self._prefetch(spilled)
        return SpillPlan(spilled, moved_bytes=sum(map(self._moved, spilled.values())))

    def _end_segment(self) -> None:
        for buffer in [b for b in self.here if b in self.leaving]:
            self._send_out(buffer)

    def _moved(self, stays: list[Stay]) -> int:
        counts = (self._segment(stay.first).count for stay in stays[1:])
        return _size(stays[0].buffer) * sum(counts)

    def _segment(self, op: int) -> Repeat:
        return self.segments[bisect_right(self.starts, op) - 1]

    def _make_room(self, op: int, need: int) -> bool:
        busy = set(self.touched[op])
        while self.alive + need > self.capacity:
            others = [b for b in self.here if b not in busy]
            if not others:
                return False
            self._send_out(max(others, key=lambda b: self._gain(b, op)))
        return True

    def _gain(self, buffer: Buffer, op: int) -> float:
        weight = CLEAN_WEIGHT if self._is_clean(buffer) else 1.0
        return (self.uses[buffer].next_after(op) - op) * _size(buffer) * weight

    def _is_clean(self, buffer: Buffer) -> bool:
        stay = self.here[buffer]
        if buffer in self.always_clean:
            return True
        return buffer in self.clean and not self.uses[buffer].writes_within(stay.first, stay.last)

    def _send_out(self, buffer: Buffer) -> None:
        self.clean.add(buffer)
        self._leave(buffer)

    def _touch(self, buffer: Buffer, op: int) -> None:
        if buffer not in self.here:
            self.here[buffer] = Stay(buffer, op, op, op)
            self.all_stays[buffer].append(self.here[buffer])
            self.alive += _size(buffer)
        self.here[buffer].last = op

    def _leave(self, buffer: Buffer) -> None:
        del self.here[buffer]
        self.alive -= _size(buffer)

    def _prefetch(self, spilled: dict[Buffer, list[Stay]]) -> None:
        """Moves the beginnings of later stays forward over operations that leave room, so that the
        transfer is over when the buffer is needed."""
        returns = [
            (stay, before)
            for stays in spilled.values()
            for before, stay in zip(stays, stays[1:], strict=False)
        ]
        for stay, before in sorted(returns, key=lambda pair: pair[0].first):
            size, begin = _size(stay.buffer), stay.first
            segment = self._segment(stay.first)
            earliest = max(before.last + 1, stay.first - PREFETCH_OPS, segment.first)
            while begin > earliest and self.alive_at[begin - 1] + size <= self.capacity:
                begin -= 1
                self.alive_at[begin] += size
            stay.begin = begin


def _size(buffer: Buffer) -> int:
    return aligned(buffer.partition_bytes, ALIGNMENT)


def plan_spills(
    program: TileProgram, capacity: int, loaded: set[Buffer], *, keep_lasting: bool = True
) -> SpillPlan:
    """Stays such that at most `capacity` bytes per partition of work buffers are in SBUF at any
    operation. loaded: buffers that need no store, because they can be loaded again as they were.
    keep_lasting: what goes from one iteration to the next stays in SBUF.

    Near-linear: every buffer goes out at most once per use; choosing which takes a look at those
    that are there.
    """
    return _Planner(program, capacity, loaded, keep_lasting=keep_lasting).run()
