"""Modelled time of one run: totals per engine, and optionally when every instruction ran.

All times are nanoseconds from the start of the program, start-up and tear-down included.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from axonc.backends.isa.collective_groups import Members
from axonc.backends.targets.target import Engine


@dataclass(frozen=True)
class Stall:
    """`engine` waited from start to end before instruction `index`; `reason` says for what."""

    engine: Engine
    index: int
    reason: str
    start_ns: float
    end_ns: float


@dataclass(frozen=True)
class EngineRecord:
    """Instructions of one engine in the order they were issued (a rolled loop repeats an index)."""

    indices: np.ndarray
    """Numbers in the stream."""
    start_ns: np.ndarray
    end_ns: np.ndarray
    """With `start_ns`: issue, and results visible (for a DMA trigger: the sequencer is free
    again)."""


@dataclass(frozen=True)
class TransferRecord:
    """DMA transfers in the order they started."""

    queue: np.ndarray
    engine: tuple[Engine, ...]
    index: np.ndarray
    """With `engine`: of the triggering instruction."""
    start_ns: np.ndarray
    end_ns: np.ndarray
    moved_bytes: np.ndarray


@dataclass(frozen=True)
class Timeline:
    """How one core spends the modelled time of a program."""

    total_ns: float
    """From the start of the program to its end."""
    busy_ns: dict[Engine, float]
    """By engine, the time it works."""
    stall_ns: dict[Engine, dict[str, float]]
    """By engine and reason, the time it waits."""
    instruction_count: dict[Engine, int]
    transfer_count: int
    dma_busy_ns: float
    """The time a DMA engine works, the mean over all of them."""
    dma_bytes: int
    """Bytes moved by transfers."""
    hbm_bytes: int
    """Bytes read from plus bytes written to device memory."""
    hbm_read_bytes: int
    """Bytes read from device memory."""
    engines: dict[Engine, EngineRecord] = field(default_factory=dict, repr=False)
    """Every instruction; empty unless the timeline was recorded."""
    transfers: TransferRecord | None = field(default=None, repr=False)
    """Every transfer; None unless the timeline was recorded."""
    stalls: tuple[Stall, ...] = field(default=(), repr=False)
    """Every stall; empty unless the timeline was recorded."""
    collectives: tuple[CollectiveRecord, ...] = field(default=(), repr=False)
    """Collectives of this core, in the order they ended."""

    @property
    def collective_ns(self) -> float:
        """Time from the last trigger to the end, summed over the collectives of the core."""
        return sum(record.end_ns - record.start_ns for record in self.collectives)

    @property
    def seconds(self) -> float:
        return self.total_ns * 1e-9


@dataclass(frozen=True, slots=True)
class CollectiveRecord:
    """One collective as a core saw it."""

    engine: Engine
    index: int
    """With `engine`: of the trigger."""
    group: int
    cores: Members
    algorithm: str
    trigger_ns: float
    """This core's trigger."""
    start_ns: float
    end_ns: float
    """With `start_ns`: of the collective."""
    moved_bytes: float
