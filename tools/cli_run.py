"""`axonc run`: arrays in, arrays out, through the instruction streams."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from axonc.tools.cli_parser import add_inputs, add_program, verb_parser

if TYPE_CHECKING:
    import numpy as np

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
        help="check every access: races, unwritten bytes, ranges, deadlock (slower)",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.api import load
    from axonc.tools.array_files import call_arrays, check_output_path, write_arrays

    if options.outputs:
        check_output_path(Path(options.outputs))
    executable = load(options.program, trust_weights=options.trust_weights)
    found = executable.run(call_arrays(options, executable), checked=options.checked)
    results = dict(zip((t.name for t in executable.results), found, strict=True))
    for name, array in results.items():
        print(_described(name, array))
    if options.outputs:
        for note in write_arrays(Path(options.outputs), results):
            print(f"note: {note}")
        print(f"wrote {options.outputs}")
    return 0


def _described(name: str, array: np.ndarray) -> str:
    """`logits: float32[1, 10], -3.2 to 4.1, mean 0.3`."""
    import numpy as np

    shape = f"{name}: {array.dtype}{list(array.shape)}"
    if array.size == 0:
        return shape
    wide = array.astype(np.float64)
    return f"{shape}, {wide.min():.6g} to {wide.max():.6g}, mean {wide.mean():.6g}"
