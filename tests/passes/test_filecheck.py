"""Every tests/**/*.mlir with a line `// RUN: axonc opt ...`: run in this process, its output
against the CHECK lines."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from filecheck.finput import FInput
from filecheck.matcher import Matcher
from filecheck.options import Options
from filecheck.parser import Parser, pattern_for_opts

from axonc.tools.cli import main

ROOT = Path(__file__).parents[1]


RUN = "// RUN: axonc opt "


def run_lines(path: Path) -> list[list[str]]:
    """Arguments of `axonc opt` of each RUN line."""
    lines = path.read_text().splitlines()
    found = [shlex.split(line.removeprefix(RUN)) for line in lines if line.startswith(RUN)]
    return [[str(path) if w == "%s" else w for w in words] for words in found]


FILES = [p for p in sorted(ROOT.rglob("*.mlir")) if RUN in p.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_filecheck(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in run_lines(path):
        main(["opt", *arguments])
        captured = capsys.readouterr()
        output = captured.out + captured.err
        options = Options(match_filename=str(path))
        parser = Parser(options, io.StringIO(path.read_text()), *pattern_for_opts(options))
        matcher = Matcher(options, FInput("<output>", output), parser)
        assert matcher.run() == 0, output


def test_every_pass_of_the_tensor_pipeline_has_a_filecheck_test() -> None:
    from axonc.driver.pipeline import tensor_pipeline
    from axonc.passes.base import UpstreamPass

    names = {p.name.replace("-", "_") for p in tensor_pipeline() if not isinstance(p, UpstreamPass)}
    assert names <= {p.stem for p in FILES}
