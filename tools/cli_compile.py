"""`axonc compile`: a model file in, a program file out. Takes the flags of `neuronx-cc compile`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from axonc.options import add_option_flags, chosen_options, default_of
from axonc.tools.cast_output import cast_report_path, write_cast_report
from axonc.tools.cli_parser import verb_parser
from axonc.tools.neuronx_flags import (
    INTERNAL_FLAGS,
    add_accepted_flags,
    allows_lossy_integers,
    known_target,
    notes_of,
    respelled,
)

if TYPE_CHECKING:
    from axonc.run.executable import Executable

_SUMMARY = """\
Compile a model for a NeuronCore.

MODEL is StableHLO text, MLIR bytecode, a StableHLO portable artifact, or HLO (protobuf or text).
Arguments of its @main are inputs of each call; --weights binds those that are parameters."""

_EXAMPLES = """\
  axonc compile model.mlir --target inf2 --output model.axon
  axonc compile model.mlir --weights model.safetensors --auto-cast matmult --output model.axon
  axonc compile model.mlir --weights model.safetensors --auto-cast matmult --weight-dtype fp8_e4m3
  axonc compile model.mlir --weights model.safetensors --calibrate in.npz --auto-cast-budget 0.999
  axonc compile model.mlir --dump-ir ir/ --time-passes      # every step, numbered, and its time
"""

_LEVELS = ("debug", "info", "warning", "error", "critical")
_log = logging.getLogger("axonc")


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("compile", _SUMMARY, _EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="the model file")
    parser.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        help="program file to write (default: MODEL's stem + .axon)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        action="append",
        default=[],
        help=".safetensors, .npz or .npy; binds arguments by name; may be repeated",
    )
    parser.add_argument(
        "--embed-weights",
        action="store_true",
        help="copy the weights into the program file instead of referring to theirs",
    )
    _add_numerics(parser)
    _add_observation(parser)
    add_accepted_flags(parser)
    parser.tolerated = INTERNAL_FLAGS
    return parser


def _add_numerics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("numbers and effort")
    add_option_flags(group)
    group.add_argument(
        "--pipeline-cores", type=int, metavar="N", help="cut the layers into N stages, a core each"
    )
    group.add_argument(
        "--calibrate",
        metavar="FILE",
        help=".npz of sample inputs by name, each of the input's shape or a stack: gives ranges of "
        "8-bit activations and the errors in the cast report",
    )


def _add_observation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what happened")
    group.add_argument(
        "--dump-ir", metavar="DIR", help="write the IR after each pass that changed it"
    )
    group.add_argument("--time-passes", action="store_true", help="print what each pass took")
    group.add_argument("--verify-each", action="store_true", help="verify the IR after each pass")
    group.add_argument(
        "--verbose",
        default="warning",
        type=_level,
        metavar="LEVEL",
        help=f"{', '.join(_LEVELS)} (default: warning); info and debug go to stdout",
    )
    group.add_argument("--logfile", metavar="FILE", help="also write messages of every level there")


def _level(text: str) -> str:
    """A name of `_LEVELS`, or the number of the standard library's: the next name below it (35 is
    what neuronx-cc's wrappers write for "user")."""
    if text in _LEVELS:
        return text
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(_LEVELS)}")
    return _LEVELS[min(max(int(text) // 10 - 1, 0), len(_LEVELS) - 1)]


def run(options: argparse.Namespace) -> int:
    from axonc.diagnostics import UsageError

    if options.pipeline_cores and options.cores not in (1, options.pipeline_cores):
        raise UsageError(f"--cores {options.cores} and --pipeline-cores {options.pipeline_cores}")
    output = Path(options.output or f"{Path(options.model).stem}.axon")
    _check_outputs(output, options)
    with _logging(options.verbose, options.logfile):
        for note in notes_of(options):
            _log.warning("note: %s", note)
        _compile(options, output)
    return 0


def _check_outputs(output: Path, options: argparse.Namespace) -> None:
    """Nothing that is written is one of the files that are read.

    Raises:
        UsageError: something is, or cannot be written.
    """
    from axonc.driver.driver import is_dump
    from axonc.output_files import check_output

    named = [options.model, *options.weights, *filter(None, [options.calibrate])]
    read = [Path(name) for name in named]
    check_output(output, read)
    check_output(cast_report_path(output), read)
    if options.logfile:
        check_output(Path(options.logfile), [*read, output])
    if options.dump_ir:
        folder = Path(options.dump_ir)
        for path in (path for path in (*read, output) if is_dump(path, folder)):
            check_output(path, [path])


def _compile(options: argparse.Namespace, output: Path) -> None:
    from axonc.api import compile_with
    from axonc.driver.driver import DebugOptions
    from axonc.tools.progress_bar import shown_progress

    chosen = chosen_options(options, _made_by_hand(options))
    debug = DebugOptions(
        dump_dir=Path(options.dump_ir) if options.dump_ir else None,
        time_passes=options.time_passes,
        verify_each=options.verify_each,
    )
    with shown_progress(is_verbose=options.verbose in ("info", "debug")) as progress:
        executable = compile_with(
            Path(options.model), chosen, options.weights, options.calibrate, progress, debug
        )
    _check_outputs(output, options)  # a link may have come since
    executable.save(output, embed_weights=options.embed_weights)
    _tell(executable, output)
    if executable.compiled.cast_report is not None:
        write_cast_report(executable.compiled.cast_report, output)


def _made_by_hand(options: argparse.Namespace) -> dict[str, Any]:
    """Options whose flags mean more or less than one value; notes go to the log."""
    target, target_note = known_target(options.target or default_of("target"))
    lossy, lossy_note = allows_lossy_integers(options.allow_lossy_integers)
    for note in filter(None, (target_note, lossy_note)):
        _log.warning("note: %s", note)
    made: dict[str, Any] = {"target": target, "allow_lossy_integers": lossy}
    made |= respelled(options)
    if options.pipeline_cores:
        made |= {"parallel": "pipeline", "cores": options.pipeline_cores}
    return made


def _tell(executable: Executable, output: Path) -> None:
    for note in executable.notes:
        _log.warning("note: %s", note)
    for line in executable.compiled.casts:
        _log.debug("cast: %s", line)
    streams = executable.compiled.program.streams
    size = sum(map(len, streams.values()))
    _log.info("%s: %d bytes of instructions, %s", output, size, executable)
    print(f"wrote {output}")


@contextmanager
def _logging(level: str, logfile: str | None) -> Iterator[None]:
    """Messages to stdout (debug, info) and stderr (the rest), as neuronx-cc does, and to a file."""
    handlers: list[logging.Handler] = [
        _stream_handler(sys.stderr, logging.WARNING, logging.CRITICAL)
    ]
    handlers.append(_stream_handler(sys.stdout, logging.DEBUG, logging.INFO))
    for handler in handlers:
        handler.setLevel(max(handler.level, logging.getLevelName(level.upper())))
    if logfile:
        handlers.append(_file_handler(logfile))
    _log.setLevel(logging.DEBUG)
    for handler in handlers:
        _log.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            _log.removeHandler(handler)
            handler.close()


def _stream_handler(stream: TextIO, lowest: int, highest: int) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setLevel(lowest)
    handler.addFilter(lambda record: record.levelno <= highest)
    return handler


def _file_handler(path: str) -> logging.Handler:
    from axonc.diagnostics import UsageError

    try:
        handler = logging.FileHandler(path, mode="w")
    except OSError as error:
        raise UsageError(f"cannot write the log file {path}: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    return handler
