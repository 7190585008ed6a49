"""`axonc inspect`: what is in a program file."""

from __future__ import annotations

import argparse

from axonc.tools.cli_parser import add_program, verb_parser

_SUMMARY = "Show what a compiled program holds and what it would take to run. Needs no weights."

_EXAMPLES = """\
  axonc inspect model.axon
  axonc inspect model.axon --json | python -m json.tool
  axonc inspect model.axon --disassemble --engine vector
  axonc inspect model.axon --memory-map
"""


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("inspect", _SUMMARY, _EXAMPLES)
    add_program(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--json", action="store_true", help="modelled time, counts, bytes and bounds as JSON"
    )
    group.add_argument("--disassemble", action="store_true", help="print the instructions")
    group.add_argument("--memory-map", action="store_true", help="print who lies where")
    group.add_argument("--casts", action="store_true", help="print what auto-cast cast, and why")
    group.add_argument(
        "--sharding", action="store_true", help="print which weights are cut over cores, and why"
    )
    parser.add_argument(
        "--engine",
        choices=("tensor", "vector", "scalar", "gpsimd", "sync"),
        help="with --disassemble: only this one",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.api import load
    from axonc.tools import program_report

    executable = load(options.program, with_weights=False)
    if options.disassemble:
        for program in executable.compiled.programs:
            for line in program_report.disassembly(program, options.engine):
                print(line)
    elif options.memory_map:
        for program in executable.compiled.programs:
            print(program_report.memory_map(program))
    elif options.casts:
        print("\n".join(executable.compiled.casts) or "nothing was cast")
    elif options.sharding:
        print("\n".join(executable.compiled.shardings) or "nothing was cut")
    elif options.json:
        print(program_report.facts_json(executable, program_report.profile_of(executable)))
    else:
        print(program_report.overview(executable, program_report.profile_of(executable)))
    return 0
