"""`axonc opt`: run a textual pass pipeline over MLIR text and print the result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from axonc.context import make_context, parse_module
from axonc.diagnostics import AxoncError, UsageError
from axonc.pass_manager import (
    ManagerOptions,
    ModuleState,
    PassManager,
    all_passes,
    parse_pipeline,
)

SPLIT_MARK = "// -----"


def make_parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    parser = argparse.ArgumentParser("axonc opt", description="Run compiler passes over MLIR text.")
    parser.add_argument("input", nargs="?", default="-", help="file, or - for standard input")
    parser.add_argument(
        "--pass-pipeline",
        default="",
        metavar="PASSES",
        help="for example 'simplify,legalize-to-neuron,auto-cast{mode=all}'",
    )
    parser.add_argument(
        "--split-input-file", action="store_true", help=f"parts between {SPLIT_MARK}"
    )
    parser.add_argument("--print-ir-after-all", action="store_true", help="on standard error")
    parser.add_argument("--print-ir-after", action="append", default=[], metavar="PASS")
    parser.add_argument(
        "--dump-ir", type=Path, metavar="DIR", help="a numbered file after each pass"
    )
    parser.add_argument("--skip-pass", action="append", default=[], metavar="PASS")
    parser.add_argument("--time-passes", action="store_true")
    parser.add_argument("--locations", action="store_true", help="print source locations")
    parser.add_argument("--show-passes", action="store_true", help="list passes, then stop")
    parser.add_argument("--traceback", action="store_true", help="show Python tracebacks of errors")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 when a part failed; its error is on standard error, the other parts still run."""
    arguments = make_parser().parse_args(argv)
    if arguments.show_passes:
        for name, kind in all_passes().items():
            print(f"{name:28} {kind.summary()}")
        return 0
    try:
        parts = _parts(arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    return max([_run_part(part, arguments) for part in parts], default=0)


def _run_part(part: str | bytes, arguments: argparse.Namespace) -> int:
    try:
        print(_optimized(part, arguments))
    except AxoncError as error:
        if arguments.traceback:
            raise
        print(error, file=sys.stderr)
        return 1
    return 0


def _parts(arguments: argparse.Namespace) -> list[str | bytes]:
    data = _read(arguments.input)
    if not arguments.split_input_file:
        return [data]
    return list(data.decode().split(SPLIT_MARK))


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _optimized(source: str | bytes, arguments: argparse.Namespace) -> str:
    passes = parse_pipeline(arguments.pass_pipeline)
    options = ManagerOptions(
        dump_dir=arguments.dump_ir,
        print_after=("all",) if arguments.print_ir_after_all else tuple(arguments.print_ir_after),
        skip=tuple(arguments.skip_pass),
        time_passes=arguments.time_passes,
        stream=sys.stderr,
    )
    state = PassManager(passes, options).run(ModuleState(parse_module(source, make_context())))
    if arguments.locations and isinstance(state, ModuleState):
        return str(state.module.operation.get_asm(enable_debug_info=True))
    return state.print()


if __name__ == "__main__":
    sys.exit(main())
