"""Which instruction or transfer is certain to be over before another starts: vector clocks.

Agents are the five engines; for every queue and engine that triggers transfers on it, the transfers
themselves; and so for every group and its collectives. Program order holds within an engine; a
transfer comes after its trigger; transfers of one agent complete in order; everything else comes
from semaphores (docs/design/0001).

A clock is a list of one number per agent: the agent's events up to that number are certainly over.
What a wait proves does not depend on the order that was simulated: only signals
without which the value cannot be reached, however the others are timed, are joined.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.collective_groups import group_number
from axonc.backends.isa.dma import is_transfer
from axonc.backends.isa.sequencer import semaphore_and_value
from axonc.backends.isa.spec import Action

Clock = list[int]
Snapshot = tuple[int, ...]
AgentKey = tuple[str, ...]


def engine_key(prepared: Prepared) -> AgentKey:
    return (prepared.engine.value,)


def agent_key(prepared: Prepared) -> AgentKey:
    """Whose event the accesses of an instruction are: its engine's, its queue's, or those of the
    collectives of its group, which run one after the other."""
    if is_transfer(prepared.instruction):
        queue = prepared.instruction.integer("queue")
        return (prepared.engine.value, f"queue {queue}")
    if is_collective(prepared.instruction):
        group = group_number(prepared.instruction)
        return (prepared.engine.value, f"collectives of group {group}")
    return engine_key(prepared)


def posted_signal(prepared: Prepared) -> tuple[int, int] | None:
    """(semaphore, increment) that the instruction posts, attached or as `semaphore_add`."""
    if prepared.action is Action.ADD_SEMAPHORE:
        return semaphore_and_value(prepared.instruction)
    return prepared.signal


def join(clock: Clock, other: Sequence[int]) -> None:
    """Raise `clock` to what `other` knows."""
    for agent, time in enumerate(other):
        if time > clock[agent]:
            clock[agent] = time


@dataclass(slots=True)
class Posts:
    """Signals of one agent to one semaphore since it was last set."""

    total: int = 0
    """What it adds in the whole trace."""
    sums: list[int] = field(default_factory=list)
    """What it had added after each of its signals so far."""
    snapshots: list[Snapshot] = field(default_factory=list)
    """What the agent knew at each of them."""
    times: list[int] = field(default_factory=list)
    """The agent's own clock at each of them."""

    def after(self, amount: int) -> Snapshot | None:
        """What is known once this agent has added at least `amount`."""
        index = bisect.bisect_left(self.sums, amount)
        return self.snapshots[index] if index < len(self.snapshots) else None


@dataclass(slots=True)
class Epoch:
    """A semaphore from one `semaphore_set` (or the start) to the next."""

    base: int = 0
    setter: int = -1
    set_time: int = 0
    """With `setter`: who set it, -1 at the start."""
    highest_before: int = -1
    """The most it can have been before."""
    base_snapshot: Snapshot = ()
    posts: dict[int, Posts] = field(default_factory=dict)
    waits: dict[int, int] = field(default_factory=dict)
    """By engine agent, the time of its last wait."""

    @property
    def highest(self) -> int:
        return self.base + sum(posts.total for posts in self.posts.values())


