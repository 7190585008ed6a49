"""Gives every buffer an address: SBUF, the banks of PSUM, and device memory.

Why: reuse must be tight enough to fit, and loose enough that the scheduler can run ahead: a buffer
that takes over bytes just freed has to wait for their last reader.

Precondition: one form per operation, program order. Postcondition: every buffer in use has an
address; buffers alive at the same time (in program order) do not overlap; no PSUM buffer leaves its
banks.

SBUF is cut in three: constants of the whole program; work buffers, placed by next fit (the address
after the last one, so that bytes rest as long as possible before reuse); and streamed weights, in a
ring. Work gets what its tightest packing needs and a quarter of the rest (all of it if nothing is
streamed); the stream the remainder, for prefetch. PSUM buffers take whole banks, next fit. Device
memory is not reused.

Raises: CapacityError with the memory map at the peak.

Before:
    %a = ntile.buffer "x" sbuf 128 x 512 B ; %b = ntile.buffer "y" sbuf 128 x 512 B
After:
    %a = ntile.buffer "x" sbuf 128 x 512 B @ 0x0 ; %b = ntile.buffer "y" sbuf 128 x 512 B @ 0x200
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.targets.target import Target
from axonc.diagnostics import CapacityError
from axonc.passes.tile_program import Buffer, Pool, TileProgram

ALIGNMENT = 64
"""Bytes SBUF and device addresses are multiples of (assumed: 8.10, alignments are not
published)."""

MAP_ROWS = 12
"""Largest buffers an error lists."""


@dataclass
class Lifetime:
    """First and last operation (program order) that touches the buffer."""

    buffer: Buffer
    first: int
    last: int


def lifetimes(program: TileProgram) -> list[Lifetime]:
    """Of every buffer in use, by first use."""
    found: dict[Buffer, Lifetime] = {}
    for number, op in enumerate(program.ops):
        for _, view in op.accesses():
            life = found.get(view.buffer)
            if life is None:
                found[view.buffer] = Lifetime(view.buffer, number, number)
            else:
                life.last = number
    return list(found.values())


class Arena:
    """A range of addresses with the buffers alive in it, placed by next fit or by first fit."""

    def __init__(self, base: int, size: int, alignment: int, *, next_fit: bool) -> None:
        self.base, self.size, self.alignment = base, size, alignment
        self.next_fit = next_fit
        self.peak = 0
        self._cursor = base
        self._lows: list[int] = []
        self._live: list[tuple[int, int, Buffer]] = []  # (low, high, buffer), ascending
        self._ends: list[tuple[int, int]] = []  # heap of (last op, low)

    def place(self, buffer: Buffer, first: int, last: int) -> int | None:
        """An address for a buffer alive in [first, last], or None. Calls by ascending `first`."""
        self._retire(first)
        size = -(-buffer.partition_bytes // self.alignment) * self.alignment
        address = self._fit(size)
        if address is None:
            return None
        position = bisect.bisect(self._lows, address)
        self._lows.insert(position, address)
        self._live.insert(position, (address, address + size, buffer))
        heapq.heappush(self._ends, (last, address))
        self._cursor = address + size
        self.peak = max(self.peak, address + size - self.base)
        return address

    def _retire(self, first: int) -> None:
        """Forget the buffers whose last use is before operation `first`."""
        while self._ends and self._ends[0][0] < first:
            position = bisect.bisect_left(self._lows, heapq.heappop(self._ends)[1])
            del self._lows[position], self._live[position]

    def _fit(self, size: int) -> int | None:
        for start in (self._cursor, self.base) if self.next_fit else (self.base,):
            for low, high in self._gaps(start):
                if low + size <= high:
                    return low
        return None

    def _gaps(self, start: int) -> Iterator[tuple[int, int]]:
        """The free ranges from `start` on."""
        index = bisect.bisect(self._lows, start)
        position = max(start, self._live[index - 1][1]) if index else start
        for low, high, _ in itertools.islice(self._live, index, None):
            if low > position:
                yield position, low
            position = high
        yield position, self.base + self.size

    def live(self) -> list[Buffer]:
        return [buffer for _, _, buffer in self._live]


@dataclass
class MemoryPlan:
    """What `allocate_memory` found: bytes per partition (SBUF, PSUM) and in device memory.

    sbuf_peak_bytes: most bytes alive at once, in program order. sbuf_extent_bytes: past the highest
    address used; buffers are spread over spare room so that the schedule can run ahead.
    """

    sbuf_peak_bytes: int = 0
    sbuf_extent_bytes: int = 0
    psum_peak_bytes: int = 0
    hbm_bytes: int = 0
    pools: dict[str, int] = field(default_factory=dict)


def allocate_memory(program: TileProgram) -> MemoryPlan:
    """Sets `address` of every buffer in use; see the module docstring."""
    lives = lifetimes(program)
    plan = MemoryPlan()
    _place_sbuf(program, [x for x in lives if x.buffer.memory is Memory.SBUF], plan)
    _place_psum(program, [x for x in lives if x.buffer.memory is Memory.PSUM], plan)
    _place_hbm(program, plan)
    return plan


# ---- SBUF ----------------------------------------------------------------------------------


def _place_sbuf(program: TileProgram, lives: list[Lifetime], plan: MemoryPlan) -> None:
    total = program.target.sbuf_partition_bytes
    end = len(program.ops)
    by_pool = {pool: [x for x in lives if x.buffer.pool is pool] for pool in Pool}
    resident = [Lifetime(x.buffer, 0, end) for x in by_pool[Pool.RESIDENT]]
    constants = _place_all(program, Arena(0, total, ALIGNMENT, next_fit=False), resident)
    base = constants.peak
    tight = _place_all(
        program, Arena(base, total - base, ALIGNMENT, next_fit=False), by_pool[Pool.WORK]
    )
    spare = total - base - tight.peak
    if by_pool[Pool.STREAM]:
        spare = spare // 4 // ALIGNMENT * ALIGNMENT
    work_size = tight.peak + spare
    _place_loosely(base, work_size, by_pool[Pool.WORK])
    ring_base = base + work_size
    ring = Arena(ring_base, total - ring_base, ALIGNMENT, next_fit=True)
    _place_all(program, ring, by_pool[Pool.STREAM])
    plan.pools = {"resident": base, "work": work_size, "stream": ring.peak}
    plan.sbuf_extent_bytes = base + work_size + ring.peak
    plan.sbuf_peak_bytes = _peak_bytes([*resident, *by_pool[Pool.WORK], *by_pool[Pool.STREAM]])


def _peak_bytes(lives: list[Lifetime]) -> int:
    """Most bytes per partition alive at once, in program order."""
    change: dict[int, int] = {}
    for life in lives:
        change[life.first] = change.get(life.first, 0) + life.buffer.partition_bytes
        change[life.last + 1] = change.get(life.last + 1, 0) - life.buffer.partition_bytes
    return max(itertools.accumulate(change[at] for at in sorted(change)), default=0)


def _place_loosely(base: int, size: int, lives: list[Lifetime]) -> None:
    """Next fit; should it fragment, the tight placement stays."""
    saved = [x.buffer.address for x in lives]
    arena = Arena(base, size, ALIGNMENT, next_fit=True)
    for life in lives:
        address = arena.place(life.buffer, life.first, life.last)
        if address is None:
            for old, back in zip(saved, lives, strict=True):
                back.buffer.address = old
            return
        life.buffer.address = address


def _place_all(program: TileProgram, arena: Arena, lives: list[Lifetime]) -> Arena:
    for life in lives:
        address = arena.place(life.buffer, life.first, life.last)
        if address is None:
            raise _capacity_error(program, "SBUF", arena, life)
        life.buffer.address = address
    return arena


# ---- PSUM and device memory ----------------------------------------------------------------


def _place_psum(program: TileProgram, lives: list[Lifetime], plan: MemoryPlan) -> None:
    target = program.target
    arena = Arena(0, target.psum_partition_bytes, target.psum_bank_bytes, next_fit=True)
    for life in lives:
        address = arena.place(life.buffer, life.first, life.last)
        if address is None:
            raise _capacity_error(program, "PSUM", arena, life)
        life.buffer.address = address
    plan.psum_peak_bytes = arena.peak


def _place_hbm(program: TileProgram, plan: MemoryPlan) -> None:
    address = 0
    for buffer in program.buffers:
        if buffer.tensor is None:
            continue
        buffer.address = address
        buffer.tensor = replace(buffer.tensor, address=address)
        address += -(-max(1, buffer.tensor.size_bytes) // ALIGNMENT) * ALIGNMENT
    plan.hbm_bytes = address
    if address > program.target.hbm_bytes:
        tensors = sorted(
            (b.tensor for b in program.buffers if b.tensor), key=lambda t: -t.size_bytes
        )
        rows = [f"  {t.size_bytes:>14,} B  {t.kind.value:8} {t.name}" for t in tensors[:MAP_ROWS]]
        raise CapacityError(
            f"device memory: {address:,} bytes needed, a core has {program.target.hbm_bytes:,}\n"
            + "\n".join(rows),
            hint="shard the model over cores, or store the weights in a narrower type",
        )


def _capacity_error(
    program: TileProgram, memory: str, arena: Arena, life: Lifetime
) -> CapacityError:
    """The memory map at the moment nothing fits any more, largest first."""
    op = program.ops[life.first]
    rows = "\n".join(_map_rows(arena.live(), program.target))
    return CapacityError(
        f"{memory} is full: '{life.buffer.name}' needs {life.buffer.partition_bytes:,} bytes per "
        f"partition; {arena.size:,} are there, in use:\n{rows}",
        location=program.locations[op.location],
        pass_name="allocate-memory",
        hint="use a smaller batch or sequence, a narrower --auto-cast-type, or more cores",
    )


def _map_rows(buffers: Iterable[Buffer], target: Target) -> list[str]:
    ordered = sorted(buffers, key=lambda b: -b.partition_bytes)
    rows = [
        f"  {b.partition_bytes:>9,} B x {b.partitions:3} partitions @ {b.address:#07x}  {b.name}"
        for b in ordered[:MAP_ROWS]
    ]
    if len(ordered) > MAP_ROWS:
        rest = sum(b.partition_bytes for b in ordered[MAP_ROWS:])
        rows.append(f"  {rest:>9,} B in {len(ordered) - MAP_ROWS} more")
    return rows
