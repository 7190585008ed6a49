"""One sequencer at work."""

from __future__ import annotations

from dataclasses import dataclass, field

from axonc.backends.executor.steps.prepared import Prepared, Region
from axonc.backends.isa.sequencer import Registers
from axonc.backends.targets.target import Engine


@dataclass(slots=True, eq=False)
class EngineRun:
    """One engine and its sequencer."""

    engine: Engine
    stream: list[Prepared]
    dynamic: list[bool]
    registers: Registers
    has_explicit_tables: bool
    index: int = 0
    current: Prepared | None = None
    ready_ns: float = 0.0
    """The sequencer could issue `current`."""
    array_ns: float = 0.0
    loader_ns: float = 0.0
    """With `array_ns`: (tensor engine) the array and the stationary loader are free again."""
    completed_ns: float = 0.0
    pending: list[tuple[float, Region]] = field(default_factory=list)
    """Results not yet visible."""
    blocked: tuple[int, int] | None = None
    """The wait that holds it up, and since when."""
    blocked_ns: float = 0.0
    table: str = ""
    busy_ns: float = 0.0
    count: int = 0
    stall_ns: dict[str, float] = field(default_factory=dict)
