"""In which order, and on which engine, operations are issued."""

from __future__ import annotations

from dataclasses import dataclass, field

from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import Repeat
from axonc.passes.tile_level.dependencies import DependenceGraph


@dataclass
class Schedule:
    """The order in which operations are issued."""

    order: dict[Engine, list[int]]
    """Operation numbers per engine, in issue order, segment by segment."""
    graphs: list[DependenceGraph]
    """By segment, the dependences of its operations, which are counted from 0."""
    finish_ns: float
    """Modelled, without port conflicts and table loads."""
    position: dict[int, int] = field(default_factory=dict)

    @property
    def graph(self) -> DependenceGraph:
        """The dependences of a program of one segment."""
        (graph,) = self.graphs
        return graph

    def part(self, piece: Repeat) -> dict[Engine, list[int]]:
        """The order of one segment, its operations counted from 0."""
        first, end = piece.first, piece.end
        return {
            engine: [number - first for number in numbers if first <= number < end]
            for engine, numbers in self.order.items()
        }
