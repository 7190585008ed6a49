"""Finds equal blocks of operations one after the other, as the layers of a network are.

The sequence of signatures (block_signatures.py) is periodic where layers repeat. The period is the
usual distance between a window of signatures and the next equal one; where signatures stay equal
over that distance lies a run. A cut through the run is a phase: of those that give most blocks the
one over which fewest values live is tried first. A group is one only if every operand of every
block is explained (`match`). Time is near-linear in the number of operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from axonc.passes.prepare.block_signatures import ARGUMENT, CONSTANT, Body

_DISTANCES, _RUNS, _PHASES = 8, 6, 12
"""How many candidates of each kind are tried; the first nearly always fits."""


class Role(Enum):
    """Where an operand of a block comes from."""

    INNER = "an operation of the same iteration"
    CARRIED = "the iteration before, first from outside"
    INVARIANT = "the same value from outside for all"
    VARYING = "an argument of the function per iteration"
    CONSTANT = "a constant, made again within the block"


@dataclass(frozen=True)
class Carried:
    """Result `result` of operation `op` of a block, handed to the next; `init` to the first."""

    op: int
    result: int
    init: int


@dataclass(frozen=True)
class Group:
    """Equal blocks of operations, one after the other. Values are numbers of the body."""

    start: int
    """Number of the first operation."""
    length: int
    """Operations of a block."""
    count: int
    """Blocks."""
    carried: tuple[Carried, ...]
    invariant: tuple[int, ...]
    varying: tuple[tuple[int, ...], ...]
    """varying[s][k]: the value of slot s in iteration k."""
    collected: tuple[tuple[int, int], ...]
    """(operation of a block, result of it) of everything the function returns."""
    roles: tuple[tuple[tuple[Role, int], ...], ...]
    """roles[j][n]: the role of operand n of operation j, and its index in the list of that role."""

    @property
    def end(self) -> int:
        return self.start + self.count * self.length


@dataclass(frozen=True)
class _Run:
    """Signatures of [start, end) repeat after `period`."""

    start: int
    end: int
    period: int


def find_groups(body: Body, min_ops: int, min_count: int) -> list[Group]:
    """Disjoint groups in program order, each of blocks as small as possible."""
    groups: list[Group] = []
    segments = [(0, len(body.keys))]
    while segments:
        low, high = segments.pop()
        group = _first_group(body, low, high, min_ops, min_count)
        if group is not None:
            groups.append(group)
            segments += [(low, group.start), (group.end, high)]
    return sorted(groups, key=lambda g: g.start)


def _first_group(body: Body, low: int, high: int, min_ops: int, min_count: int) -> Group | None:
    runs = [
        run
        for period in _periods(body.keys, low, high, min_ops)
        for run in _runs(body.keys, low, high, period)
        if run.end - run.start >= period * min_count
    ]
    runs.sort(key=lambda r: (r.start - r.end, r.period))
    tries = (t for run in runs[:_RUNS] for t in _tries(body, run, min_count))
    return next((g for t in tries if (g := match(body, *t)) is not None), None)


def _periods(keys: list[int], low: int, high: int, window: int) -> list[int]:
    """The usual distances from a window to the next equal one, most usual first."""
    seen: dict[tuple[int, ...], int] = {}
    distances: Counter[int] = Counter()
    for place in range(low, high - window + 1):
        content = tuple(keys[place : place + window])
        if content in seen:
            distances[place - seen[content]] += 1
        seen[content] = place
    usual = [d for d, _ in distances.most_common() if d >= window]
    return usual[:_DISTANCES]


def _runs(keys: list[int], low: int, high: int, period: int) -> Iterator[_Run]:
    start = low
    for place in range(low, high - period):
        if keys[place] != keys[place + period]:
            if place > start:
                yield _Run(start, place + period, period)
            start = place + 1
    if high - period > start:
        yield _Run(start, high, period)


def _tries(body: Body, run: _Run, min_count: int) -> Iterator[tuple[int, int, int]]:
    """(start, length, count) to try: most blocks, then fewest live values, then the latest cut.

    Then with the first or the last block left out, for they may differ in what is read.
    """
    period, size = run.period, run.end - run.start
    live = _live_values(body, run)
    phases = sorted(
        range(min(period, size - min_count * period + 1)),
        key=lambda p: (-((size - p) // period), live[p + period - 1], -p),
    )
    for phase in phases[:_PHASES]:
        start, count = run.start + phase, (size - phase) // period
        for first, last in ((0, 0), (0, 1), (1, 0), (1, 1)):
            if count - first - last >= min_count:
                yield start + first * period, period, count - first - last


def _live_values(body: Body, run: _Run) -> list[int]:
    """How many values of the last period are read beyond each operation of the run."""
    change = [0] * (run.end - run.start + 1)
    for place in range(run.start, run.end):
        for value in body.results[place]:
            last = max((u for u in body.users[value] if u < run.end), default=place)
            change[place - run.start] += 1
            change[min(last, place + run.period) - run.start] -= 1
    return list(accumulate(change))


# ---- verification --------------------------------------------------------------------------------


class _Differs(Exception):
    """The blocks are not iterations of one another."""


class _Matcher:
    """Explains every operand of `count` blocks, or raises _Differs."""

    def __init__(self, body: Body, start: int, length: int, count: int) -> None:
        self.body, self.start, self.length, self.count = body, start, length, count
        self.end = start + count * length
        self.carried: dict[Carried, int] = {}
        self.invariant: dict[int, int] = {}
        self.varying: dict[tuple[int, ...], int] = {}

    def role(self, op: int, operand: int) -> tuple[Role, int]:
        places = range(self.start + op, self.end, self.length)
        values = [self.body.operands[p][operand] for p in places]
        owner = self.body.owner[values[1]]
        if owner == CONSTANT:
            return self._constant(values)
        if owner < self.start:
            return self._outside(values)
        source, result = (owner - self.start) % self.length, self.body.place[values[1]]
        if owner >= self.start + self.length:
            self._require_made(values, source, result, 0)
            return Role.INNER, self.body.results[self.start + source][result]
        self._require_made(values[1:], source, result, 0)
        if self.body.owner[values[0]] >= self.start:
            raise _Differs
        carried = Carried(source, result, values[0])
        return Role.CARRIED, self.carried.setdefault(carried, len(self.carried))

    def _require_made(self, values: list[int], source: int, result: int, first: int) -> None:
        """values[k] is that result of operation `source` of iteration first + k."""
        for k, value in enumerate(values, first):
            made = self.start + k * self.length + source
            if self.body.owner[value] != made or self.body.place[value] != result:
                raise _Differs

    def _constant(self, values: list[int]) -> tuple[Role, int]:
        if len({self.body.constant.get(v) for v in values}) != 1:
            raise _Differs
        return Role.CONSTANT, values[0]

    def _outside(self, values: list[int]) -> tuple[Role, int]:
        owners = {self.body.owner[v] for v in values}
        if len(set(values)) == 1:
            return Role.INVARIANT, self.invariant.setdefault(values[0], len(self.invariant))
        if owners != {ARGUMENT} or not all(self._is_of_one_block(v) for v in values):
            raise _Differs
        return Role.VARYING, self.varying.setdefault(tuple(values), len(self.varying))

    def _is_of_one_block(self, argument: int) -> bool:
        """Whether one block reads it, and nothing else: iterations lie at equal distances in device
        memory, so each has its own."""
        blocks = {(user - self.start) // self.length for user in self.body.users[argument]}
        return (
            len(blocks) == 1
            and blocks <= set(range(self.count))
            and argument not in self.body.returned
        )

    def collected(self) -> list[tuple[int, int]]:
        """What the function returns of each iteration; others may read only what is carried out of
        the last."""
        handed = {(c.op, c.result) for c in self.carried}
        found: dict[tuple[int, int], None] = {}
        for place in range(self.start, self.end):
            last = place >= self.end - self.length
            for result, value in enumerate(self.body.results[place]):
                which = ((place - self.start) % self.length, result)
                leaves_last = last and which in handed
                if any(u >= self.end for u in self.body.users[value]) and not leaves_last:
                    raise _Differs
                if value in self.body.returned and not leaves_last:
                    found[which] = None
        if not all(self._is_returned_by_all(which) for which in found):
            raise _Differs
        return sorted(found)

    def _is_returned_by_all(self, which: tuple[int, int]) -> bool:
        """Whether that result of every iteration is one of the program: they lie at equal
        distances in its memory, so none may be missing (a middle layer's result alone)."""
        operation, result = which
        places = range(self.start + operation, self.end, self.length)
        return all(self.body.results[place][result] in self.body.returned for place in places)


def match(body: Body, start: int, length: int, count: int) -> Group | None:
    """The group of these blocks of equal signatures; None when they are not the iterations of a
    loop."""
    matcher = _Matcher(body, start, length, count)
    try:
        roles = tuple(
            tuple(matcher.role(j, n) for n in range(len(body.operands[start + j])))
            for j in range(length)
        )
        collected = matcher.collected()
    except _Differs:
        return None
    return Group(
        start,
        length,
        count,
        tuple(matcher.carried),
        tuple(matcher.invariant),
        tuple(matcher.varying),
        tuple(collected),
        roles,
    )
