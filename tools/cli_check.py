"""`axonc check`: everything in a model that cannot be compiled, in one go."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from axonc.tools.cli_parser import verb_parser

_SUMMARY = (
    "List every operation, type and attribute of a model that cannot be compiled, each with its\n"
    "place in your source. Exit code 1 if there is any."
)

_EXAMPLES = """\
  axonc check model.mlir
  axonc check model.mlir --json
"""


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("check", _SUMMARY, _EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="what 'axonc compile' takes")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.api import check

    findings = check(Path(options.model))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    elif findings:
        print("\n".join(finding.told([options.model]) for finding in findings))
        print(f"{len(findings)} operations cannot be compiled")
    else:
        print(f"{options.model}: everything can be compiled")
    return 1 if findings else 0
