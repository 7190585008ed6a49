"""`axonc profile`: where the modelled time goes."""

from __future__ import annotations

import argparse
from pathlib import Path

from axonc.tools.cli_parser import add_inputs, add_program, verb_parser

_SUMMARY = (
    "Show the modelled (not measured) time of one call: busy time per engine, what bounds it,\n"
    "what engines wait for. Needs no inputs unless control flow depends on data."
)

_EXAMPLES = """\
  axonc profile model.axon
  axonc profile model.axon --trace timeline.json        # open it in ui.perfetto.dev
"""


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("profile", _SUMMARY, _EXAMPLES)
    add_program(parser)
    add_inputs(parser)
    parser.add_argument("--trace", metavar="FILE", help="write the timeline (Chrome trace JSON)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.api import load
    from axonc.output_files import check_output
    from axonc.tools.array_files import call_arrays, files_read
    from axonc.tools.program_report import facts_json

    has_inputs = options.inputs is not None or options.random_inputs is not None
    # A trace must not replace a weight file: with one, it has to be known which those are.
    with_weights = has_inputs or options.trace is not None
    executable = load(
        options.program, trust_weights=options.trust_weights, with_weights=with_weights
    )
    if options.trace:
        check_output(Path(options.trace), files_read(options, executable))
    arrays = (call_arrays(options, executable),) if has_inputs else ()
    profile = executable.profile(*arrays)
    print(facts_json(executable, profile) if options.json else profile.summary())
    if options.trace:
        profile.save_trace(options.trace)
        if not options.json:
            print(f"wrote {options.trace}")
    return 0
