"""The end of a block: everything is over, and all semaphores are 0 again, before the next begins.

SyncE leads. It waits for all that the block has counted and for the other engines to arrive, sets
the semaphores of the block to 0 and lets the others go; then they load the number they branch by,
if there is one, arrive again, and are let go a second time. Two rounds, because a semaphore may be
set only when nobody waits for it any more: each round sets those of the other. The second one also
says that all engines have loaded their number, before the next block writes where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from axonc.backends.isa.access_pattern import Access
from axonc.backends.isa.construct import instruction as construct
from axonc.backends.isa.instruction import Instruction
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import UnsupportedOpError
from axonc.passes.lower.lower_segment import ENGINES, Streams, control, wait_instruction

LEADER = Engine.SYNC
OTHERS = tuple(engine for engine in ENGINES if engine is not LEADER)


@dataclass(frozen=True)
class _Round:
    arrived: int
    proceed: int


class Barrier:
    """Makes the barriers of one program. register: where every engine gets the number that it
    branches by."""

    def __init__(self, target: Target, register: int) -> None:
        first, second, third, fourth = target.barrier_semaphores
        self.first, self.second = _Round(first, second), _Round(third, fourth)
        self.register = register

    def check_room(self, semaphores: int) -> None:
        """Raises: UnsupportedOpError if a block uses the barriers' semaphores."""
        if semaphores > self.first.arrived:
            raise UnsupportedOpError(
                f"{semaphores} semaphores in a block of a program with control flow; there are "
                f"{self.first.arrived}",
                hint="use fewer lists of replica groups",
            )

    def after(self, counts: Sequence[int], loaded: Access | None) -> Streams:
        """The barrier after a block. counts: of its semaphores at its end. loaded: the number to
        branch by."""
        used = [(semaphore, count) for semaphore, count in enumerate(counts) if count]
        load = [] if loaded is None else [loaded]
        streams = {engine: self._other(engine, load) for engine in OTHERS}
        streams[LEADER] = [
            *(wait_instruction(LEADER, semaphore, count) for semaphore, count in used),
            *self._gather(self.first, [semaphore for semaphore, _ in used], self.second),
            *(self._load(LEADER, access) for access in load),
            *self._gather(self.second, [], self.first),
        ]
        return streams

    @staticmethod
    def _gather(now: _Round, used: Sequence[int], other: _Round) -> list[Instruction]:
        """The leader waits for all others, sets semaphores to 0 and lets the others go."""
        cleared = [*used, now.arrived, other.proceed]
        return [
            wait_instruction(LEADER, now.arrived, len(OTHERS)),
            *(control(LEADER, "semaphore_set", semaphore=s, value=0) for s in cleared),
            control(LEADER, "semaphore_add", semaphore=now.proceed, value=1),
        ]

    def _other(self, engine: Engine, load: Sequence[Access]) -> list[Instruction]:
        return [
            *self._meet(engine, self.first),
            *(self._load(engine, access) for access in load),
            *self._meet(engine, self.second),
        ]

    @staticmethod
    def _meet(engine: Engine, now: _Round) -> list[Instruction]:
        return [
            control(engine, "semaphore_add", semaphore=now.arrived, value=1),
            wait_instruction(engine, now.proceed, 1),
        ]

    def _load(self, engine: Engine, access: Access) -> Instruction:
        return construct(
            "register_load", engine, operands={"src": access}, fields={"dst": self.register}
        )
