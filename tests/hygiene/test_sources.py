"""Sources can be opened: what is cited is in docs/reference/machine.md, whose numbers are ours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from source_tree import ROOT, tracked

from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Target

PAGE = ROOT / "docs" / "reference" / "machine.md"
INSTANCES = "instances"
"""The one field that is told in a table of its own."""


def anchors() -> set[str]:
    """Of the headings of the page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", PAGE.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_section_that_is_cited_exists() -> None:
    known = anchors()
    missing = {
        f"{path}: {name}"
        for path in tracked()
        if path.suffix in (".py", ".md", ".mlir")
        for name in re.findall(r"machine\.md#([a-z0-9-]+)", (ROOT / path).read_text())
        if name != "section" and name not in known
    }
    assert missing == set()


def test_links_within_the_page_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE.read_text())) <= anchors()


def test_documents_in_brackets_are_listed() -> None:
    text, _, listed = PAGE.read_text().partition("## Documents")
    named = re.findall(r"\[([a-zE][A-Za-z0-9-]{2,})(?:, [^\]]*)?\](?!\()", text)
    known = {n.strip() for row in re.findall(r"^\| ([^|]+) \|", listed, re.MULTILINE)
             for n in row.split(",")}  # fmt: skip
    assert set(named) - known == set()


def fields(target: Target) -> Iterator[tuple[str, object]]:
    """(name as in the table, value) of every number of a target."""
    for field in dataclasses.fields(target):
        value = getattr(target, field.name)
        if field.name == "engines":
            yield from ((f"engines.{e.value}", timing) for e, timing in value.items())
        elif dataclasses.is_dataclass(value):
            yield from ((f"{field.name}.{f.name}", getattr(value, f.name))
                        for f in dataclasses.fields(value))  # fmt: skip
        elif field.name not in ("name", INSTANCES):
            yield field.name, value


def spelled(value: object) -> str:
    """A number, or several, as the table has them."""
    parts = dataclasses.astuple(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
    return ", ".join(map(str, parts)) if isinstance(parts, tuple) else str(parts)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_table_has_every_number_of_a_target(name: str) -> None:
    section = PAGE.read_text().partition("## Target numbers")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| ([^|]+) \|", section, re.MULTILINE))
    expected = {field: spelled(value) for field, value in fields(TARGETS[name])}
    assert rows == expected


def test_nothing_cites_a_document_that_is_not_here() -> None:
    absent = "hardware" + ".md"
    found = [str(p) for p in tracked() if p.suffix in (".py", ".md", ".mlir")
             and absent in (ROOT / p).read_text()]  # fmt: skip
    assert found == []
