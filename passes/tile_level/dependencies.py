"""Which operations of a tile program must finish before which others: an analysis.

Read after write, write after read and write after write within a buffer, by footprints. Once
buffers have addresses, a buffer also inherits the bytes of its predecessors: its writes wait for
their last readers. That is one extra *release* node per buffer that is replaced, so that the graph
stays linear in the number of accesses.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Set
from dataclasses import dataclass, field

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Role
from axonc.dialects.ntile.footprint import Footprint, footprint
from axonc.dialects.ntile.program import Buffer, TileProgram
from axonc.passes.tile_level.accesses import Accesses


@dataclass
class DependenceGraph:
    """Which nodes have to come before which."""

    op_count: int
    """Nodes below it are the program's operations; the others are releases, which take no time."""
    predecessors: list[list[int]]
    """By node, the nodes before it."""

    def successors(self) -> list[list[int]]:
        result: list[list[int]] = [[] for _ in self.predecessors]
        for node, before in enumerate(self.predecessors):
            for other in before:
                result[other].append(node)
        return result


@dataclass
class _History:
    """Accesses to one buffer that later ones may depend on."""

    partitions: int
    """The most that any of all these has: what had the bytes before may reach farther."""
    writers: Accesses = field(default_factory=Accesses)
    readers: Accesses = field(default_factory=Accesses)
    inherited: Accesses = field(default_factory=Accesses)
    """Release nodes of the buffers that had these bytes before."""

    def read(self, touched: Footprint, op: int, before: set[int]) -> None:
        before.update(self.writers.meeting(touched))
        self.readers.add(touched, op)

    def write(self, touched: Footprint, op: int, before: set[int]) -> None:
        """Earlier accesses that this one replaces are dropped: later ones reach them through it."""
        for accesses in (self.writers, self.readers, self.inherited):
            if accesses:
                before.update(accesses.replaced_by(touched))
        self.writers.add(touched, op)


Life = tuple[Buffer, int]
"""A buffer, and the iteration it lives in: bytes of the same place are another life in each. A
renewed buffer's lives begin with the first write of an iteration."""


class _Ownership:
    """Whose the bytes of an on-chip memory were last: disjoint ranges, ascending."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ranges: list[tuple[int, int, Life]] = []

    def take(self, life: Life) -> list[tuple[int, int, Life]]:
        """`life` starts; returns the ranges it takes over, cut to its own."""
        buffer, _ = life
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
        kept = sorted([*kept, (low, high, life)], key=lambda r: r[0])
        self._ranges[start:end] = kept
        self._firsts[start:end] = [first for first, _, _ in kept]
        return taken


class _Analysis:
    """iterations: how often the operations are unrolled. lasting: buffers that are the same in all
    iterations."""

    def __init__(self, program: TileProgram, iterations: int, lasting: Set[Buffer]) -> None:
        self.ops = program.ops * iterations
        self.period = max(1, len(program.ops))
        self.lasting = lasting
        self.renewals = _first_writes(program)
        self.histories: dict[Life, _History] = {}
        self.releases: dict[Life, int] = {}
        self.predecessors: list[list[int]] = [[] for _ in self.ops]
        self.ownership = {Memory.SBUF: _Ownership(), Memory.PSUM: _Ownership()}

    def run(self) -> DependenceGraph:
        for number, op in enumerate(self.ops):
            before: set[int] = set()
            for role, view in op.accesses():
                history = self._history(view.buffer, number)
                touched = footprint(view)
                if role is not Role.WRITE:
                    history.read(touched, number, before)
                if role is not Role.READ:
                    history.write(touched, number, before)
            before.discard(number)
            self.predecessors[number] = sorted(before)
        return DependenceGraph(len(self.ops), self.predecessors)

    def _history(self, buffer: Buffer, number: int) -> _History:
        on_chip = buffer.memory in self.ownership
        is_of_iteration = on_chip or bool(buffer.each)
        life = (buffer, self._generation(buffer, number) if is_of_iteration else 0)
        history = self.histories.get(life)
        if history is None:
            history = self.histories[life] = _History(buffer.partitions)
            if buffer.address >= 0 and on_chip:
                self._inherit(life, history)
        return history

    def _generation(self, buffer: Buffer, number: int) -> int:
        iteration, within = divmod(number, self.period)
        if buffer in self.renewals:
            return iteration + (within >= self.renewals[buffer])
        return 0 if buffer in self.lasting else iteration

    def _inherit(self, life: Life, history: _History) -> None:
        """What a life takes over from others, in its own byte offsets, with their releases."""
        start = life[0].address
        for first, last, old in self.ownership[life[0].memory].take(life):
            partitions = self.histories[old].partitions
            taken = Footprint(0, partitions, first - start, last - start)
            history.inherited.add(taken, self._release(old))
            history.partitions = max(history.partitions, partitions)

    def _release(self, life: Life) -> int:
        """The node after the last accesses of a life that is over."""
        if life not in self.releases:
            history = self.histories[life]
            users = {i for _, i in history.writers} | {i for _, i in history.readers}
            users |= {i for _, i in history.inherited}
            self.releases[life] = len(self.predecessors)
            self.predecessors.append(sorted(users))
        return self.releases[life]


def _first_writes(program: TileProgram) -> dict[Buffer, int]:
    """The operation that writes each renewed buffer first."""
    found: dict[Buffer, int] = {}
    if any(buffer.renewed for buffer in program.buffers):
        for number, op in enumerate(program.ops):
            for role, view in op.accesses():
                if view.buffer.renewed and role is not Role.READ:
                    found.setdefault(view.buffer, number)
    return found


def dependence_graph(
    program: TileProgram, iterations: int = 1, lasting: Set[Buffer] = frozenset()
) -> DependenceGraph:
    """The graph of `program`, in whose order every predecessor comes first (releases aside).

    iterations: the operations follow each other so often; operation i of iteration k is node
    k * len(ops) + i. lasting: buffers that keep their contents from one iteration to the next.
    """
    return _Analysis(program, iterations, lasting).run()
