"""Whole models: modelled latency beside the published one, compile time and memory, host speed.

Each model is written by the zoo, compiled and measured in processes of their own, so that times
and peak memory are theirs alone. What does not compile is a row with the error's first line.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from axonc.diagnostics import UsageError, nearest
from axonc.tools.bench.fresh_process import Finished, compile_program, run_module
from axonc.tools.bench.published import ROWS, Row

_COLUMNS = (
    "model", "modelled ms", "publ. ms", "ratio", "PE ms", "DMA ms", "compile s", "peak GB", "error",
    "exec. s", "XLA:CPU s", "ratio",
)  # fmt: skip
_WIDTH = 130
_IDLE_LOAD = 0.5
"""Load average above which timings of this machine are called disturbed."""


@dataclass(frozen=True)
class Settings:
    """Which models the table has, and how they are made."""

    folder: Path
    auto_cast: str = "matmult"
    small: bool = False
    """The zoo's narrow models (no published figure is comparable)."""
    reuse: bool = False
    """Take the model files of an earlier run."""
    layers: int | None = None
    """None for those of the row."""

    @property
    def is_comparable(self) -> bool:
        """Whether these are the programs whose latencies are published: whole, matmult in bf16."""
        return not self.small and self.layers is None and self.auto_cast == "matmult"


@dataclass(frozen=True)
class Files:
    """A model on disk."""

    artifact: Path
    weights: Path
    inputs: Path


Facts = dict[str, object]


def selected(names: Sequence[str]) -> list[Row]:
    """Rows by name, or all rows of a model by `NAME*`; every row for no names.

    Raises:
        UsageError: no such row.
    """
    if not names:
        return list(ROWS)
    return [row for name in names for row in _matching(name)]


def _matching(name: str) -> list[Row]:
    prefix = name.removesuffix("*")
    found = [r for r in ROWS if r.name == name or (prefix != name and r.model == prefix)]
    if not found:
        known = [row.name for row in ROWS]
        hint = nearest(name, known) or f"rows: {', '.join(known)}; NAME* is every row of a model"
        raise UsageError(f"no row '{name}' in the table of models", hint=hint)
    return found


def run(rows: Iterable[Row], settings: Settings, console: Console) -> list[Facts]:
    """Measure the rows, print the table, write models.json into the folder; the facts by row. The
    file is written after every row: all of them take long."""
    load, path = os.getloadavg()[0], settings.folder / "models.json"
    facts: list[Facts] = []
    for row in rows:
        with console.status(f"{row.name} ..."):
            facts.append(measure(row, settings))
        if not console.is_terminal:  # a status is seen on terminals only
            console.print(f"{len(facts)}. {row.name}", markup=False)
        document = {"machine": _machine(load), "auto_cast": settings.auto_cast, "rows": facts}
        path.write_text(json.dumps(document, indent=2) + "\n")
    console.print(_table(facts, settings))
    for line in _remarks(load, settings):
        console.print(line, markup=False)
    console.print(f"wrote {path}", markup=False)
    return facts


def measure(row: Row, settings: Settings) -> Facts:
    """Everything about one row; with the key `failed` for one that stops on the way."""
    facts: Facts = {"row": row.name, **asdict(row)}
    files = _files(row, settings)
    written = _write(row, files, settings)
    if written.exit_code:
        return facts | {"failed": written.complaint}
    program = files.artifact.with_suffix(f".{row.target}.{settings.auto_cast}.axon")
    compiled = compile_program(
        files.artifact,
        files.weights,
        program,
        target=row.target,
        auto_cast=settings.auto_cast,
    )
    if compiled.exit_code:
        return facts | {"failed": compiled.complaint}
    facts |= {"compile_seconds": compiled.seconds, "compile_peak_bytes": compiled.peak_bytes}
    given = (files.artifact, files.weights, files.inputs) if row.is_run else ()
    ran = run_module("axonc.tools.bench.side_by_side", [*map(str, (program, *given))])
    if ran.exit_code:
        return facts | {"failed": ran.complaint}
    return facts | json.loads(ran.output.splitlines()[-1])


