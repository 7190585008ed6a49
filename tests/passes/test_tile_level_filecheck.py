"""Runs the .mlir tests of the passes from layouts to instructions.

First line: `// RUN: --pass-pipeline=...`. Parts between `// -----` lines are programs of their own. What
is checked is the state after the pipeline, or the error.
"""

import io
from pathlib import Path

import pytest
from filecheck.finput import FInput
from filecheck.matcher import Matcher
from filecheck.options import Options
from filecheck.parser import Parser, pattern_for_opts

from axonc.context import make_context, parse_module
from axonc.diagnostics import AxoncError
from axonc.pass_manager import ModuleState, PassManager, parse_pipeline

NAMES = ("choose_layouts", "tile", "assign_engines", "allocate_memory", "schedule", "lower")
RUN = "// RUN: --pass-pipeline="
SEPARATOR = "// -----\n"


def output_of(text: str) -> str:
    """What the RUN line makes of each part."""
    first = text.split("\n", 1)[0]
    assert first.startswith(RUN), "the first line is the RUN line"
    pipeline = first.removeprefix(RUN)
    return SEPARATOR.join(_run(part, pipeline) for part in text.split(SEPARATOR))


def _run(part: str, pipeline: str) -> str:
    try:
        module = parse_module(part, make_context())
        return PassManager(parse_pipeline(pipeline)).run(ModuleState(module)).print()
    except AxoncError as error:
        return f"{error}\n"


def filecheck_failures(output: str, path: Path) -> int:
    options = Options(match_filename=str(path))
    parser = Parser(options, io.StringIO(path.read_text()), *pattern_for_opts(options))
    return int(Matcher(options, FInput("<output>", output), parser).run())


@pytest.mark.parametrize("name", NAMES)
def test_pass(name: str) -> None:
    path = Path(__file__).parent / f"{name}.mlir"
    output = output_of(path.read_text())
    assert filecheck_failures(output, path) == 0, output[:20_000]


def test_checks_can_fail() -> None:
    path = Path(__file__).parent / "lower.mlir"
    assert filecheck_failures("module {}", path) != 0
