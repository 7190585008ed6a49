"""Makes a program smaller that goes wrong, as long as it goes wrong in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from axonc.tools.fuzz.program import CONSTANT, INPUT, Node, Program

MOST_TRIALS = 150
"""After so many, what there is is small enough."""


def shrunk(program: Program, goes_wrong: Callable[[Program], bool]) -> Program:
    """The smallest program found; `goes_wrong` is asked of each."""
    trials = 0
    changed = True
    while changed:
        changed = False
        for smaller in smaller_programs(program):
            if trials >= MOST_TRIALS:
                return program
            trials += 1
            if goes_wrong(smaller):
                program, changed = smaller, True
                break
    return program


def smaller_programs(program: Program) -> Iterator[Program]:
    """Programs with a result or an operation less, those that leave out most first."""
    if len(program.results) > 1:
        for result in program.results:
            yield replace(program, results=(result,)).without_dead_nodes()
        for result in program.results:
            others = tuple(r for r in program.results if r != result)
            yield replace(program, results=others).without_dead_nodes()
    for place in range(len(program.nodes) - 1, -1, -1):
        node = program.nodes[place]
        if node.op == INPUT:
            continue
        if node.op != CONSTANT and place not in program.results:
            yield with_node(program, place, Node(INPUT, (), node.kind, _plain(node, place)))
        for operand in node.operands:
            if program.nodes[operand].kind == node.kind:
                yield without_node(program, place, operand)


def _plain(node: Node, place: int) -> tuple[tuple[str, object], ...]:
    values = "normal" if node.kind.is_float else "small"
    return (("values", values), ("weight", False), ("number", 10_000 + place))


def with_node(program: Program, place: int, node: Node) -> Program:
    """One node replaced."""
    nodes = (*program.nodes[:place], node, *program.nodes[place + 1 :])
    return replace(program, nodes=nodes).without_dead_nodes()


def without_node(program: Program, place: int, instead: int) -> Program:
    """All that read a node read an earlier one of its kind."""
    nodes = tuple(
        replace(n, operands=tuple(instead if p == place else p for p in n.operands))
        for n in program.nodes
    )
    results = tuple(dict.fromkeys(instead if r == place else r for r in program.results))
    return Program(nodes, results).without_dead_nodes()
