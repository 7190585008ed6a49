"""`axonc run`: arrays in, arrays out, through the instruction streams."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from axonc.tools.cli_parser import add_inputs, add_program, verb_parser

if TYPE_CHECKING:
    import numpy as np

    from axonc.backends.executor.laws.checks import CheckReport

_SUMMARY = (
    "Run a compiled program in the executor. Nothing is computed outside its instruction streams."
)

_EXAMPLES = """\
  axonc run model.axon --inputs in.npz --outputs out.npz
  axonc run model.axon --random-inputs 0                # print what comes out
  axonc run model.axon --inputs in.npz --checked        # find races and unwritten reads
"""


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("run", _SUMMARY, _EXAMPLES)
    add_program(parser)
    add_inputs(parser)
    parser.add_argument("--outputs", metavar="FILE", help=".npz or .safetensors for the results")
    parser.add_argument(
        "--checked",
        action="store_true",
        help="check every access: races, unwritten bytes, ranges, deadlock, indices outside of "
        "tables (slower); says what was found and how much was looked at",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.api import load
    from axonc.diagnostics import FindingWarning
    from axonc.tools.array_files import (
        call_arrays,
        check_output_path,
        files_read,
        write_arrays,
    )

    executable = load(options.program, trust_weights=options.trust_weights)
    read = files_read(options, executable)
    if options.outputs:
        check_output_path(Path(options.outputs), read)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FindingWarning)  # they are told below
        found = executable.run(call_arrays(options, executable), checked=options.checked)
    results = dict(zip((t.name for t in executable.results), found, strict=True))
    for name, array in results.items():
        print(_described(name, array))
    if options.outputs:
        for note in write_arrays(Path(options.outputs), results, read):
            print(f"note: {note}")
        print(f"wrote {options.outputs}")
    return _told(executable.check_report) if options.checked else 0


def _told(report: CheckReport) -> int:
    """How much was looked at, and what was found. Returns the exit code."""
    for line in report.findings:
        print(f"finding: {line}", file=sys.stderr)
    print(f"checked: {report}")
    return 1 if report.findings else 0


def _described(name: str, array: np.ndarray) -> str:
    """`logits: float32[1, 10], -3.2 to 4.1, mean 0.3`."""
    import numpy as np

    shape = f"{name}: {array.dtype}{list(array.shape)}"
    if array.size == 0:
        return shape
    wide = array.astype(np.float64)
    return f"{shape}, {wide.min():.6g} to {wide.max():.6g}, mean {wide.mean():.6g}"
