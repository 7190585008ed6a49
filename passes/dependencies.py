"""Which operations of a tile program must finish before which others: an analysis.

Read after write, write after read and write after write within a buffer, by footprints. Once
buffers have addresses, a buffer also inherits the bytes of its predecessors: its writes wait for
their last readers. That is one extra *release* node per buffer that is replaced, so that the graph
stays linear in the number of accesses.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Role
from axonc.passes.footprint import Footprint, covers, footprint, may_overlap
from axonc.passes.tile_program import Buffer, TileProgram


@dataclass
class DependenceGraph:
    """predecessors[i]: nodes before node i. Nodes below `op_count` are the program's operations;
    the others are releases, which take no time."""

    op_count: int
    predecessors: list[list[int]]

    def successors(self) -> list[list[int]]:
        result: list[list[int]] = [[] for _ in self.predecessors]
        for node, before in enumerate(self.predecessors):
            for other in before:
                result[other].append(node)
        return result


@dataclass
class _History:
    """Accesses to one buffer that later ones may depend on. inherited: release nodes of the buffers
    that had these bytes before."""

    writers: list[tuple[Footprint, int]] = field(default_factory=list)
    readers: list[tuple[Footprint, int]] = field(default_factory=list)
    inherited: list[tuple[Footprint, int]] = field(default_factory=list)

    def read(self, touched: Footprint, op: int, before: set[int]) -> None:
        before.update(i for f, i in self.writers if may_overlap(f, touched))
        self.readers.append((touched, op))

    def write(self, touched: Footprint, op: int, before: set[int]) -> None:
        """Earlier accesses that this one replaces are dropped: later ones reach them through it."""
        for accesses in (self.writers, self.readers, self.inherited):
            if accesses:
                before.update(i for f, i in accesses if may_overlap(f, touched))
                accesses[:] = [(f, i) for f, i in accesses if not covers(touched, f)]
        self.writers.append((touched, op))


class _Ownership:
    """Which buffer had which bytes of an on-chip memory last: disjoint ranges, ascending."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ranges: list[tuple[int, int, Buffer]] = []

    def take(self, buffer: Buffer) -> list[tuple[int, int, Buffer]]:
        """`buffer` starts; returns the ranges it takes over, cut to its own."""
        low, high = buffer.address, buffer.address + buffer.partition_bytes
        start = max(0, bisect_right(self._firsts, low) - 1)
        end = bisect_left(self._firsts, high)
        taken, kept = [], []
        for first, last, owner in self._ranges[start:end]:
            if first < low:
                kept.append((first, min(last, low), owner))
            if max(first, low) < min(last, high):
                taken.append((max(first, low), min(last, high), owner))
            if high < last:
                kept.append((high, last, owner))
        kept = sorted([*kept, (low, high, buffer)], key=lambda r: r[0])
        self._ranges[start:end] = kept
        self._firsts[start:end] = [first for first, _, _ in kept]
        return taken


class _Analysis:
    def __init__(self, program: TileProgram) -> None:
        self.program = program
        self.histories: dict[Buffer, _History] = {}
        self.releases: dict[Buffer, int] = {}
        self.predecessors: list[list[int]] = [[] for _ in program.ops]
        self.ownership = {Memory.SBUF: _Ownership(), Memory.PSUM: _Ownership()}

    def run(self) -> DependenceGraph:
        for number, op in enumerate(self.program.ops):
            before: set[int] = set()
            for role, view in op.accesses():
                history = self._history(view.buffer)
                touched = footprint(view)
                if role is not Role.WRITE:
                    history.read(touched, number, before)
                if role is not Role.READ:
                    history.write(touched, number, before)
            before.discard(number)
            self.predecessors[number] = sorted(before)
        return DependenceGraph(len(self.program.ops), self.predecessors)

    def _history(self, buffer: Buffer) -> _History:
        history = self.histories.get(buffer)
        if history is None:
            history = self.histories[buffer] = _History()
            if buffer.address >= 0 and buffer.memory in self.ownership:
                history.inherited = self._inherit(buffer)
        return history

    def _inherit(self, buffer: Buffer) -> list[tuple[Footprint, int]]:
        """What `buffer` takes over from others, in its own byte offsets, with their releases."""
        return [
            (
                Footprint(0, previous.partitions, first - buffer.address, last - buffer.address),
                self._release(previous),
            )
            for first, last, previous in self.ownership[buffer.memory].take(buffer)
        ]

    def _release(self, buffer: Buffer) -> int:
        """The node after the last accesses of a buffer whose life is over."""
        if buffer not in self.releases:
            history = self.histories[buffer]
            users = {i for _, i in history.writers} | {i for _, i in history.readers}
            users |= {i for _, i in history.inherited}
            self.releases[buffer] = len(self.predecessors)
            self.predecessors.append(sorted(users))
        return self.releases[buffer]


def dependence_graph(program: TileProgram) -> DependenceGraph:
    """The graph of `program`, in whose order every predecessor comes first (releases aside)."""
    return _Analysis(program).run()
