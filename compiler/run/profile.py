"""Where the modelled time of one call goes: engines, DMA, stalls, bounds; text and trace."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from axonc.backends.executor.machine import Machine
from axonc.backends.executor.time.timeline import Timeline
from axonc.backends.executor.trace import reason_name, trace_json
from axonc.backends.isa.access_pattern import HbmAccess
from axonc.backends.program import SPILL_PREFIX, Program
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine
from axonc.output_files import written_whole

BAR_WIDTH = 32


@dataclass(frozen=True)
class Profile:
    """Modelled, not measured."""

    target: str
    timeline: Timeline
    """Of one call, with every instruction and transfer."""
    hbm_bytes_read: int
    """By DMA from device memory."""
    spill_save_bytes: int
    spill_reload_bytes: int
    """With `spill_save_bytes`: of buffers that did not fit SBUF, to device memory and back (what is
    loaded again from where it came is not counted)."""
    bound_seconds: dict[str, float]
    """The time each of the resources pe, dma, vector, scalar (and gpsimd) would need if nothing
    else took any."""
    machine: Machine = field(repr=False)
    outputs: list[np.ndarray] = field(default_factory=list, repr=False)
    """Of the call, if arrays were given."""
    cores: int = 1
    """How many run the program; the timeline is that of the one that ends last."""

    @property
    def modelled_seconds(self) -> float:
        return self.timeline.seconds

    @property
    def stall_seconds(self) -> dict[Engine, dict[str, float]]:
        """Time each engine waits, by reason."""
        stalls = self.timeline.stall_ns
        return {e: {why: ns * 1e-9 for why, ns in of.items()} for e, of in stalls.items()}

    def save_trace(self, path: str | Path) -> None:
        """Write a trace for ui.perfetto.dev or chrome://tracing (JSON).

        Raises:
            UsageError: the file cannot be written.
        """
        text = trace_json(self.machine, self.timeline)
        with written_whole(Path(path)) as file:
            file.write(text.encode())

    def summary(self) -> str:
        """A table of busy time per engine and what bounds the program, as plain text."""
        return "\n".join([*self._headline(), "", *self._engine_rows(), "", *self._stall_rows()])

    def _headline(self) -> list[str]:
        count = sum(self.timeline.instruction_count.values())
        name, seconds = max(self.bound_seconds.items(), key=lambda item: item[1])
        machine = f"{self.cores} cores of {self.target}" if self.cores > 1 else self.target
        return [
            f"modelled time on {machine}: {_time(self.modelled_seconds)} "
            "(modelled, not measured on silicon)",
            *self._collective_row(),
            f"{count:,} instructions, {self.timeline.transfer_count:,} DMA transfers, "
            f"{self.hbm_bytes_read / 1e6:,.2f} MB read from device memory",
            f"bound: {name} needs {_time(seconds)}, "
            f"{seconds / max(self.modelled_seconds, 1e-30):.0%} of the time",
        ]

    def _collective_row(self) -> list[str]:
        count = len(self.timeline.collectives)
        if not count:
            return []
        sent = sum(record.moved_bytes for record in self.timeline.collectives)
        return [
            f"{count:,} collectives, {_time(self.timeline.collective_ns * 1e-9)} from last trigger "
            f"to end, {sent / 1e6:,.2f} MB sent by the busiest core"
        ]

    def _engine_rows(self) -> list[str]:
        rows = [f"{'engine':8} {'instructions':>12} {'busy':>11}  share of the modelled time"]
        for engine, busy in self.timeline.busy_ns.items():
            count = self.timeline.instruction_count.get(engine, 0)
            rows.append(self._row(engine.value, f"{count:,}", busy))
        rows.append(
            self._row("dma", f"{self.timeline.transfer_count:,}", self.timeline.dma_busy_ns)
        )
        return rows

    def _row(self, name: str, count: str, busy_ns: float) -> str:
        share = busy_ns / max(self.timeline.total_ns, 1e-30)
        bar = "#" * round(share * BAR_WIDTH)
        return (
            f"{name:8} {count:>12} {_time(busy_ns * 1e-9):>11}  |{bar:<{BAR_WIDTH}}| {share:6.1%}"
        )

    def _stall_rows(self) -> list[str]:
        rows = []
        for engine, reasons in self.timeline.stall_ns.items():
            longest = sorted(_by_cause(reasons).items(), key=lambda item: -item[1])[:3]
            text = ", ".join(f"{why} {_time(ns * 1e-9)}" for why, ns in longest if ns > 0)
            if text:
                rows.append(f"{engine.value:8} stalls: {text}")
        return rows


def _by_cause(reasons: dict[str, float]) -> dict[str, float]:
    """Stalls in words, those of all DMA queues together."""
    found: dict[str, float] = {}
    for reason, ns in reasons.items():
        cause = re.sub(r" queue \d+$", "", reason_name(reason))
        found[cause] = found.get(cause, 0.0) + ns
    return found


def _time(seconds: float) -> str:
    """With the unit that leaves a readable number."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3f} {unit}"
    return f"{seconds / 1e-6:.2f} us"


