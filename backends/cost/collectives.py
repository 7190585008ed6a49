"""How long a collective takes: T = start + steps x step latency + bytes / bandwidth (hardware.md
1.5).

An algorithm is a list of steps; in a step some cores send bytes to others, all at once. A step
lasts its latency plus the time of the busiest resource: a link between chips, in one direction, or
the DMA engines of a core, which write what it sends.

Algorithms by size, as published (1.5): mesh, every core exchanges with every other directly; above
1 MB recursive doubling-halving (groups of 2^k cores); beyond 56 MB, and where doubling does not
fit, round the ring. All groups of a table entry run at the same time, so their loads add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from axonc.backends.cost.dma import access_run, descriptor_ns
from axonc.backends.isa.instruction import Instruction
from axonc.backends.program import Groups
from axonc.backends.targets.target import Target
from axonc.backends.targets.topology import Instance, Link

Flow = tuple[int, int, float]
"""(sending core, receiving core, bytes)."""


@dataclass(frozen=True)
class Step:
    """Flows that go at the same time, `repeat` times one after the other."""

    flows: tuple[Flow, ...]
    repeat: int = 1


@dataclass(frozen=True)
class CollectiveCost:
    """duration_ns: from the last trigger to the result. dma_ns: time the DMA engines of a core are
    busy with it. moved_bytes: sent by the core that sends most. algorithm: its name."""

    duration_ns: float
    dma_ns: float
    moved_bytes: float
    algorithm: str


def mesh_steps(group: tuple[int, ...], block: float, exchanges: int) -> tuple[Step, ...]:
    """Every core sends a block to every other one, `exchanges` times."""
    flows = tuple((a, b, block) for a in group for b in group if a != b)
    return (Step(flows, exchanges),)


def ring_steps(group: tuple[int, ...], block: float, exchanges: int) -> tuple[Step, ...]:
    """Every core passes a block on to the next, size - 1 times."""
    flows = tuple((a, b, block) for a, b in zip(group, (*group[1:], group[0]), strict=True))
    return (Step(flows, (len(group) - 1) * exchanges),)


def doubling_steps(group: tuple[int, ...], block: float, exchanges: int) -> tuple[Step, ...]:
    """Partners at distances 1, 2, 4 ... exchange n/2, n/4, n/8 ... blocks: the most between
    neighbours, which are on one chip."""
    steps, distance = [], 1
    while distance < len(group):
        size = block * (len(group) // 2 // distance)
        flows = tuple((a, group[i ^ distance], size) for i, a in enumerate(group))
        steps.append(Step(flows, exchanges))
        distance *= 2
    return tuple(steps)


ALGORITHMS = {"mesh": mesh_steps, "doubling": doubling_steps, "ring": ring_steps}


def choose_algorithm(target: Target, cores: int, size_bytes: float) -> str:
    """By the size of the largest operand (hardware.md 1.5)."""
    timing = target.collectives
    if cores == 2 or size_bytes < timing.mesh_max_bytes:
        return "mesh"
    if size_bytes <= timing.doubling_max_bytes and cores & (cores - 1) == 0:
        return "doubling"
    return "ring"


def plan(
    target: Target, mnemonic: str, group: tuple[int, ...], size_bytes: float
) -> tuple[str, tuple[Step, ...]]:
    """(algorithm, its steps) of one group; size_bytes: of the larger operand."""
    cores = len(group)
    if cores == 1:
        return "copy", ()
    if mnemonic == "all_to_all":
        return "mesh", mesh_steps(group, size_bytes / cores, 1)
    if mnemonic == "all_reduce" and cores == 2:
        # Both send everything and add what they receive: one step (nki.isa.sendrecv_compute).
        return "mesh", mesh_steps(group, size_bytes, 1)
    name = choose_algorithm(target, cores, size_bytes)
    exchanges = 2 if mnemonic == "all_reduce" else 1
    return name, ALGORITHMS[name](group, size_bytes / cores, exchanges)


def merged(plans: list[tuple[Step, ...]]) -> Iterator[Step]:
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
    mnemonic: str,
    groups: Groups,
    cores: int,
    size_bytes: int,
    dma_bytes_per_ns: float,
) -> CollectiveCost:
    """Cost of a collective over `groups` of a program of `cores` cores."""
    instance = target.instance_for(cores)
    assert instance is not None, f"no instance has {cores} cores"
    if mnemonic == "collective_permute":
        flows = tuple((a, b, float(size_bytes)) for a, b in groups if a != b)
        name, steps = "direct", [Step(flows)]
    else:
        plans = [plan(target, mnemonic, group, size_bytes) for group in groups]
        name, steps = plans[0][0], list(merged([found for _, found in plans]))
    duration, sent = target.collectives.start_ns, Counter[int]()
    for step in steps:
        each = transfer_ns(instance, step.flows, dma_bytes_per_ns)
        duration += step.repeat * (target.collectives.step_ns + each)
        for source, _, size in step.flows:
            sent[source] += size * step.repeat  # type: ignore[assignment]
    own = float(size_bytes) if not steps or not sent else 0.0  # nothing to send: a copy
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
    return steps_cost(target, instruction.spec.mnemonic, groups, cores, size, rate)
