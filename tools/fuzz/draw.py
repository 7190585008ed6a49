"""Random programs: operations drawn one after the other, on values that are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from axonc.tools.fuzz.graph import MOST_ELEMENTS, Graph
from axonc.tools.fuzz.program import BOOL, FLOATS, INTEGERS, Kind, Node, Program

_T = TypeVar("_T")

SIZES = (1, 2, 3, 5, 7, 8, 16, 31, 32, 33, 64, 65, 96, 127, 128, 129, 130, 200, 256, 257, 513)

EVEN_SIZES = tuple(size for size in SIZES if size % 2 == 0)

LARGEST_REACH = {"f32": 1e4, "bf16": 1e3, "f16": 200.0}
"""Numbers beyond are ordinary no more: nothing else is drawn upon them."""


class Draw(Graph):
    """A graph that is drawn."""

    def __init__(self, rng: np.random.Generator, sizes: Sequence[int] = SIZES) -> None:
        super().__init__()
        self.rng = rng
        self.sizes = [int(s) for s in rng.choice(sizes, int(rng.integers(2, 4)))]
        self.element = self.one_of(("f32",) * 6 + ("bf16",) * 2 + ("f16",))

    # ---- choices

    def one_of(self, options: Sequence[_T]) -> _T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def below(self, limit: int, low: int = 0) -> int:
        """A number of low .. limit - 1."""
        return int(self.rng.integers(low, max(limit, low + 1)))

    def some_shape(self) -> tuple[int, ...]:
        """Of the sizes of this program, so that shapes meet again."""
        rank = self.one_of((1, 2, 2, 2, 2, 3, 3, 4))
        shape = [self.one_of(self.sizes) for _ in range(rank)]
        while int(np.prod(shape)) > MOST_ELEMENTS:
            shape[int(np.argmax(shape))] = self.one_of((1, 2, 3, 5))
        return tuple(shape)

    def some(self, test: Callable[[Kind], bool] = lambda kind: True) -> int | None:
        """A value that fits, late ones more often."""
        fitting = [p for p, n in enumerate(self.nodes) if test(n.kind) and self._is_ordinary(p)]
        if not fitting:
            return None
        back = min(int(self.rng.exponential(3)), len(fitting) - 1)
        return fitting[len(fitting) - 1 - back]

    def _is_ordinary(self, place: int) -> bool:
        limit = LARGEST_REACH.get(self.kind(place).element, float("inf"))
        return self.reach(place) <= limit

    def some_float(self, rank: int = 0) -> int:
        """A float tensor of at least a rank."""
        found = self.some(lambda k: k.is_float and len(k.shape) >= max(rank, 1) and k.size > 0)
        return self.new_float(rank) if found is None or self.chance(0.1) else found

    def new_float(self, rank: int = 0) -> int:
        shape = self.some_shape()
        while len(shape) < rank:
            shape = (self.one_of((1, 2, 3)), *shape)
        values = self.one_of(("normal",) * 5 + ("small", "positive"))
        return self.input(Kind(shape, self.element), values)

    def some_integer(self) -> int:
        found = self.some(lambda k: k.element in INTEGERS)
        if found is not None and not self.chance(0.3):
            return found
        element = self.one_of(("i32",) * 4 + INTEGERS)
        values = self.one_of(("small", "small", "extreme"))
        return self.input(Kind(self.some_shape(), element), values)

    def some_tensor(self) -> int:
        """Of any type, floats more often."""
        if self.chance(0.75):
            return self.some_float()
        found = self.some(lambda k: not k.is_float and len(k.shape) > 0)
        return self.some_integer() if found is None else found

    def matching(self, x: int, is_weight: bool = False) -> int:
        """A value of the kind of x: another one, a broadcast vector, a number, a new input."""
        kind = self.kind(x)
        others = self.some(lambda k: k == kind)
        how = self.rng.random()
        if others is not None and how < 0.5:
            return others
        if how < 0.65:
            return self.constant(kind, self.some_number(kind.element))
        if how < 0.85 and kind.shape:
            return self._broadcast_to(kind)
        return self.input(kind, "normal" if kind.is_float else "small", is_weight)

    def some_number(self, element: str) -> float | int | bool:
        if element == BOOL:
            return self.chance(0.5)
        if element in FLOATS:
            return self.one_of((0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, 0.1, -0.1, -2.5, 7.0))
        return self.one_of((0, 1, 2, 3, 5, 7))

    def _broadcast_to(self, kind: Kind) -> int:
        """Along some of the dims of a kind: a row, a column, a plane, with dims of 1 or without."""
        dims = [d for d in range(len(kind.shape)) if self.chance(0.5)]
        shape = tuple(1 if self.chance(0.15) else kind.shape[d] for d in dims)
        part = self.some(lambda k: k == Kind(shape, kind.element))
        if part is None:
            part = self.input(
                Kind(shape, kind.element), "normal" if kind.is_float else "small",
                self.chance(0.5),
            )  # fmt: skip
        return self.broadcast(part, kind.shape, dims)

    def places(self, below: int, *shape: int) -> int:
        """Indices, some of them outside of 0 .. below - 1."""
        element = self.one_of(("i32", "i32", "i64", "ui32", "i8" if below < 120 else "i32"))
        return self.indices(Kind(tuple(shape), element), below)

    def finish(self) -> Program:
        """Results: the last values, and a few others."""
        used = {p for node in self.nodes for p in node.operands}
        ends = [p for p, n in enumerate(self.nodes) if p not in used and n.op != "input"]
        ends = ends[-4:] or [len(self.nodes) - 1]
        if self.chance(0.3):
            ends.append(self.below(len(self.nodes)))
        return self.program(*dict.fromkeys(ends))


def normalised(draw: Draw, x: int) -> int:
    """x, made ordinary again if its numbers may be large."""
    if draw.kind(x).is_float and draw.reach(x) > 30:
        return draw.unary("tanh", x)
    return x


def repeated(program: Program, times: int) -> Program:
    """The program several times, each on a result of the one before in place of an input of its
    kind; its weights, which are the other inputs, are new ones each time. Without such a result,
    the program itself."""
    pair = _carried(program)
    if pair is None or times < 2:
        return program
    carried, source = pair
    nodes: list[Node] = []
    results: list[int] = []
    last: int | None = None
    for _ in range(times):
        places: dict[int, int] = {}
        for place, node in enumerate(program.nodes):
            if place == carried and last is not None:
                places[place] = last
                continue
            places[place] = len(nodes)
            moved = tuple(places[p] for p in node.operands)
            is_weight = node.op == "input" and place != carried and node.kind.is_float
            new = node.with_facts(weight=True) if is_weight else node
            new = new.with_facts(number=len(nodes)) if node.op == "input" else new
            nodes.append(Node(new.op, moved, new.kind, new.facts))
        last = _bounded(nodes, places[source])
        results = [places[r] for r in program.results]
    assert last is not None
    return Program(tuple(nodes), tuple(dict.fromkeys([*results, last]))).without_dead_nodes()


def _bounded(nodes: list[Node], place: int) -> int:
    nodes.append(Node("tanh", (place,), nodes[place].kind))
    return len(nodes) - 1


def _carried(program: Program) -> tuple[int, int] | None:
    """(an input, the last value of its kind that depends on it)."""
    for carried in program.inputs:
        kind = program.nodes[carried].kind
        if not kind.is_float or not kind.size:
            continue
        reached = {carried}
        for place, node in enumerate(program.nodes):
            if reached.intersection(node.operands):
                reached.add(place)
        same = [p for p in reached if program.nodes[p].kind == kind and p != carried]
        if same:
            return carried, max(same)
    return None
