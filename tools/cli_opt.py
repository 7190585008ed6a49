"""`axonc opt`: passes on MLIR text, for reading, testing and repeating what a compile did."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from axonc.tools.cli_parser import verb_parser

_SUMMARY = """\
Run compiler passes on a module: StableHLO, neuron, or ntile text (or bytecode). '-' reads stdin.

A pipeline is names with options, ours and upstream MLIR's mixed:
canonicalize,cse,auto-cast{mode=all type=bf16},func.func(cse)"""

_EXAMPLES = """\
  axonc opt model.mlir --pass-pipeline simplify,legalize-to-neuron
  axonc opt ir/004-fuse-elementwise.mlir --pass-pipeline choose-layouts,tile --print-ir-after all
  axonc opt --list-passes
"""


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("opt", _SUMMARY, _EXAMPLES)
    parser.add_argument(
        "module", metavar="FILE", nargs="?", help="MLIR text or bytecode; '-': stdin"
    )
    parser.add_argument("--pass-pipeline", "-p", metavar="PIPELINE", default="", help="what to run")
    parser.add_argument("--output", "-o", metavar="FILE", help="default: stdout")
    parser.add_argument(
        "--print-ir-after", metavar="PASS", action="append", default=[], help="a pass name, or all"
    )
    parser.add_argument("--skip-pass", metavar="PASS", action="append", default=[])
    parser.add_argument(
        "--bisect-limit", metavar="N", type=int, help="run only the first N passes of the pipeline"
    )
    parser.add_argument("--dump-ir", metavar="DIR", help="numbered files of the IR after each pass")
    parser.add_argument("--time-passes", action="store_true")
    parser.add_argument("--list-passes", action="store_true", help="names and what they do")
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.diagnostics import UsageError

    if options.list_passes:
        return _list_passes()
    if options.module is None:
        raise UsageError("no module given", hint="axonc opt FILE --pass-pipeline PASSES")
    _write(_transformed(options), options.output)
    return 0


def _transformed(options: argparse.Namespace) -> str:
    from axonc.context import make_context, parse_module
    from axonc.pass_manager import ManagerOptions, ModuleState, PassManager, parse_pipeline

    module = parse_module(_content(options.module), make_context())
    manager = PassManager(
        parse_pipeline(options.pass_pipeline)[: options.bisect_limit],
        ManagerOptions(
            dump_dir=Path(options.dump_ir) if options.dump_ir else None,
            print_after=tuple(options.print_ir_after),
            skip=tuple(options.skip_pass),
            time_passes=options.time_passes,
        ),
    )
    return manager.run(ModuleState(module)).print()


def _content(source: str) -> str | bytes:
    from axonc.diagnostics import UsageError

    if source == "-":
        data = sys.stdin.buffer.read()
    elif not Path(source).is_file():
        raise UsageError(f"{source}: no such file")
    else:
        data = Path(source).read_bytes()
    return data if data.startswith(b"ML\xefR") else data.decode(errors="replace")


def _write(text: str, output: str | None) -> None:
    from axonc.archive import written_whole

    if output is None:
        print(text)
        return
    with written_whole(Path(output)) as file:
        file.write(text.encode())


def _list_passes() -> int:
    from axonc.pass_manager import all_passes

    for name, kind in all_passes().items():
        print(f"{name:22} {kind.summary()}")
    return 0
