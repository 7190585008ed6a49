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
    """total_ns: of the program. busy_ns: time an engine works. stall_ns: time it waits, by reason.

    dma_busy_ns: mean over the DMA engines. dma_bytes: moved by transfers. hbm_bytes: read from plus
    written to device memory; hbm_read_bytes: only read. engines, transfers, stalls: only of a
    recorded timeline. collectives: those of this core, in the order they ended.
    """

    total_ns: float
    busy_ns: dict[Engine, float]
    stall_ns: dict[Engine, dict[str, float]]
    instruction_count: dict[Engine, int]
    transfer_count: int
    dma_busy_ns: float
    dma_bytes: int
    hbm_bytes: int
    hbm_read_bytes: int
    engines: dict[Engine, EngineRecord] = field(default_factory=dict, repr=False)
    transfers: TransferRecord | None = field(default=None, repr=False)
    stalls: tuple[Stall, ...] = field(default=(), repr=False)
    collectives: tuple[CollectiveRecord, ...] = field(default=(), repr=False)

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
