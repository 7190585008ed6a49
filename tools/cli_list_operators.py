"""`axonc list-operators`: what the compiler accepts, from the table it compiles by."""

from __future__ import annotations

import argparse
import json

from axonc.tools.cli_parser import verb_parser

_SUMMARY = "List the StableHLO operators (and composites) the compiler accepts, one a line."

_EXAMPLES = """\
  axonc list-operators --framework XLA
  axonc list-operators --verbose        # with what is restricted about them
  axonc list-operators --json
"""


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("list-operators", _SUMMARY, _EXAMPLES)
    parser.add_argument("--framework", choices=("XLA",), default="XLA", help="XLA")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--verbose", action="store_true", help="say what is restricted, too")
    form.add_argument("--json", action="store_true", help="print a JSON list")
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.passes.legalize.legalize_to_neuron import supported_operations

    rows = supported_operations()
    if options.json:
        print(json.dumps([{"name": n, "restriction": r} for n, r in rows], indent=2))
    else:
        for name, restriction in rows:
            print(f"{name}  ({restriction})" if restriction and options.verbose else name)
    return 0
