"""A program as data: typed operations on the results of earlier ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

INPUT, CONSTANT = "input", "constant"

FLOATS = ("f32", "bf16", "f16")
SIGNED = ("i8", "i16", "i32", "i64")
UNSIGNED = ("ui8", "ui16", "ui32", "ui64")
INTEGERS = SIGNED + UNSIGNED
BOOL = "i1"


@dataclass(frozen=True)
class Kind:
    """Shape and element type of a tensor."""

    shape: tuple[int, ...]
    element: str = "f32"

    def __str__(self) -> str:
        return "tensor<" + "".join(f"{n}x" for n in self.shape) + self.element + ">"

    @property
    def is_float(self) -> bool:
        return self.element in FLOATS

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for n in self.shape:
            count *= n
        return count

    def of(self, element: str) -> Kind:
        """The same shape of another element type."""
        return replace(self, element=element)

    def shaped(self, *shape: int) -> Kind:
        """The same element type in another shape."""
        return replace(self, shape=tuple(shape))


@dataclass(frozen=True)
class Node:
    """One operation with one result."""

    op: str
    """Name in the table of operations, or `INPUT`, `CONSTANT`."""
    operands: tuple[int, ...]
    """Places of earlier nodes."""
    kind: Kind
    """Of the result."""
    facts: tuple[tuple[str, Any], ...] = ()
    """Attributes by name."""

    def fact(self, name: str, default: Any = None) -> Any:
        return dict(self.facts).get(name, default)

    def with_facts(self, **facts: Any) -> Node:
        """A copy with some attributes changed."""
        return replace(self, facts=tuple({**dict(self.facts), **facts}.items()))


@dataclass(frozen=True)
class Program:
    """Nodes in an order in which they can be computed, and the places of what is returned."""

    nodes: tuple[Node, ...]
    results: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Places of the inputs, in order."""
        return tuple(i for i, node in enumerate(self.nodes) if node.op == INPUT)

    def without_dead_nodes(self) -> Program:
        """The same program of the nodes alone that a result needs."""
        needed = set(self.results)
        for place in range(len(self.nodes) - 1, -1, -1):
            if place in needed:
                needed.update(self.nodes[place].operands)
        places = {old: new for new, old in enumerate(sorted(needed))}
        nodes = (renumbered(self.nodes[old], places) for old in places)
        return Program(tuple(nodes), tuple(places[r] for r in self.results))

    def operations(self) -> Iterable[Node]:
        """All nodes that compute something."""
        return (node for node in self.nodes if node.op not in (INPUT, CONSTANT))


def renumbered(node: Node, places: Mapping[int, int]) -> Node:
    """The node with its operands elsewhere; those that are not in `places` stay."""
    return replace(node, operands=tuple(places.get(p, p) for p in node.operands))


def neutral_number(by: str, element: str) -> float | int | bool:
    """What a reduction starts from."""
    if by in ("add", "or"):
        return 0
    if by == "multiply":
        return 1
    if element in (*FLOATS, "f64"):
        return -math.inf if by == "maximum" else math.inf
    return _integer_neutral(by, element)


def _integer_neutral(by: str, element: str) -> int | bool:
    if element == BOOL:
        return by in ("and", "minimum")
    bits = int(element.lstrip("ui"))
    unsigned = element[0] == "u"
    if by == "and":
        return (1 << bits) - 1 if unsigned else -1
    if by == "minimum":
        return (1 << bits) - 1 if unsigned else (1 << (bits - 1)) - 1
    return 0 if unsigned else -(1 << (bits - 1))
