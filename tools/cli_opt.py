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

SPLIT_MARK = "// -----"


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("opt", _SUMMARY, _EXAMPLES)
    parser.add_argument("module", metavar="FILE", nargs="?", help="text or bytecode; '-': stdin")
    parser.add_argument("--pass-pipeline", "-p", metavar="PIPELINE", default="", help="what to run")
    parser.add_argument("--output", "-o", metavar="FILE", help="default: stdout")
    parser.add_argument(
        "--print-ir-after", metavar="PASS", action="append", default=[], help="a pass name, or all"
    )
    parser.add_argument(
        "--print-ir-after-all", dest="print_ir_after", action="append_const", const="all"
    )
    parser.add_argument("--skip-pass", metavar="PASS", action="append", default=[])
    parser.add_argument(
        "--bisect-limit", metavar="N", type=int, help="run only the first N passes of the pipeline"
    )
    parser.add_argument("--dump-ir", metavar="DIR", help="numbered files of the IR after each pass")
    parser.add_argument("--time-passes", action="store_true")
    parser.add_argument("--locations", action="store_true", help="print source locations")
    parser.add_argument(
        "--split-input-file",
        action="store_true",
        help=f"run on each part between lines '{SPLIT_MARK}'; a part that fails does not stop the "
        "others",
    )
    parser.add_argument("--list-passes", action="store_true", help="names and what they do")
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.diagnostics import UsageError

    if options.list_passes:
        return _list_passes()
    if options.module is None:
        raise UsageError("no module given", hint="axonc opt FILE --pass-pipeline PASSES")
    source = _content(options.module)
    if not options.split_input_file:
        _write([_transformed(source, options)], options.output, options.module)
        return 0
    return _run_parts(source.decode().split(SPLIT_MARK), options)


def _run_parts(parts: list[str], options: argparse.Namespace) -> int:
    """Each part by itself; errors on stderr. 1 if any failed."""
    from axonc.diagnostics import AxoncError

    done: list[str] = []
    for part in parts:
        try:
            done.append(_transformed(part.encode(), options))
        except AxoncError as error:
            print(error.render(), file=sys.stderr)
    _write(done, options.output, options.module)
    return 0 if len(done) == len(parts) else 1


def _transformed(source: bytes, options: argparse.Namespace) -> str:
    from axonc.context import make_context, parse_module
    from axonc.pass_manager import ManagerOptions, PassManager, parse_pipeline
    from axonc.passes.base import ModuleState

    manager = PassManager(
        parse_pipeline(options.pass_pipeline)[: options.bisect_limit],
        ManagerOptions(
            dump_dir=Path(options.dump_ir) if options.dump_ir else None,
            print_after=tuple(options.print_ir_after),
            skip=tuple(options.skip_pass),
            time_passes=options.time_passes,
            stream=sys.stderr,
        ),
    )
    state = manager.run(ModuleState(parse_module(source, make_context())))
    if options.locations and isinstance(state, ModuleState):
        return str(state.module.operation.get_asm(enable_debug_info=True))
    return state.print()


def _content(source: str) -> bytes:
    from axonc.diagnostics import UsageError

    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from None


def _write(texts: list[str], output: str | None, source: str) -> None:
    from axonc.output_files import written_whole

    if output is None:
        for text in texts:
            print(text)
        return
    with written_whole(Path(output), [] if source == "-" else [Path(source)]) as file:
        file.write("\n".join(texts).encode())


def _list_passes() -> int:
    from axonc.pass_manager import all_passes

    for name, kind in all_passes().items():
        print(f"{name:22} {kind.summary()}")
    return 0
