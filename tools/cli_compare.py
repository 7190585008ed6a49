"""`axonc compare`: the numbers of a program beside those of its model on XLA:CPU."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from axonc.tools.cli_parser import add_inputs, add_program, verb_parser

if TYPE_CHECKING:
    import numpy as np

_SUMMARY = (
    "Run a program in the executor and its model on XLA:CPU, on the same inputs and weights, and\n"
    "compare every result. Exit code 1 if one is off by more than --tolerance."
)

_EXAMPLES = """\
  axonc compare model.axon --reference model.mlir --random-inputs 0
  axonc compare model.axon --reference model.mlir --inputs in.npz --tolerance 1e-2
  axonc compare model.axon --reference torch_results.npz --inputs in.npz
"""


@dataclass(frozen=True)
class Difference:
    """One result."""

    name: str
    max_abs_error: float
    relative: float
    """Max_abs_error over the largest |reference|."""
    cosine: float
    """The cosine of the angle between the two, flattened."""
    mismatches: int
    is_close: bool


def make_parser() -> argparse.ArgumentParser:
    parser = verb_parser("compare", _SUMMARY, _EXAMPLES)
    add_program(parser)
    parser.add_argument(
        "--reference",
        metavar="FILE",
        required=True,
        help="the model it came from; or an .npz of the expected results by name",
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="FILE",
        help="weights of the reference (default: those the program has); may be repeated",
    )
    add_inputs(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        metavar="T",
        help="allowed max |error| as a share of max |reference| (default 1e-4, for FP32); "
        "integers and booleans must be equal",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    return parser


def run(options: argparse.Namespace) -> int:
    from axonc.api import load
    from axonc.tools.array_files import call_arrays
    from axonc.tools.reference_results import reference_results

    executable = load(options.program, trust_weights=options.trust_weights)
    arrays = call_arrays(options, executable)
    expected = reference_results(executable, Path(options.reference), arrays, options.weights)
    found = executable.run(arrays)
    names = [tensor.name for tensor in executable.results]
    rows = [
        difference(name, a, b, options.tolerance)
        for name, a, b in zip(names, found, expected, strict=True)
    ]
    print(json.dumps([asdict(r) for r in rows], indent=2) if options.json else _table(rows))
    return 0 if all(row.is_close for row in rows) else 1


def difference(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> Difference:
    """How far `found` is from `expected`. NaN and infinities must be in the same places."""
    import numpy as np

    if found.dtype.kind in "iub":
        count = int((found != expected).sum())
        return Difference(name, float(count > 0), float(count > 0), 1.0, count, count == 0)
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    finite = np.isfinite(a) & np.isfinite(b)
    mismatches = int((~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))).sum())
    a, b = a[finite], b[finite]
    error = float(np.abs(a - b).max(initial=0.0))
    largest = float(np.abs(b).max(initial=0.0))
    relative = error / largest if largest else error
    cosine = float(a @ b / norm) if (norm := np.linalg.norm(a) * np.linalg.norm(b)) else 1.0
    return Difference(
        name, error, relative, cosine, mismatches, not mismatches and relative <= tolerance
    )


def _table(rows: list[Difference]) -> str:
    lines = [f"{'result':24} {'max |error|':>12} {'of max':>10} {'cosine':>11}  verdict"]
    for row in rows:
        verdict = "close" if row.is_close else "DIFFERENT"
        if row.mismatches:
            verdict += f" ({row.mismatches} elements do not match at all)"
        lines.append(
            f"{row.name:24} {row.max_abs_error:12.4g} {row.relative:10.3g} "
            f"{row.cosine:11.8f}  {verdict}"
        )
    return "\n".join(lines)
