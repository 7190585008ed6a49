"""What the docstring of a pass shows before and after it is what the pass's test does: every
operation of its sketches is in the IR of some case, on the right side."""

from __future__ import annotations

import re
import sys

import pytest

from axonc.pass_manager import all_passes
from axonc.passes.base import Pass
from axonc.tools.pass_page import cases, cases_file

SKETCHES_TEXT = {"plan-casts": "attributes on operations, not operations"}
"""Passes whose sketch shows no operation of the dialects, with the reason."""

OURS = {n: k for n, k in all_passes().items() if k.__module__.startswith("axonc.passes.")}
OPERATION = re.compile(r'"((?:neuron|stablehlo|ntile|nisa)\.[a-z_0-9]+)"')


def sketches_of(kind: type[Pass]) -> tuple[str, str]:
    """The blocks behind `Before:` and `After...:` of the module's docstring."""
    text = sys.modules[kind.__module__].__doc__ or ""
    block = r"[^\n]*:\n((?:[ \t]+[^\n]*\n)*)"
    found = re.search(rf"^Before{block}^After{block}", text, re.M)
    assert found, f"{kind.__module__} shows nothing before and after it"
    return found[1], found[2]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_pass_shows_what_it_does(name: str) -> None:
    sketches_of(OURS[name])


@pytest.mark.parametrize("name", sorted(n for n in OURS if n not in SKETCHES_TEXT))
def test_sketches_are_what_the_pass_does(name: str) -> None:
    path = cases_file(OURS[name])
    assert path is not None, f"{name} has no .mlir test of its name"
    runs = list(cases(path))
    for number, sketch in enumerate(sketches_of(OURS[name])):
        shown = set(OPERATION.findall(sketch))
        real = set(OPERATION.findall("".join(run[number] for run in runs)))
        real |= {n for run in runs for n in re.findall(r"\bstablehlo\.[a-z_]+", run[number])}
        assert shown <= real, (name, ("before", "after")[number], shown - real)
