"""What was cast, why, and what it costs in accuracy: rows per operation, and the curve of a search.

The report is part of a compiled program (`CompiledProgram.cast_report`), lies beside its file as
JSON, and its lines are in the file (`axonc inspect --casts`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from axonc.diagnostics import SourceLocation


@dataclass(frozen=True)
class CastRow:
    """One cast that was made; or, where both types are the same, one that was not."""

    op: str
    location: SourceLocation
    """With `op`: for which operation."""
    source: str
    target: str
    """With `source`: element types."""
    why: str
    """The rule."""
    scale: str = ""
    """Of 8-bit numbers, as text."""
    local_error: float | None = None
    """Relative, of the operation's result (with samples) or of its weight (without)."""
    effect: float | None = None
    """1 - cosine of the program's results to those of float32, when this operation alone is cast.
    None: not known."""

    def __str__(self) -> str:
        is_cast = self.source != self.target
        types = f"{self.source} -> {self.target}" if is_cast else self.source
        facts = [f"{self.location}: {self.op}: {types}: {self.why}"]
        if self.scale:
            facts.append(f"scale {self.scale}")
        if self.local_error is not None:
            facts.append(f"local error {self.local_error:.2e}")
        if self.effect is not None:
            facts.append(f"effect on the results {self.effect:.2e}")
        return "; ".join(facts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        where = self.location
        return {
            "op": self.op,
            "location": {"name": where.name, "file": where.file, "line": where.line},
            "from": self.source,
            "to": self.target,
            "why": self.why,
            "scale": self.scale or None,
            "local_error": self.local_error,
            "effect": self.effect,
        }


@dataclass(frozen=True)
class CurvePoint:
    """The cheapest `casts` steps taken together."""

    casts: int
    cosine: float
    """Of the results to those of float32, the worst over the samples."""
    saved_bytes: int
    """Of weights, per run."""
    saved_ns: float
    """Modelled, of device memory and tensor engine, summed."""


@dataclass(frozen=True)
class CastSearch:
    """A search for the cheapest casts."""

    budget: float
    points: tuple[CurvePoint, ...]
    chosen: int
    """Index of the point that was taken."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "budget": self.budget,
            "chosen": self.chosen,
            "points": [vars(point) for point in self.points],
        }


@dataclass(frozen=True)
class CastReport:
    """Every cast of a program, and the search that chose them."""

    rows: tuple[CastRow, ...] = ()
    """In the order of the program."""
    search: CastSearch | None = None

    def lines(self) -> tuple[str, ...]:
        """A line per row."""
        return tuple(map(str, self.rows))

    def json(self) -> str:
        """As a JSON text."""
        facts: dict[str, Any] = {"casts": [row.as_dict() for row in self.rows]}
        if self.search is not None:
            facts["search"] = self.search.as_dict()
        return json.dumps(facts, indent=1, sort_keys=True) + "\n"
