"""How long a collective takes: T = start + steps x step latency + bytes / bandwidth
(machine.md#collectives).

An algorithm is a list of steps (collective_steps.py); in a step some cores send bytes to others,
all at once. A step lasts its latency plus the time of the busiest resource: a link between chips,
in one direction, or the DMA engines of a core, which write what it sends.

Of the published algorithms the one with the least time is taken. AWS chooses by size, from
measurements on another machine (below 1 MB mesh, to 56 MB doubling, else ring: 1.5); where the
three change over here is in docs/design/0007. All groups of a table entry run at the same time, so
their loads add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from axonc.backends.cost.collective_steps import Flow, Step, Steps, candidates
from axonc.backends.cost.dma import access_run, descriptor_ns
from axonc.backends.isa.collective_groups import exchange_of
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Exchange
from axonc.backends.program import Groups
from axonc.backends.targets.target import Target
from axonc.backends.targets.topology import CollectiveTiming, Instance, Link


@dataclass(frozen=True)
class CollectiveCost:
    """What one collective costs."""

    duration_ns: float
    """From the last trigger to the result."""
    dma_ns: float
    """Time the DMA engines of a core are busy with it."""
    moved_bytes: float
    """Sent by the core that sends most."""
    algorithm: str
    """Its name."""


def merged(plans: list[Steps]) -> Iterator[Step]:
    """Steps of groups that run side by side; groups of one entry have one size."""
    longest = max(plans, key=len)
    for number, step in enumerate(longest):
        side_by_side = [steps[number].flows for steps in plans if number < len(steps)]
        flows = tuple(flow for flows in side_by_side for flow in flows)
        yield Step(flows, step.repeat)


@cache
def _routes(instance: Instance, source: int, target: int) -> tuple[Link, ...]:
    return tuple(instance.route(source, target))


def transfer_ns(instance: Instance, flows: tuple[Flow, ...], dma_bytes_per_ns: float) -> float:
    """Time of the busiest link or sending core."""
    links: Counter[Link] = Counter()
    senders: Counter[int] = Counter()
    for source, receiver, size in flows:
        senders[source] += size  # type: ignore[assignment]
        for link in _routes(instance, instance.chip_of(source), instance.chip_of(receiver)):
            links[link] += size  # type: ignore[assignment]
    link_ns = max(links.values(), default=0) / instance.link_bytes_per_ns
    return max(link_ns, max(senders.values(), default=0) / dma_bytes_per_ns)


def steps_cost(
    target: Target,
    exchange: Exchange,
    groups: Groups,
    cores: int,
    size_bytes: int,
    dma_bytes_per_ns: float,
) -> CollectiveCost:
    """Cost of a collective over `groups` of a program of `cores` cores."""
    instance = target.instance_for(cores)
    assert instance is not None, f"no instance has {cores} cores"
    return _least_cost(
        instance, target.collectives, exchange, groups, float(size_bytes), dma_bytes_per_ns
    )


@lru_cache(maxsize=4096)
def _least_cost(
    instance: Instance,
    timing: CollectiveTiming,
    exchange: Exchange,
    groups: Groups,
    size_bytes: float,
    dma_bytes_per_ns: float,
) -> CollectiveCost:
    ways = _ways(instance, timing, exchange, groups, size_bytes)
    costs = [
        _cost(name, steps, instance, timing, size_bytes, dma_bytes_per_ns)
        for name, steps in ways.items()
    ]
    return min(costs, key=lambda cost: cost.duration_ns)


def _ways(
    instance: Instance, timing: CollectiveTiming, exchange: Exchange, groups: Groups, size: float
) -> dict[str, Steps]:
    """By name of the algorithm, the steps of all groups together."""
    if exchange.is_pairwise:
        return {"direct": (Step(tuple((a, b, size) for a, b in groups if a != b)),)}
    if len(groups[0]) == 1:
        return {"copy": ()}
    found = [candidates(instance, exchange, g, size, timing.most_sources) for g in groups]
    # Groups of one entry have one size, but may lie on different numbers of chips.
    names = [name for name in found[0] if all(name in ways for ways in found)]
    return {name: tuple(merged([ways[name] for ways in found])) for name in names}


def _cost(
    name: str,
    steps: Steps,
    instance: Instance,
    timing: CollectiveTiming,
    size_bytes: float,
    dma_bytes_per_ns: float,
) -> CollectiveCost:
    duration, sent = timing.start_ns, Counter[int]()
    for step in steps:
        each = transfer_ns(instance, step.flows, dma_bytes_per_ns)
        duration += step.repeat * (timing.step_ns + each)
        for source, _, size in step.flows:
            sent[source] += size * step.repeat  # type: ignore[assignment]
    own = size_bytes if not steps or not sent else 0.0  # nothing to send: a copy
    moved = max(sent.values(), default=0) + own
    return CollectiveCost(duration + own / dma_bytes_per_ns, moved / dma_bytes_per_ns, moved, name)


def collective_cost(
    target: Target, instruction: Instruction, groups: Groups, cores: int
) -> CollectiveCost:
    """Cost of the collective an instruction triggers."""
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    size = max(math.prod(a.shape) * a.dtype.size_bytes for a in (dst, src))
    dma = target.dma
    run = min(access_run(a) * a.dtype.size_bytes for a in (dst, src))
    run = min(run, dma.descriptor_max_bytes)
    rate = dma.engines * run / descriptor_ns(dma, run)
    return steps_cost(target, exchange_of(instruction), groups, cores, size, rate)
