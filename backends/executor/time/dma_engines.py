"""The DMA engines in time: which transfer each works on, and when a transfer is complete.

A trigger puts a transfer into its queue; after the fixed latency its descriptors are ready to move.
A queue is a ring on every engine: its transfers start in order, and the engines serve the queues
round-robin, one transfer at a time each (machine.md#dma). A transfer with fewer descriptors than
engines takes the next engines in turn (assumed). Device-memory bandwidth is shared by all. A queue
completes in order (assumed).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from axonc.backends.cost.dma import TransferCost
from axonc.backends.targets.target import DmaTiming


@dataclass(slots=True, eq=False)
class Transfer:
    """One transfer."""

    queue: int
    cost: TransferCost
    step: int
    """The step of its trigger. Data moves from start_ns to end_ns."""
    signal: tuple[int, int] | None
    start_ns: float = 0.0
    end_ns: float = 0.0


@dataclass(slots=True)
class _Queue:
    pending: deque[Transfer] = field(default_factory=deque)
    completed_ns: float = 0.0


class DmaEngines:
    """The DMA engines and queues of one core. Times in ns never decrease from call to call."""

    def __init__(self, timing: DmaTiming) -> None:
        self.timing = timing
        self.free_ns = [0.0] * timing.engines
        self.busy_ns = [0.0] * timing.engines
        self.hbm_free_ns = 0.0
        self._queues = [_Queue() for _ in range(timing.queues)]
        self._waiting = 0
        self._next_queue = 0
        self._next_engine = 0

    def arrive(self, transfer: Transfer) -> None:
        """The descriptors of `transfer` are ready to move."""
        self._queues[transfer.queue].pending.append(transfer)
        self._waiting += 1

    @property
    def all_free_ns(self) -> float:
        """When every engine has finished the transfers it has started."""
        return max(self.free_ns)

    def occupy(self, start: float, duration: float) -> None:
        """Every engine works for something else from `start` on, after what it has started."""
        for engine, free in enumerate(self.free_ns):
            self.free_ns[engine] = max(free, start) + duration
            self.busy_ns[engine] += duration

    def start_ready(self, now: float) -> list[Transfer]:
        """Start what can start at `now`; the started transfers have their start and end set."""
        started: list[Transfer] = []
        while self._waiting and min(self.free_ns) <= now:
            started.append(self._start(self._take_next(), now))
        return started

    def next_free_ns(self) -> float | None:
        """When another transfer may start, if one is waiting."""
        return min(self.free_ns) if self._waiting else None

    def _take_next(self) -> Transfer:
        """The first transfer of the next queue, round-robin, that has one."""
        queues = self._queues
        for step in range(len(queues)):
            index = (self._next_queue + step) % len(queues)
            if queues[index].pending:
                self._next_queue = (index + 1) % len(queues)
                self._waiting -= 1
                return queues[index].pending.popleft()
        raise AssertionError("no transfer waits")

    def _start(self, transfer: Transfer, now: float) -> Transfer:
        engines = len(self.free_ns)
        cost = transfer.cost
        each, extra = divmod(cost.descriptors, engines)
        first = self._next_engine
        used = engines if each else extra
        self._next_engine = (first + extra) % engines
        start, end = float("inf"), now
        for step in range(used):
            engine = (first + step) % engines
            busy = (each + (step < extra)) * cost.descriptor_ns
            begin = max(self.free_ns[engine], now)
            self.free_ns[engine] = begin + busy
            self.busy_ns[engine] += busy
            start = min(start, begin)
            end = max(end, begin + busy)
        self._finish(transfer, start, end)
        return transfer

    def _finish(self, transfer: Transfer, start: float, end: float) -> None:
        """Apply the device-memory bandwidth and the order of completions within the queue."""
        self.hbm_free_ns = (
            max(self.hbm_free_ns, start) + transfer.cost.hbm_bytes / self.timing.hbm_bytes_per_ns
        )
        queue = self._queues[transfer.queue]
        transfer.start_ns = start
        transfer.end_ns = max(end, self.hbm_free_ns, queue.completed_ns)
        queue.completed_ns = transfer.end_ns