class HappensBefore:
    """Clocks of a trace, step by step in the order it ran. `limit`: highest semaphore value.

    Raises: Violation on a semaphore that is set while others may use it, or overflows.
    """

    def __init__(self, steps: Sequence[Prepared], limit: int) -> None:
        self.limit = limit
        self.agents: dict[AgentKey, int] = {}
        self._epochs = _plan_epochs(steps, self.agents)
        self._current: dict[int, int] = {}
        count = len(self.agents)
        self._trigger = {agent: self.agents[key[:1]] for key, agent in self.agents.items()}
        self.clocks = {agent: [0] * count for agent in self.agents.values()}
        self._completed = {agent: [0] * count for agent in self.agents.values()}
        self._events = [0] * count

    def start(self, prepared: Prepared) -> tuple[int, int, Clock]:
        """(agent, time, clock) of the event that makes this step's accesses.

        The clock is valid until the next call of `start`.
        """
        engine = self.agents[engine_key(prepared)]
        clock = self.clocks[engine]
        self._events[engine] += 1
        for semaphore, value in prepared.waits:
            self._wait(engine, clock, semaphore, value)
        clock[engine] = self._events[engine]
        agent = self.agents[agent_key(prepared)]
        if agent == engine:
            return agent, clock[engine], clock
        self._events[agent] += 1
        return agent, self._events[agent], list(clock)

    def finish(self, prepared: Prepared, agent: int, time: int, clock: Clock) -> None:
        """Post what the step signals; to be called after `start` of the same step."""
        completed = self._completed[agent]
        join(completed, clock)
        completed[agent] = time
        if prepared.action is Action.SET_SEMAPHORE:
            self._set(agent, time, clock, *semaphore_and_value(prepared.instruction))
        posted = posted_signal(prepared)
        if posted is not None:
            self._post(agent, time, clock, *posted)

    def _epoch(self, semaphore: int) -> Epoch:
        return self._epochs[semaphore][self._current.get(semaphore, 0)]

    def _post(self, agent: int, time: int, clock: Clock, semaphore: int, increment: int) -> None:
        epoch = self._epoch(semaphore)
        _require_after_set(epoch, clock, semaphore, "signals")
        posts = epoch.posts[agent]
        posts.sums.append(increment + (posts.sums[-1] if posts.sums else 0))
        posts.snapshots.append(tuple(self._completed[agent]))
        posts.times.append(time)
        reached = epoch.base + sum(p.sums[-1] for p in epoch.posts.values() if p.sums)
        if reached > self.limit:
            raise Violation(
                FindingKind.SEMAPHORE_OVERFLOW,
                f"S[{semaphore}] reaches {reached}; the highest value is {self.limit}",
            )

    def _wait(self, engine: int, clock: Clock, semaphore: int, value: int) -> None:
        epoch = self._epochs[semaphore][self._current.get(semaphore, 0)]
        epoch.waits[engine] = self._events[engine]
        if value > epoch.highest_before and epoch.setter >= 0:
            join(clock, epoch.base_snapshot)
        needed = value - epoch.base
        possible = {a: self._possible(posts, a, engine) for a, posts in epoch.posts.items()}
        total = sum(possible.values())
        for agent, posts in epoch.posts.items():
            certain = needed - (total - possible[agent])
            known = posts.after(certain) if certain > 0 else None
            if known is not None:
                join(clock, known)
        _require_after_set(epoch, clock, semaphore, "waits for")

    def _possible(self, posts: Posts, agent: int, engine: int) -> int:
        """The most an agent can have added when `engine` waits; what it did itself it knows."""
        if self._trigger[agent] == engine:
            return posts.sums[-1] if posts.sums else 0
        return posts.total

    def _set(self, agent: int, time: int, clock: Clock, semaphore: int, value: int) -> None:
        old = self._epoch(semaphore)
        for poster, posts in old.posts.items():
            if posts.times and clock[poster] < posts.times[-1]:
                raise _unordered_set(semaphore, "a signal to it")
        for waiter, wait_time in old.waits.items():
            if clock[waiter] < wait_time:
                raise _unordered_set(semaphore, "a wait for it")
        _require_after_set(old, clock, semaphore, "sets")
        self._current[semaphore] = self._current.get(semaphore, 0) + 1
        new = self._epoch(semaphore)
        new.base, new.setter, new.set_time = value, agent, time
        new.highest_before = old.highest
        new.base_snapshot = tuple(self._completed[agent])


def _unordered_set(semaphore: int, what: str) -> Violation:
    return Violation(
        FindingKind.SEMAPHORE_RESET, f"sets S[{semaphore}] while {what} may not be over"
    )


def _require_after_set(epoch: Epoch, clock: Clock, semaphore: int, verb: str) -> None:
    if epoch.setter >= 0 and clock[epoch.setter] < epoch.set_time:
        raise Violation(
            FindingKind.SEMAPHORE_RESET,
            f"{verb} S[{semaphore}], which another engine sets without being ordered before it",
        )


def _plan_epochs(steps: Sequence[Prepared], agents: dict[AgentKey, int]) -> dict[int, list[Epoch]]:
    """Number the agents, and count what each adds to every semaphore between two sets."""
    epochs: dict[int, list[Epoch]] = {}
    for prepared in steps:
        agents.setdefault(engine_key(prepared), len(agents))
        agent = agents.setdefault(agent_key(prepared), len(agents))
        for semaphore, _ in prepared.waits:
            epochs.setdefault(semaphore, [Epoch()])
        if prepared.action is Action.SET_SEMAPHORE:
            semaphore, _ = semaphore_and_value(prepared.instruction)
            epochs.setdefault(semaphore, [Epoch()]).append(Epoch())
        posted = posted_signal(prepared)
        if posted is not None:
            epoch = epochs.setdefault(posted[0], [Epoch()])[-1]
            epoch.posts.setdefault(agent, Posts()).total += posted[1]
    return epochs
