"""`axonc`: the command line. One module per verb; only the one asked for is loaded.

Exit codes: 0 done; 1 the program is wrong, or differs, or cannot be compiled; 2 wrong usage.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from axonc.diagnostics import AxoncError, UsageError, nearest
from axonc.version import __version__

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Verb:
    """name on the command line; its module is `axonc.tools.cli_<name>`, with `make_parser` and
    `run`."""

    name: str
    summary: str

    def load(self) -> ModuleType:
        return importlib.import_module(f"axonc.tools.cli_{self.name.replace('-', '_')}")


VERBS = (
    Verb("compile", "make a program for a NeuronCore from StableHLO, bytecode or HLO"),
    Verb("run", "run the instruction streams of a program on arrays"),
    Verb("check", "list everything in a model that cannot be compiled"),
    Verb("compare", "run a program and its model on XLA:CPU, and compare the numbers"),
    Verb("inspect", "instruction counts, memory, bounds, disassembly of a program"),
    Verb("profile", "where the modelled time goes; a timeline for ui.perfetto.dev"),
    Verb("opt", "run compiler passes on MLIR text"),
    Verb("list-operators", "the operators the compiler accepts"),
)

_EXAMPLES = """\
examples:
  axonc compile model.mlir --target inf2 --output model.axon
  axonc run model.axon --inputs in.npz --outputs out.npz
  axonc profile model.axon --trace timeline.json
  axonc check model.mlir

'axonc VERB --help' explains a verb. Needs no NeuronCore: times are modelled, not measured.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. User mistakes are one message on stderr, without a
    traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # else XLA prints warnings on stderr
    try:
        code = _dispatch(given)
        sys.stdout.flush()  # a full disk shows here, not after everything
        return code
    except BrokenPipeError:  # `axonc inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _system_error(error, wants_traceback="--traceback" in given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return _report(error, wants_traceback="--traceback" in given)


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_overview())
        return DONE if given else WRONG_USAGE
    if given[0] == "--version":
        print(f"axonc {__version__}")
        return DONE
    verb = next((v for v in VERBS if v.name == given[0]), None)
    if verb is None:
        names = [v.name for v in VERBS]
        hint = nearest(given[0], names) or f"verbs: {', '.join(names)}"
        raise UsageError(f"no verb '{given[0]}'", hint=hint)
    module = verb.load()
    code: int = module.run(module.make_parser().parse_args(given[1:]))
    return code


def _system_error(error: OSError, *, wants_traceback: bool) -> int:
    """A full disk, a file that is gone: files that are opened on purpose have errors of their own;
    what is left is where the output goes, and what libraries open."""
    if error.filename is None and error.errno not in _OUTPUT_ERRORS:
        return _report(error, wants_traceback=wants_traceback)
    if wants_traceback:
        traceback.print_exception(error)
    where = error.filename or "cannot write to standard output"
    print(f"error: {where}: {error.strerror}", file=sys.stderr)
    if error.filename is None:  # nor can what is left be written when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


_OUTPUT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


def _overview() -> str:
    rows = "\n".join(f"  {verb.name:15} {verb.summary}" for verb in VERBS)
    head = "axonc: an open compiler and executor for AWS NeuronCores that needs no NeuronCore"
    return f"{head}\n\nusage: axonc VERB ...\n\n{rows}\n\n{_EXAMPLES}"


def _report(error: Exception, *, wants_traceback: bool) -> int:
    if wants_traceback:
        traceback.print_exception(error)
    if isinstance(error, AxoncError):
        print(error.render(), file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED
    print(f"error: internal: {type(error).__name__}: {error}", file=sys.stderr)
    print(
        "  hint: a bug of axonc; please report it with the output of --traceback", file=sys.stderr
    )
    return FAILED


if __name__ == "__main__":
    raise SystemExit(main())
