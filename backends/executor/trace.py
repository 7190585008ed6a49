"""A recorded timeline as Chrome-trace JSON (chrome://tracing, ui.perfetto.dev).

One lane per engine with its instructions, one below it with what it waited for, one per DMA queue.
Format: the Trace Event Format, complete events ("X"), times in microseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from axonc.backends.executor.machine import Machine
from axonc.backends.executor.steps.describe import describe_instruction
from axonc.backends.executor.time.timeline import Timeline
from axonc.backends.targets.inf2 import INF2
from axonc.backends.targets.target import Engine

Event = dict[str, Any]

PROCESS = 1
WAIT_LANES = 100
QUEUE_LANES = 200
COLLECTIVE_LANES = 300
DMA_QUEUES = INF2.dma.queues
"""The same on every NeuronCore-v2."""

NS_PER_US = 1000.0
ENGINE_LANES = {engine: number for number, engine in enumerate(Engine)}


def reason_name(reason: str) -> str:
    """`semaphore 5` as `wait for dma queue 0` (numbering: docs/design/0001); others as they are."""
    word, _, number = reason.partition(" ")
    if word != "semaphore" or not number.isdigit():
        return reason
    engines = list(Engine)
    index = int(number)
    if index < len(engines):
        return f"wait for {engines[index].value}"
    queue = index - len(engines)
    if queue < DMA_QUEUES:
        return f"wait for dma queue {queue}"
    if index in INF2.barrier_semaphores:
        return "wait at a barrier"
    return f"wait for collectives of group {queue - DMA_QUEUES}"


def trace_events(machine: Machine, timeline: Timeline | None = None) -> list[Event]:
    """The events of a recorded timeline of the machine, the last run's if none is given. Raises:
    ExecutionError if it has none yet."""
    timeline = timeline or machine.timeline(record=True)
    return [
        *_lane_names(timeline),
        *_instruction_events(machine, timeline),
        *_stall_events(timeline),
        *_transfer_events(machine, timeline),
        *_collective_events(machine, timeline),
    ]


def trace_json(machine: Machine, timeline: Timeline | None = None) -> str:
    """The whole trace file, of `timeline` as in `trace_events`."""
    return json.dumps({"traceEvents": trace_events(machine, timeline), "displayTimeUnit": "ns"})


def _name_event(lane: int, name: str) -> list[Event]:
    common = {"ph": "M", "pid": PROCESS, "tid": lane}
    return [
        {**common, "name": "thread_name", "args": {"name": name}},
        {**common, "name": "thread_sort_index", "args": {"sort_index": _sort_index(lane)}},
    ]


def _sort_index(lane: int) -> int:
    """An engine's waits right below the engine, the queues last."""
    if lane >= QUEUE_LANES:
        return lane
    return 2 * (lane % WAIT_LANES) + (lane >= WAIT_LANES)


def _lane_names(timeline: Timeline) -> Iterator[Event]:
    for engine in timeline.engines:
        yield from _name_event(ENGINE_LANES[engine], engine.value)
        yield from _name_event(WAIT_LANES + ENGINE_LANES[engine], f"{engine.value} waits")
    assert timeline.transfers is not None
    for queue in sorted(set(timeline.transfers.queue.tolist())):
        yield from _name_event(QUEUE_LANES + queue, f"dma queue {queue}")
    for group in sorted({record.group for record in timeline.collectives}):
        yield from _name_event(COLLECTIVE_LANES + group, f"collectives of group {group}")


def _collective_events(machine: Machine, timeline: Timeline) -> Iterator[Event]:
    """From the core's trigger to the end: waiting for the others is part of it."""
    for record in timeline.collectives:
        args = {
            **_origin(machine, record.engine, record.index),
            "cores": list(record.cores),
            "algorithm": record.algorithm,
            "all_arrived_us": record.start_ns / NS_PER_US,
            "bytes_sent": record.moved_bytes,
        }
        name = machine.instruction(record.engine, record.index).spec.mnemonic
        lane = COLLECTIVE_LANES + record.group
        yield _slice(lane, name, record.trigger_ns, record.end_ns, args)


def _slice(lane: int, name: str, start_ns: float, end_ns: float, args: Event) -> Event:
    return {
        "ph": "X",
        "pid": PROCESS,
        "tid": lane,
        "name": name,
        "ts": start_ns / NS_PER_US,
        "dur": (end_ns - start_ns) / NS_PER_US,
        "args": args,
    }


def _origin(machine: Machine, engine: Engine, index: int) -> Event:
    location = machine.location(engine, index)
    return {
        "instruction": describe_instruction(machine.instruction(engine, index)),
        "index": index,
        "op": location.name,
        "source": f"{location.file}:{location.line}" if location.file else "",
    }


def _until_next(start_ns: np.ndarray, end_ns: np.ndarray) -> list[float]:
    """Ends, cut off where the next slice of the lane starts: slices of a lane may not overlap."""
    following = np.append(start_ns[1:], np.inf)
    return np.minimum(end_ns, following).tolist()


def _iterations(instructions: Sequence[Hashable]) -> list[Event]:
    """Of instructions that run several times, in a loop over layers that share one code: which
    time it is, from 0."""
    total, seen = Counter(instructions), Counter[Hashable]()
    found: list[Event] = []
    for each in instructions:
        found.append({"iteration": seen[each]} if total[each] > 1 else {})
        seen[each] += 1
    return found


def _instruction_events(machine: Machine, timeline: Timeline) -> Iterator[Event]:
    for engine, record in timeline.engines.items():
        ends = _until_next(record.start_ns, record.end_ns)
        indices = record.indices.tolist()
        rows = zip(
            indices,
            _iterations(indices),
            record.start_ns.tolist(),
            ends,
            record.end_ns.tolist(),
            strict=True,
        )
        for index, iteration, start, end, visible in rows:
            name = machine.instruction(engine, index).spec.mnemonic
            args = {
                **_origin(machine, engine, index),
                **iteration,
                "result_visible_us": visible / NS_PER_US,
            }
            yield _slice(ENGINE_LANES[engine], name, start, end, args)


def _stall_events(timeline: Timeline) -> Iterator[Event]:
    for stall in timeline.stalls:
        lane = WAIT_LANES + ENGINE_LANES[stall.engine]
        args: Event = {"index": stall.index}
        yield _slice(lane, reason_name(stall.reason), stall.start_ns, stall.end_ns, args)


def _transfer_events(machine: Machine, timeline: Timeline) -> Iterator[Event]:
    record = timeline.transfers
    assert record is not None
    for queue in sorted(set(record.queue.tolist())):
        rows = np.flatnonzero(record.queue == queue)
        ends = _until_next(record.start_ns[rows], record.end_ns[rows])
        iterations = _iterations([(record.engine[r], record.index[r]) for r in rows.tolist()])
        for row, end, iteration in zip(rows.tolist(), ends, iterations, strict=True):
            engine = record.engine[row]
            args = {
                **_origin(machine, engine, int(record.index[row])),
                **iteration,
                "engine": engine.value,
                "bytes": int(record.moved_bytes[row]),
                "complete_us": float(record.end_ns[row]) / NS_PER_US,
            }
            start = float(record.start_ns[row])
            yield _slice(QUEUE_LANES + queue, "transfer", start, end, args)
