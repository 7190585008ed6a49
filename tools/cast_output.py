"""What `axonc compile` writes and prints of the casts it chose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from axonc.passes.cast.cast_report import CastReport, CastSearch

REPORT_SUFFIX = ".casts.json"
BAR_WIDTH = 40


def cast_report_path(program: Path) -> Path:
    """Where the report of a program is, if it has one."""
    return program.with_name(program.name + REPORT_SUFFIX)


def write_cast_report(report: CastReport, program: Path) -> None:
    """Beside the program file, as JSON, if there is anything to say or an older report to replace;
    a search's curve also on the screen.

    Raises:
        UsageError: it cannot be written.
    """
    from axonc.output_files import written_whole

    path = cast_report_path(program)
    if not (report.rows or report.search or path.exists()):
        return
    with written_whole(path) as file:
        file.write(report.json().encode())
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
