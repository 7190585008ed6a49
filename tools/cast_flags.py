"""Flags of `axonc compile` about 8-bit types, sample inputs and the report of casts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axonc.imported.program import ImportedProgram
    from axonc.imported.samples import Sample
    from axonc.passes.cast.cast_report import CastReport, CastSearch

REPORT_SUFFIX = ".casts.json"
BAR_WIDTH = 40


def add_cast_flags(group: argparse._ArgumentGroup) -> None:
    """Beside --auto-cast and --auto-cast-type."""
    group.add_argument(
        "--weight-dtype",
        default="none",
        metavar="TYPE",
        help="how weights lie in memory, if not as they are computed: fp8_e4m3, fp8_e5m2, "
        "fp8_e3m4, int8; none (default)",
    )
    group.add_argument(
        "--weight-scale",
        default="auto",
        metavar="WHAT",
        help="channel: a scale per output channel, per row of a table; tensor: one; auto (the "
        "default): channel for int8 and fp8_e3m4",
    )
    group.add_argument(
        "--auto-cast-override",
        action="append",
        default=[],
        metavar="REGEX=TYPE",
        help="another type for operations whose name, file:line, op or weight matches: fp32, bf16, "
        "fp16, tf32, an 8-bit type, or COMPUTE/STORAGE; may be repeated, the last match counts",
    )
    group.add_argument(
        "--calibrate",
        metavar="FILE",
        help=".npz of sample inputs by name, each of the input's shape or a stack: gives ranges of "
        "8-bit activations and the errors in the cast report",
    )
    group.add_argument(
        "--auto-cast-budget",
        type=float,
        default=0.0,
        metavar="COSINE",
        help="search the cheapest casts whose results keep this cosine to float32's on the sample "
        "inputs (needs --calibrate)",
    )


def cast_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `CompileOptions`."""
    return {
        "weight_dtype": options.weight_dtype,
        "weight_scale": options.weight_scale,
        "auto_cast_override": tuple(options.auto_cast_override),
        "auto_cast_budget": options.auto_cast_budget,
    }


def sample_inputs(options: argparse.Namespace, imported: ImportedProgram) -> tuple[Sample, ...]:
    """Raises: UsageError for a file that does not fit the program."""
    from axonc.imported.samples import read_samples

    return read_samples(options.calibrate, imported.inputs) if options.calibrate else ()


def write_cast_report(report: CastReport, program: Path) -> None:
    """Beside the program file, as JSON, if there is anything to say or an older report to replace;
    a search's curve also on the screen.

    Raises:
        UsageError: it cannot be written.
    """
    from axonc.diagnostics import UsageError

    path = program.with_name(program.name + REPORT_SUFFIX)
    if not (report.rows or report.search or path.exists()):
        return
    try:
        path.write_text(report.json())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    if report.search is not None:
        print(curve(report.search))
    print(f"wrote {path}")


def curve(search: CastSearch) -> str:
    """The points of a search as a table, with a bar for what is lost."""
    worst = max(max(1 - point.cosine for point in search.points), 1e-12)
    lines = [f"{'casts':>6} {'cosine':>10} {'MB less':>9} {'us less':>9}  1 - cosine"]
    for number, point in enumerate(search.points):
        lost = 1 - point.cosine
        bar = "#" * max(round(BAR_WIDTH * lost / worst), int(lost > 0))
        mark = " <- chosen" if number == search.chosen else ""
        lines.append(
            f"{point.casts:6} {point.cosine:10.6f} {point.saved_bytes / 1e6:9.2f} "
            f"{point.saved_ns / 1e3:9.2f}  {bar or '|'}{mark}"
        )
    return "\n".join(lines)