def _files(row: Row, settings: Settings) -> Files:
    """Batches share the weights of the model, in the folder of the first."""
    kind = f"small-{row.model}" if settings.small else row.model
    layers = settings.layers or row.layers
    kind += "" if layers is None else f"-{layers}l"
    folder = settings.folder / kind / f"b{row.batch}"
    stem = folder / row.model
    return Files(
        artifact=stem.with_suffix(".mlirbc"),
        weights=folder.parent / "b1" / f"{row.model}.safetensors",
        inputs=stem.with_suffix(".inputs.npz"),
    )


_NOTHING = Finished(0.0, 0, 0, "", "")


def _write(row: Row, files: Files, settings: Settings) -> Finished:
    """The model's files; weights only once for all batches, they are the same."""
    arguments = [row.model, "--no-expected"]
    arguments += ["--small"] if settings.small else []
    layers = settings.layers or row.layers
    arguments += [] if layers is None else ["--layers", str(layers)]
    done = _NOTHING
    if not files.weights.exists() or (row.batch == 1 and not settings.reuse):
        done = _write_batch(1, arguments, files.weights.parent)
    if row.batch == 1 or done.exit_code or (settings.reuse and files.artifact.exists()):
        return done
    return _write_batch(row.batch, [*arguments, "--no-weights"], files.artifact.parent)


def _write_batch(batch: int, arguments: Sequence[str], folder: Path) -> Finished:
    return run_module(
        "axonc.tools.models", [*arguments, "--batch", str(batch), "--out", str(folder)]
    )


def _table(facts: list[Facts], settings: Settings) -> Table:
    title = f"models, one NeuronCore, --auto-cast {settings.auto_cast} (bf16)"
    table = Table(title=title, width=_WIDTH)
    for index, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if index else "left", no_wrap=not index)
    failures = [row for row in facts if "failed" in row]
    for row in facts:
        table.add_row(*_cells(row, settings))
    if failures:
        lines = "\n".join(f"{row['row']}: {_shortened(str(row['failed']))}" for row in failures)
        table.caption, table.caption_justify = lines, "left"
    return table


def _shortened(complaint: str) -> str:
    """Without the folders of the file that is named; the whole is in the JSON."""
    return re.sub(r"^\S*/", "", complaint)


def _cells(row: Facts, settings: Settings) -> list[str]:
    published = row["published_ms"] if settings.is_comparable else None
    bound = row.get("bound_ms")
    bounds = bound if isinstance(bound, dict) else {}
    compared = _number(published, "{:.3f}") + ("*" if published and row["derived"] else "")
    if "failed" in row:
        return [str(row["row"]), "failed", compared, *[""] * (len(_COLUMNS) - 3)]
    return [
        str(row["row"]),
        _number(row["modelled_ms"], "{:.3f}"),
        compared,
        _quotient(row["modelled_ms"], published),
        _number(bounds.get("pe"), "{:.3f}"),
        _number(bounds.get("dma"), "{:.3f}"),
        _number(row["compile_seconds"], "{:.1f}"),
        _number(row["compile_peak_bytes"], "{:.2f}", 1e-9),
        _number(row.get("error"), "{:.1e}"),
        _number(row.get("executor_seconds"), "{:.3f}"),
        _number(row.get("xla_seconds"), "{:.3f}"),
        _quotient(row.get("executor_seconds"), row.get("xla_seconds")),
    ]


def _number(value: object, form: str, scale: float = 1.0) -> str:
    return form.format(value * scale) if isinstance(value, int | float) else ""


def _quotient(value: object, over: object) -> str:
    if isinstance(value, float) and isinstance(over, float):
        return f"{value / over:.2f}"
    return ""


def _remarks(load: float, settings: Settings) -> list[str]:
    lines = [
        "modelled, not measured on silicon; published times include runtime and framework; * is",
        "derived from throughput. PE and DMA: what each alone needs. Error: of the largest value,",
        "to XLA:CPU in float32.",
    ]
    if not settings.is_comparable:
        lines.append("Published times are of whole models with --auto-cast matmult: none is shown.")
    if load > _IDLE_LOAD:
        lines.append(
            f"The machine was not idle (load {load:.1f} on {os.cpu_count()} processors): compile "
            "times and host times are too long, and less so their ratio."
        )
    return lines


def _machine(load: float) -> Facts:
    return {
        "processors": os.cpu_count(),
        "load_average_before": load,
        "python": platform.python_version(),
        "architecture": platform.machine(),
    }
