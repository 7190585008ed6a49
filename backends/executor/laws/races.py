"""Find two accesses to the same bytes that nothing orders, at least one of them a write.

The history keeps, per memory and page of bytes, the accesses that a later one could still conflict
with. An access is dropped when a later one, ordered after it, covers its bytes: whatever conflicts
with the first then conflicts with the second or is ordered after both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from axonc.backends.executor.laws.happens_before import Clock, HappensBefore, engine_key
from axonc.backends.executor.laws.shadow import ByteDims, byte_dims
from axonc.backends.executor.steps.describe import describe_instruction
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.steps.step_failure import StepFailure
from axonc.backends.isa.access_pattern import Access, Dims, HbmAccess, Memory, TileAccess
from axonc.backends.isa.effects import accesses_read, accesses_written
from axonc.backends.targets.target import Target

PAGE_BYTES = {Memory.SBUF: 2048, Memory.PSUM: 2048, Memory.HBM: 65536}
CROWDED = 24
"""Accesses of a page from which on those every engine knows to be over are dropped."""


@dataclass(slots=True, eq=False)
class Entry:
    """One access: bytes [first, end) in partitions [low, high) (device memory: partition 0)."""

    agent: int
    time: int
    """With `agent`: whose event it is."""
    prepared: Prepared
    is_write: bool
    access: Access
    low: int
    high: int
    first: int
    end: int
    is_dense: bool
    """Every byte of that box is touched."""


def make_entry(agent: int, time: int, prepared: Prepared, is_write: bool, access: Access) -> Entry:
    first, end = access.byte_range()
    low, high = 0, 1
    if isinstance(access, TileAccess):
        low, high = access.start_partition, access.start_partition + access.num_partitions
    is_dense = _touched_bytes(access.dims, access.dtype.size_bytes) == end - first
    return Entry(agent, time, prepared, is_write, access, low, high, first, end, is_dense)


@lru_cache(maxsize=4096)
def _touched_bytes(dims: Dims, size: int) -> int:
    """Bytes of the pattern if its elements are distinct and fill their range; else less (0)."""
    expected, count = 1, 1
    for stride, extent in sorted(dims, key=lambda dim: abs(dim[0])):
        if extent == 1:
            continue
        if abs(stride) != expected:
            return 0
        expected *= extent
        count *= extent
    return count * size


class AccessHistory:
    """Accesses that later ones may conflict with. `is_over_for_all`: known to every engine."""

    def __init__(self, is_over_for_all: Callable[[Entry], bool]) -> None:
        self._pages: dict[tuple[Memory, int], list[Entry]] = {}
        self._is_over_for_all = is_over_for_all

    def add(self, new: Entry, clock: Clock) -> Entry | None:
        """Record `new`; the answer is an access it races with, if any."""
        memory = new.access.memory
        size = PAGE_BYTES[memory]
        # Those that stand in several pages are compared once.
        cleared: set[Entry] = set()
        for page in range(new.first // size, (new.end - 1) // size + 1):
            entries = self._pages.get((memory, page))
            if entries is None:
                self._pages[memory, page] = [new]
                continue
            low, high = page * size, (page + 1) * size
            kept = []
            for old in entries:
                if not _boxes_meet(old, new):
                    kept.append(old)
                    continue
                is_ordered = clock[old.agent] >= old.time
                if not is_ordered and old not in cleared:
                    if _conflict(old, new):
                        return old
                    cleared.add(old)
                if not (is_ordered and _replaces(new, old, low, high)):
                    kept.append(old)
            kept.append(new)
            if len(kept) > CROWDED:
                kept = [entry for entry in kept if not self._is_over_for_all(entry)]
            self._pages[memory, page] = kept
        return None


def _boxes_meet(a: Entry, b: Entry) -> bool:
    return a.first < b.end and b.first < a.end and a.low < b.high and b.low < a.high


def _conflict(old: Entry, new: Entry) -> bool:
    """Whether two unordered accesses touch a common byte, one of them writing."""
    if not (old.is_write or new.is_write):
        return False
    if old.agent == new.agent and old.time == new.time:
        return False  # one instruction's own operands
    if old.is_dense and new.is_dense:
        return True
    return bytes_meet(old.access, new.access)


def _replaces(new: Entry, old: Entry, low: int, high: int) -> bool:
    """Whether `new` covers what `old` touches within bytes [low, high) and is as strict."""
    if old.is_write and not new.is_write:
        return False
    if new.access == old.access:
        return True
    return (
        new.is_dense
        and new.low <= old.low
        and old.high <= new.high
        and new.first <= max(old.first, low)
        and min(old.end, high) <= new.end
    )


def bytes_meet(a: Access, b: Access) -> bool:
    """Whether two accesses whose boxes overlap touch a common byte (of one partition)."""
    distance = b.byte_range()[0] - a.byte_range()[0]
    if _lie_apart(byte_dims(a), byte_dims(b), distance):
        return False
    start = min(a.byte_range()[0], b.byte_range()[0])
    end = max(a.byte_range()[1], b.byte_range()[1])
    mask = np.zeros(end - start, np.bool_)
    _pattern(mask, start, a)[...] = True
    return bool(_pattern(mask, start, b).any())


@lru_cache(maxsize=4096)
def _lie_apart(ours: ByteDims, theirs: ByteDims, distance: int) -> bool:
    """Whether a stride of two patterns, the second of which begins `distance` later, tells them
    apart without looking at bytes: modulo the stride each touches an interval, and these do not
    meet. Such are columns of one matrix."""
    for pitch in {abs(stride) for stride, _ in (*ours, *theirs)} - {0, 1}:
        first, second = _run(ours, pitch), _run(theirs, pitch)
        if (
            max(first, second) <= pitch
            and first <= distance % pitch
            and second <= -distance % pitch
        ):
            return True
    return False


def _run(dims: ByteDims, pitch: int) -> int:
    """Length of the interval from the first byte on that holds all, modulo `pitch`: steps of
    multiples of it lead nowhere."""
    return 1 + sum(abs(stride) * (count - 1) for stride, count in dims if stride % pitch)


def _pattern(mask: np.ndarray, start: int, access: Access) -> np.ndarray:
    """The bytes `access` touches within one partition, as a view of `mask` (first byte `start`)."""
    dims = byte_dims(access)
    base = access.address if isinstance(access, HbmAccess) else access.byte_offset
    sizes, strides = tuple(n for _, n in dims), tuple(s for s, _ in dims)
    return np.ndarray(sizes, np.bool_, mask, base - start, strides)


def accesses_of(prepared: Prepared) -> list[tuple[bool, Access]]:
    """(is_write, access) of an instruction; what it reads and writes counts as written."""
    written = accesses_written(prepared.instruction)
    read = accesses_read(prepared.instruction)
    return [(False, a) for a in read if not any(a is w for w in written)] + [
        (True, a) for a in written
    ]


def check_order(
    target: Target, steps: Sequence[Prepared], is_read_only: Callable[[HbmAccess], bool]
) -> None:
    """Raises: StepFailure at the later of two racing accesses, or on a misused semaphore.

    steps: the trace, in an order the program can run in. is_read_only: whether only the host writes
    the tensor. An indirect transfer counts as touching its whole table.
    """
    _OrderCheck(target, steps, is_read_only).run()


class _OrderCheck:
    """One pass over a trace."""

    def __init__(
        self, target: Target, steps: Sequence[Prepared], is_read_only: Callable[[HbmAccess], bool]
    ) -> None:
        self.steps = steps
        self.is_read_only = is_read_only
        self.order = HappensBefore(steps, target.semaphore_max)
        self.history = AccessHistory(self._is_over_for_all)
        self._number = 0
        self._last_step = {
            self.order.agents[engine_key(prepared)]: number for number, prepared in enumerate(steps)
        }

    def run(self) -> None:
        for number, prepared in enumerate(self.steps):
            self._number = number
            try:
                agent, time, clock = self.order.start(prepared)
                self._check_accesses(prepared, agent, time, clock)
                self.order.finish(prepared, agent, time, clock)
            except Violation as violation:
                raise StepFailure(prepared, violation) from None

    def _check_accesses(self, prepared: Prepared, agent: int, time: int, clock: Clock) -> None:
        for is_write, access in accesses_of(prepared):
            if isinstance(access, HbmAccess) and self.is_read_only(access):
                continue
            new = make_entry(agent, time, prepared, is_write, access)
            old = self.history.add(new, clock)
            if old is not None:
                raise _race(old, new)

    def _is_over_for_all(self, entry: Entry) -> bool:
        """Whether every engine that still has something to do knows `entry` to be over."""
        return all(
            self.order.clocks[engine][entry.agent] >= entry.time
            for engine, last in self._last_step.items()
            if last >= self._number
        )


def _race(old: Entry, new: Entry) -> Violation:
    verbs = {True: "writes", False: "reads"}
    engine = old.prepared.engine.value
    where = new.access.memory.value
    first, end = max(old.first, new.first), min(old.end, new.end)
    return Violation(
        FindingKind.RACE,
        f"{verbs[new.is_write]} {where} bytes within [{first}, {end}), which "
        f"{engine}[{old.prepared.index}] {verbs[old.is_write]}; nothing orders the two\n"
        f"  other: {describe_instruction(old.prepared.instruction)}",
    )
