"""The algorithms of collectives: who sends how much to whom, step by step.

As the public page on communication within an instance describes them (machine.md#collectives names
it and sums it up). Written down for all_gather and reduce_scatter; all_reduce is the latter and
then the former, or one exchange of everything. In a step all flows go at once; what a step leaves
behind is read by the next.

| name | all_gather | steps of all_reduce on n cores |
| --- | --- | --- |
| exchange | (all_reduce only) every core sends all it has to every other, all add | 1 |
| mesh | every core sends its block to every other | 2 |
| chips | blocks of a chip go once to every other chip, and then to the cores there | 4 |
| doubling | partners at distances ... 4, 2, 1 swap what they have so far; n = 2^k | 2 log2 n |
| ring | every core passes blocks on, half of each either way round | 2 (n - 1) |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from axonc.backends.isa.spec import Exchange
from axonc.backends.targets.topology import Instance

Group = tuple[int, ...]
Flow = tuple[int, int, float]
"""(sending core, receiving core, bytes)."""


@dataclass(frozen=True)
class Step:
    """Flows that go at the same time, `repeat` times one after the other."""

    flows: tuple[Flow, ...]
    repeat: int = 1


Steps = tuple[Step, ...]


def _everyone(group: Group, size: float) -> Steps:
    return (Step(tuple((a, b, size) for a in group for b in group if a != b)),)


def _mesh(instance: Instance, group: Group, block: float) -> Steps:
    return _everyone(group, block)


def _ring(instance: Instance, group: Group, block: float) -> Steps:
    onwards = list(zip(group, (*group[1:], group[0]), strict=True))
    ways = [*onwards, *((b, a) for a, b in onwards)]
    return (Step(tuple((a, b, block / 2) for a, b in ways), len(group) - 1),)


def _halving(instance: Instance, group: Group, block: float) -> Steps:
    """The most first, between neighbours, which are on one chip."""
    steps, distance = [], 1
    while distance < len(group):
        size = block * (len(group) // 2 // distance)
        steps.append(Step(tuple((a, group[i ^ distance], size) for i, a in enumerate(group))))
        distance *= 2
    return tuple(steps)


def _doubling(instance: Instance, group: Group, block: float) -> Steps:
    return _halving(instance, group, block)[::-1]


def _by_chip(instance: Instance, group: Group) -> list[Group]:
    """The cores of the group that each chip has."""
    found: dict[int, list[int]] = defaultdict(list)
    for core in group:
        found[instance.chip_of(core)].append(core)
    return [tuple(cores) for cores in found.values()]


def _gather_by_chips(instance: Instance, group: Group, block: float) -> Steps:
    """Cores of a chip share the other chips out; what arrives is passed on within the chip."""
    chips = _by_chip(instance, group)
    across: list[Flow] = []
    held = dict.fromkeys(group, block)
    for i, here in enumerate(chips):
        for j, there in enumerate(chips):
            if i != j:
                sender, receiver = here[j % len(here)], there[i % len(there)]
                across.append((sender, receiver, block * len(here)))
                held[receiver] += block * len(here)
    within = [(a, b, held[a]) for chip in chips for a in chip for b in chip if a != b]
    return Step(tuple(across)), Step(tuple(within))


def _scatter_by_chips(instance: Instance, group: Group, block: float) -> Steps:
    """For every core of another chip, one core adds what its chip has and sends the sum; then each
    adds what came and what its own chip has."""
    chips = _by_chip(instance, group)
    across: list[Flow] = []
    for here in chips:
        for there in chips:
            for place, receiver in enumerate(there if here != there else ()):
                sender = here[place % len(here)]
                across += [(peer, sender, block) for peer in here if peer != sender]
                across.append((sender, receiver, block))
    within: list[Flow] = [(a, b, block) for chip in chips for a in chip for b in chip if a != b]
    within += [(core, core, block * (len(chips) - 1)) for core in group]
    return Step(tuple(across)), Step(tuple(within))


@dataclass(frozen=True)
class Algorithm:
    """A way to do a collective, as steps between cores."""

    gather: Callable[[Instance, Group, float], Steps]
    scatter: Callable[[Instance, Group, float], Steps]
    """With `gather`: steps for one group and the bytes of one block."""
    fits: Callable[[int, int], bool] = lambda cores, chips: True
    """Whether it is made for so many cores on so many chips."""


ALGORITHMS = {
    "mesh": Algorithm(_mesh, _mesh),
    "chips": Algorithm(_gather_by_chips, _scatter_by_chips, lambda cores, chips: 1 < chips < cores),
    "doubling": Algorithm(_doubling, _halving, lambda cores, chips: cores & (cores - 1) == 0),
    "ring": Algorithm(_ring, _ring),
}


def candidates(
    instance: Instance, exchange: Exchange, group: Group, size_bytes: float, most_sources: int
) -> dict[str, Steps]:
    """By name, the ways to do a collective in one group of at least two cores.

    size_bytes: of the larger operand. most_sources: how many tensors a DMA engine can add at once.
    """
    cores, block = len(group), size_bytes / len(group)
    if exchange.dst_in_blocks and exchange.src_in_blocks:
        return {"mesh": _everyone(group, block)}
    found: dict[str, Steps] = {}
    if not (exchange.dst_in_blocks or exchange.src_in_blocks) and cores <= most_sources:
        found["exchange"] = _everyone(group, size_bytes)
    chips = len(_by_chip(instance, group))
    for name, algorithm in ALGORITHMS.items():
        if algorithm.fits(cores, chips):
            found[name] = _steps_of(algorithm, instance, exchange, group, block)
    return found


def _steps_of(
    algorithm: Algorithm, instance: Instance, exchange: Exchange, group: Group, block: float
) -> Steps:
    """An all_gather (dst in blocks) only gathers, a reduce_scatter (src in blocks) only scatters,
    an all_reduce does one after the other."""
    scatter = () if exchange.dst_in_blocks else algorithm.scatter(instance, group, block)
    gather = () if exchange.src_in_blocks else algorithm.gather(instance, group, block)
    return (*scatter, *gather)