def make_profile(machine: Machine, outputs: list[np.ndarray]) -> Profile:
    """The profile of the last run of `machine` (or of any run, where time does not depend on
    data)."""
    timeline = machine.timeline(record=True)
    moved = _device_bytes(machine, timeline)
    return Profile(
        target=machine.target.name,
        timeline=timeline,
        hbm_bytes_read=moved.read,
        spill_save_bytes=moved.spill_save,
        spill_reload_bytes=moved.spill_reload,
        bound_seconds=_bounds(machine.target.name, timeline),
        outputs=outputs,
        machine=machine,
        cores=machine.program.cores,
    )


@dataclass(frozen=True)
class _DeviceBytes:
    """Bytes of transfers from device memory; to and from the tensors of spilled buffers."""

    read: int = 0
    spill_save: int = 0
    spill_reload: int = 0


def _device_bytes(machine: Machine, timeline: Timeline) -> _DeviceBytes:
    transfers = timeline.transfers
    if transfers is None:
        return _DeviceBytes()
    spilled = _Spilled(machine.program)
    read = save = reload = 0
    rows = zip(
        transfers.engine, transfers.index.tolist(), transfers.moved_bytes.tolist(), strict=True
    )
    for engine, index, moved in rows:
        instruction = machine.instruction(engine, index)
        source, target = instruction.operand("src"), instruction.operand("dst")
        if isinstance(source, HbmAccess):
            # A cast on the way writes other sizes than it reads.
            size = moved * source.dtype.size_bytes // (target or source).dtype.size_bytes
            read += size
            reload += size * spilled.holds(source)
        if isinstance(target, HbmAccess):
            save += moved * spilled.holds(target)
    return _DeviceBytes(read, save, reload)


class _Spilled:
    """Where the tensors of spilled buffers lie."""

    def __init__(self, program: Program) -> None:
        found = [t for t in program.tensors if t.name.startswith(SPILL_PREFIX)]
        self._ranges = sorted((t.address, t.address + t.size_bytes) for t in found)
        self._starts = [first for first, _ in self._ranges]

    def holds(self, access: HbmAccess) -> bool:
        number = bisect_right(self._starts, access.address) - 1
        return number >= 0 and access.address < self._ranges[number][1]


_RESOURCES = {
    "pe": Engine.TENSOR,
    "vector": Engine.VECTOR,
    "scalar": Engine.SCALAR,
    "gpsimd": Engine.GPSIMD,
}


def _bounds(target_name: str, timeline: Timeline) -> dict[str, float]:
    """Seconds by resource. dma: of the DMA engines, or of device memory's bandwidth if that is
    more."""
    bandwidth = TARGETS[target_name].dma.hbm_bytes_per_ns
    bounds = {name: timeline.busy_ns.get(e, 0.0) * 1e-9 for name, e in _RESOURCES.items()}
    bounds["dma"] = max(timeline.dma_busy_ns, timeline.hbm_bytes / bandwidth) * 1e-9
    return bounds
