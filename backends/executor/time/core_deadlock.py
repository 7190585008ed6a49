"""Say who waits for whom when no core of a program can go on: by core, engine and source line."""

from __future__ import annotations

from collections.abc import Sequence

from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.time.collectives import CollectiveNetwork
from axonc.backends.executor.time.deadlock import find_cycle, signals_semaphore
from axonc.backends.executor.time.engine_run import EngineRun
from axonc.backends.executor.time.simulation import Simulation
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.collective_groups import GroupKey, group_number
from axonc.diagnostics import SourceLocation

Locations = Sequence[Sequence[SourceLocation]]
"""Location tables, by core."""


def describe_core_deadlock(
    simulations: Sequence[Simulation], network: CollectiveNetwork, locations: Locations
) -> str:
    """One line per collective that waits and per engine that waits, then the cycle if there is
    one."""
    return _Report(simulations, network, locations).text()


class _Report:
    def __init__(
        self, simulations: Sequence[Simulation], network: CollectiveNetwork, locations: Locations
    ) -> None:
        self.simulations = {simulation.core: simulation for simulation in simulations}
        self.missing = network.missing()
        self.locations = locations
        self.edges: dict[str, str] = {}

    def text(self) -> str:
        lines = ["no core can go on:"]
        for key, here, away in self.missing:
            for arrival in here:
                lines += self._collective(key, arrival.core, arrival.prepared, away)
        for core, simulation in self.simulations.items():
            for run in simulation.blocked_engines():
                lines.append(self._engine(core, simulation, run))
        cycle = find_cycle(self.edges)
        if cycle:
            lines.append("  cycle: " + " -> ".join([*cycle, cycle[0]]))
        return "\n".join(lines)

    def _place(self, core: int, prepared: Prepared) -> str:
        where = self.locations[core][prepared.instruction.location]
        source = f" ({where.name or 'op'} at {where.file}:{where.line})" if where.file else ""
        return f"core {core} {prepared.engine.value}[{prepared.index}] {prepared.mnemonic}{source}"

    def _collective(
        self, key: GroupKey, core: int, prepared: Prepared, away: list[int]
    ) -> list[str]:
        """A collective that has been triggered waits for the cores that have not."""
        lines = []
        for other in away:
            run, index = self._will_trigger(other, key)
            text = "never triggers it"
            if run is not None and run.current is not None:
                text = f"would trigger it at {run.engine.value}[{index}]"
                self._edge(core, f"group {key[0]}", other, run.engine.value)
            lines.append(f"  {self._place(core, prepared)} waits for core {other}, which {text}")
        return lines

    def _will_trigger(self, core: int, key: GroupKey) -> tuple[EngineRun | None, int]:
        """The engine of `core` that would trigger the next collective of a group, and where."""
        for run in self.simulations[core].engines:
            for prepared in run.stream[run.index :]:
                if (
                    is_collective(prepared.instruction)
                    and group_number(prepared.instruction) == key[0]
                ):
                    return run, prepared.index
        return None, -1

    def _engine(self, core: int, simulation: Simulation, run: EngineRun) -> str:
        assert run.blocked is not None and run.current is not None
        semaphore, wanted = run.blocked
        reached = simulation.values[semaphore]
        line = f"  {self._place(core, run.current)} waits for S[{semaphore}] >= {wanted}"
        who = self._who_signals(core, simulation, run, semaphore)
        return f"{line}, reached {reached}; {who}"

    def _who_signals(
        self, core: int, simulation: Simulation, run: EngineRun, semaphore: int
    ) -> str:
        for key, here, _ in self.missing:
            for arrival in here:
                signal = arrival.prepared.signal
                if arrival.core == core and signal is not None and signal[0] == semaphore:
                    self._edge(core, run.engine.value, core, f"group {key[0]}")
                    return f"the collective of group {key[0]} would signal it"
        for other in simulation.blocked_engines():
            index = signals_semaphore(other, semaphore)
            if index is not None:
                self._edge(core, run.engine.value, core, other.engine.value)
                return f"the next to signal it would be {other.engine.value}[{index}]"
        return "nothing that could still run signals it"

    def _edge(self, core: int, waiter: str, other_core: int, other: str) -> None:
        self.edges.setdefault(f"core {core} {waiter}", f"core {other_core} {other}")
