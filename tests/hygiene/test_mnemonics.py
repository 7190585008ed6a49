"""What an instruction is, its entry says: no table of mnemonics is kept beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, source_files

from axonc.backends.isa import INSTRUCTIONS

OWNERS = ("backends/isa/", "backends/encoding/examples.py", "backends/executor/semantics/")
"""Entries, their examples, and what they compute."""

EXCEPTIONS = {
    "passes/prepare/expand_wide.py": "operations of StableHLO that have the names of instructions",
    "passes/prepare/integer_ranges.py": "operations of StableHLO with the names of instructions",
    "passes/legalize/collectives.py": "operations of StableHLO that have the names of instructions",
}


def tables(text: str) -> Iterator[tuple[int, set[str]]]:
    """(line, strings) of literals that something is looked up in: the keys of a dict, the members
    of a set, of the argument of set() or frozenset(), and of what follows `in`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Dict):
            yield node.lineno, strings(node.keys)
        elif isinstance(node, ast.Set):
            yield node.lineno, strings(node.elts)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("set", "frozenset"):
                yield from members(node.args)
        elif isinstance(node, ast.Compare):
            if any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
                yield from members(node.comparators)


def members(nodes: list[ast.expr]) -> Iterator[tuple[int, set[str]]]:
    for node in nodes:
        if isinstance(node, ast.Tuple | ast.List):
            yield node.lineno, strings(node.elts)


def strings(nodes: list[ast.expr | None] | list[ast.expr]) -> set[str]:
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def of_mnemonics(text: str) -> list[int]:
    """Lines of the tables in which two mnemonics or more stand."""
    names = {spec.mnemonic for spec in INSTRUCTIONS}
    return [line for line, found in tables(text) if len(found & names) > 1]


def test_tables_of_mnemonics_are_where_the_entries_are() -> None:
    found: dict[str, list[int]] = {}
    for path in map(Path.as_posix, source_files()):
        lines = [] if path.startswith(OWNERS) else of_mnemonics((ROOT / path).read_text())
        if lines:
            found[path] = lines
    assert {p: lines for p, lines in found.items() if p not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) <= set(found), "an exception that is none"


@pytest.mark.parametrize(
    "text",
    [
        'COSTS = {"iota": 1, "memset": 2}',
        'EASY = {"iota", "memset", "other"}',
        'EASY = frozenset(("iota", "memset"))',
        'if step.mnemonic not in ("iota", "memset"): pass',
    ],
)
def test_a_table_is_found(text: str) -> None:
    assert of_mnemonics(text) == [1]


@pytest.mark.parametrize("text", ['OPS = {"iota": 1, "add": 2}', 'emit("iota"); emit("memset")'])
def test_a_single_name_is_no_table(text: str) -> None:
    assert of_mnemonics(text) == []
