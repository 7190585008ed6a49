"""Which operations of a tile program must finish before which others: an analysis.

Read after write, write after read and write after write within a buffer, by overlapping rectangles
of partitions x bytes. Once buffers have addresses, a buffer also inherits the bytes of its
predecessors: its writes wait for their last readers. That is one extra *release* node per buffer
that is replaced, so that the graph stays linear in the number of accesses."""

from __future__ import annotations

from dataclasses import dataclass, field

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Role
from axonc.passes.tile_program import Buffer, TileProgram

Region = tuple[int, int, int, int]


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


def overlap(a: Region, b: Region) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def covers(outer: Region, inner: Region) -> bool:
    return (
        outer[0] <= inner[0]
        and inner[1] <= outer[1]
        and outer[2] <= inner[2]
        and inner[3] <= outer[3]
    )


@dataclass
class _History:
    """Accesses to one buffer that later ones may depend on. inherited: release nodes of the buffers
    that had these bytes before."""

    writers: list[tuple[Region, int]] = field(default_factory=list)
    readers: list[tuple[Region, int]] = field(default_factory=list)
    inherited: list[int] = field(default_factory=list)

    def read(self, region: Region, op: int, before: set[int]) -> None:
        before.update(i for r, i in self.writers if overlap(r, region))
        self.readers.append((region, op))

    def write(self, region: Region, op: int, before: set[int]) -> None:
        before.update(i for r, i in self.writers if overlap(r, region))
        before.update(i for r, i in self.readers if overlap(r, region))
        before.update(self.inherited)
        self.writers = [(r, i) for r, i in self.writers if not covers(region, r)]
        self.readers = [(r, i) for r, i in self.readers if not covers(region, r)]
        self.writers.append((region, op))


class _Ownership:
    """Which buffer had which bytes of an on-chip memory last."""

    def __init__(self) -> None:
        self._owners: list[tuple[int, int, Buffer]] = []

    def take(self, buffer: Buffer) -> list[Buffer]:
        """`buffer` starts; returns the buffers whose bytes it takes over."""
        low, high = buffer.address, buffer.address + buffer.partition_bytes
        kept: list[tuple[int, int, Buffer]] = []
        previous: list[Buffer] = []
        for first, last, owner in self._owners:
            if last <= low or high <= first:
                kept.append((first, last, owner))
                continue
            previous.append(owner)
            if first < low:
                kept.append((first, low, owner))
            if high < last:
                kept.append((high, last, owner))
        kept.append((low, high, buffer))
        self._owners = kept
        return list(dict.fromkeys(previous))


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
                region = view.region()
                if role is not Role.WRITE:
                    history.read(region, number, before)
                if role is not Role.READ:
                    history.write(region, number, before)
            before.discard(number)
            self.predecessors[number] = sorted(before)
        return DependenceGraph(len(self.program.ops), self.predecessors)

    def _history(self, buffer: Buffer) -> _History:
        history = self.histories.get(buffer)
        if history is None:
            history = self.histories[buffer] = _History()
            if buffer.address >= 0 and buffer.memory in self.ownership:
                taken = self.ownership[buffer.memory].take(buffer)
                history.inherited = [self._release(previous) for previous in taken]
        return history

    def _release(self, buffer: Buffer) -> int:
        """The node after the last accesses of a buffer whose life is over."""
        if buffer not in self.releases:
            history = self.histories[buffer]
            users = {i for _, i in history.writers} | {i for _, i in history.readers}
            users |= set(history.inherited)
            self.releases[buffer] = len(self.predecessors)
            self.predecessors.append(sorted(users))
        return self.releases[buffer]


def dependence_graph(program: TileProgram) -> DependenceGraph:
    """The graph of `program`, in whose order every predecessor comes first (releases aside)."""
    return _Analysis(program).run()
