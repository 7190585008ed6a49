"""Passes ask an operation for its class, not for its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from source_tree import ROOT, source_files


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the string literals of a file that are no docstrings."""
    tree = ast.parse((ROOT / path).read_text())
    documents = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documents:
                yield node.lineno, node.value


def test_no_pass_spells_the_name_of_a_neuron_operation() -> None:
    found = [
        f"{path}:{line}: {text}"
        for path in source_files()
        if path.parts[0] == "passes"
        for line, text in strings(path)
        if text.startswith("neuron.") and not text.endswith(".")
    ]
    assert found == []
