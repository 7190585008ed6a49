"""A program that grows: typed constructors, each with the rule of its result's shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from axonc.tools.fuzz.inputs import rounded
from axonc.tools.fuzz.program import (
    BOOL,
    CONSTANT,
    INPUT,
    Kind,
    Node,
    Program,
    neutral_number,
)

MOST_ELEMENTS = 40_000
"""Of one tensor: more take long to compute and show nothing that fewer do not."""

Places = tuple[int, ...]

_REACH: dict[str, Callable[[float], float]] = {
    "tanh": lambda r: 1.0,
    "logistic": lambda r: 1.0,
    "sine": lambda r: 1.0,
    "cosine": lambda r: 1.0,
    "sign": lambda r: 1.0,
    "chlo.erf": lambda r: 1.0,
    "exponential": lambda r: math.exp(min(r, 90.0)),
    "exponential_minus_one": lambda r: math.exp(min(r, 90.0)),
    "log": lambda r: 20.0,
    "log_plus_one": lambda r: 20.0,
    "rsqrt": lambda r: 100.0,
    "sqrt": lambda r: math.sqrt(r) + 1,
}
"""How large results are for operands up to a size; others are as large as their operand."""


class Graph:
    """Nodes so far. `reach` of a node: how large its numbers may be, roughly, so that programs are
    drawn whose numbers stay ordinary."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.reaches: list[float] = []

    def kind(self, place: int) -> Kind:
        return self.nodes[place].kind

    def reach(self, *places: int) -> float:
        """The largest of some nodes."""
        return max(self.reaches[p] for p in places)

    def program(self, *results: int) -> Program:
        """What has grown, with these results."""
        return Program(tuple(self.nodes), results).without_dead_nodes()

    def add(self, op: str, operands: Places, kind: Kind, reach: float, **facts: Any) -> int:
        self.nodes.append(Node(op, operands, kind, tuple(facts.items())))
        self.reaches.append(reach)
        return len(self.nodes) - 1

    # ---- leaves

    def input(self, kind: Kind, values: str = "normal", weight: bool = False) -> int:
        """values: the name of a kind of numbers (`inputs.VALUES`)."""
        reach = 1.0 if kind.element == BOOL else 4.0
        return self.add(
            INPUT, (), kind, reach, values=values, weight=weight, number=len(self.nodes)
        )

    def indices(self, kind: Kind, below: int) -> int:
        """Places in a dim, some of them outside of 0 .. below - 1."""
        return self.add(
            INPUT, (), kind, float(below), values="places", weight=False, below=below,
            number=len(self.nodes),
        )  # fmt: skip

    def constant(self, kind: Kind, *values: float | int | bool) -> int:
        """One number everywhere, or all of them."""
        reach = max((abs(float(v)) for v in values if math.isfinite(v)), default=1.0)
        if kind.is_float:
            values = tuple(rounded(float(v), kind.element) for v in values)
        return self.add(CONSTANT, (), kind, reach, values=values)

    def iota(self, kind: Kind, dim: int) -> int:
        return self.add("iota", (), kind, float(kind.shape[dim]), dim=dim)

    # ---- element by element

    def unary(self, op: str, x: int) -> int:
        reach = _REACH.get(op, lambda r: r)(self.reach(x))
        return self.add(op, (x,), self.kind(x), reach)

    def binary(self, op: str, a: int, b: int) -> int:
        left, right = self.reach(a), self.reach(b)
        reach = {
            "add": left + right,
            "subtract": left + right,
            "multiply": left * right,
            "atan2": 4.0,
        }.get(op, max(left, right))
        return self.add(op, (a, b), self.kind(a), reach)

    def compare(self, direction: str, a: int, b: int) -> int:
        return self.add("compare", (a, b), self.kind(a).of(BOOL), 1.0, direction=direction)

    def select(self, condition: int, a: int, b: int) -> int:
        return self.add("select", (condition, a, b), self.kind(a), self.reach(a, b))

    def clamp(self, low: int, x: int, high: int) -> int:
        return self.add("clamp", (low, x, high), self.kind(x), self.reach(low, x, high))

    def convert(self, x: int, element: str) -> int:
        return self.add("convert", (x,), self.kind(x).of(element), self.reach(x))

    def is_finite(self, x: int) -> int:
        return self.add("is_finite", (x,), self.kind(x).of(BOOL), 1.0)

    def like(self, x: int, number: float) -> int:
        """One number in the kind of x."""
        return self.constant(self.kind(x), number)

    # ---- movement

    def reshape(self, x: int, *shape: int) -> int:
        return self.add("reshape", (x,), self.kind(x).shaped(*shape), self.reach(x))

    def transpose(self, x: int, *dims: int) -> int:
        shape = [self.kind(x).shape[d] for d in dims]
        return self.add("transpose", (x,), self.kind(x).shaped(*shape), self.reach(x), dims=dims)

    def broadcast(self, x: int, shape: Sequence[int], dims: Sequence[int]) -> int:
        kind = self.kind(x).shaped(*shape)
        return self.add("broadcast_in_dim", (x,), kind, self.reach(x), dims=tuple(dims))

    def reverse(self, x: int, *dims: int) -> int:
        return self.add("reverse", (x,), self.kind(x), self.reach(x), dims=dims)

    def slice(self, x: int, start: Places, limit: Places, step: Places = ()) -> int:
        step = step or (1,) * len(start)
        spans = zip(start, limit, step, strict=True)
        kind = self.kind(x).shaped(*(-(-(b - a) // c) for a, b, c in spans))
        return self.add("slice", (x,), kind, self.reach(x), start=start, limit=limit, step=step)

    def pad(self, x: int, value: int, low: Places, high: Places, inner: Places) -> int:
        shape = [
            a + n + max(n - 1, 0) * i + b
            for n, a, b, i in zip(self.kind(x).shape, low, high, inner, strict=True)
        ]
        kind = self.kind(x).shaped(*shape)
        return self.add(
            "pad", (x, value), kind, self.reach(x, value), low=low, high=high, inner=inner
        )

    def concatenate(self, dim: int, *parts: int) -> int:
        shape = list(self.kind(parts[0]).shape)
        shape[dim] = sum(self.kind(p).shape[dim] for p in parts)
        kind = self.kind(parts[0]).shaped(*shape)
        return self.add("concatenate", parts, kind, self.reach(*parts), dim=dim)

    def dynamic_slice(self, x: int, starts: Places, sizes: Places) -> int:
        kind = self.kind(x).shaped(*sizes)
        return self.add("dynamic_slice", (x, *starts), kind, self.reach(x))

    def dynamic_update(self, x: int, update: int, starts: Places) -> int:
        return self.add(
            "dynamic_update_slice", (x, update, *starts), self.kind(x), self.reach(x, update)
        )

    def take(self, table: int, indices: int, dim: int) -> int:
        """Slices of one along a dim, by indices of any shape: `table[:, indices]`."""
        shape, places = self.kind(table).shape, self.kind(indices).shape
        kind = self.kind(table).shaped(*shape[:dim], *places, *shape[dim + 1 :])
        count = len(places)
        offset = (*range(dim), *range(dim + count, len(kind.shape)))
        sizes = tuple(1 if d == dim else n for d, n in enumerate(shape))
        return self.add(
            "gather", (table, indices), kind, self.reach(table), offset=offset,
            collapsed=(dim,), map=(dim,), vector=count, sizes=sizes,
        )  # fmt: skip

    def scatter(self, by: str, table: int, updates: int, indices: int) -> int:
        """Rows of `table` at `indices` [n] are combined with those of `updates`."""
        rank = len(self.kind(table).shape)
        count = self.kind(indices).size
        reach = self.reach(table, updates) * (count if by == "add" else 1)
        return self.add(
            "scatter", (table, updates, indices), self.kind(table), reach, by=by,
            window=tuple(range(1, rank)), inserted=(0,), map=(0,), vector=1, terms=count + 1,
        )  # fmt: skip

    # ---- reductions, products, sorting

    def reduce(self, by: str, x: int, *dims: int) -> int:
        kind = self.kind(x)
        left = [n for d, n in enumerate(kind.shape) if d not in dims]
        terms = math.prod(kind.shape[d] for d in dims)
        reach = self.reach(x) * (terms if by == "add" else 1)
        start = self.constant(kind.shaped(), neutral_number(by, kind.element))
        return self.add(
            "reduce", (x, start), kind.shaped(*left), reach, by=by, dims=dims, terms=max(terms, 1)
        )

    def reduce_window(
        self, by: str, x: int, window: Places, strides: Places, padding: Sequence[Places]
    ) -> int:
        kind = self.kind(x)
        sizes = zip(kind.shape, window, strides, padding, strict=True)
        shape = [(n + low + high - w) // s + 1 for n, w, s, (low, high) in sizes]
        start = self.constant(kind.shaped(), neutral_number(by, kind.element))
        ones = (1,) * len(window)
        terms = math.prod(window)
        reach = self.reach(x) * (terms if by == "add" else 1)
        return self.add(
            "reduce_window", (x, start), kind.shaped(*shape), reach, by=by, terms=terms,
            window_dimensions=window, window_strides=strides, base_dilations=ones,
            window_dilations=ones, padding=tuple(padding),
        )  # fmt: skip

    def dot(
        self, a: int, b: int, contract: tuple[Places, Places],
        batch: tuple[Places, Places] = ((), ()),
    ) -> int:  # fmt: skip
        left, right = self.kind(a).shape, self.kind(b).shape
        shape = [left[d] for d in batch[0]]
        shape += [n for d, n in enumerate(left) if d not in contract[0] + batch[0]]
        shape += [n for d, n in enumerate(right) if d not in contract[1] + batch[1]]
        terms = math.prod(left[d] for d in contract[0])
        reach = self.reach(a) * self.reach(b) * math.sqrt(max(terms, 1))
        kind = self.kind(a).shaped(*shape)
        return self.add(
            "dot_general", (a, b), kind, reach, contract=contract, batch=batch, terms=terms
        )

    def matmul(self, a: int, b: int) -> int:
        """a @ b of matrices, or of stacks of them of one size."""
        rank = len(self.kind(a).shape)
        stack = tuple(range(rank - 2))
        return self.dot(a, b, ((rank - 1,), (rank - 2,)), (stack, stack))

    def sort(self, direction: str, dim: int, which: int, *tensors: int) -> int:
        kind = self.kind(tensors[which])
        return self.add(
            "sort", tensors, kind, self.reach(tensors[which]), direction=direction, dim=dim,
            which=which,
        )  # fmt: skip

    # ---- what is often meant

    def along(self, x: int, like: int, dims: Sequence[int]) -> int:
        """x in the shape of another node, its dims being these ones of it."""
        return self.broadcast(x, self.kind(like).shape, dims)

    def kept(self, by: str, x: int, dim: int) -> int:
        """A reduction over one dim, repeated along it."""
        rank = len(self.kind(x).shape)
        others = [d for d in range(rank) if d != dim]
        return self.along(self.reduce(by, x, dim), x, others)
