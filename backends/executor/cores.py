"""Several NeuronCores that run a program together: their results, and the time it would take.

Every core is a `Machine` with its own engines, SBUF, PSUM, DMA engines and its part of its chip's
device memory (each of the two cores has half of its size and bandwidth: targets). They meet in
collectives (`collectives.py`).

Cores that run the same streams, without control flow that depends on data, do the same at the same
time: then one of them is timed for all. Otherwise every core has an event loop, and the loop with
the earliest event goes next. Values are computed on every core in either case.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

import numpy as np

from axonc.backends.executor.blas_threads import one_blas_thread
from axonc.backends.executor.laws.checks import CheckReport
from axonc.backends.executor.laws.rule_checks import finding
from axonc.backends.executor.machine import DEFAULT_MAX_STEPS, Machine, Mode
from axonc.backends.executor.semantics.collective import COLLECTIVES, collective_permute
from axonc.backends.executor.steps.decoded import DecodedProgram
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.time.collectives import Arrival, CollectiveNetwork
from axonc.backends.executor.time.core_deadlock import describe_core_deadlock
from axonc.backends.executor.time.simulation import Simulation
from axonc.backends.executor.time.timeline import Timeline
from axonc.backends.isa.collective_groups import GroupKey, exchange_of, group_number, members_of
from axonc.backends.numerics.cast import Rounding
from axonc.backends.program import CoreProgram, Groups
from axonc.diagnostics import ExecutionError, UsageError

Values = Mapping[str, np.ndarray]


class MultiCoreMachine:
    """Runs `program` on the cores of its target. Options: as `Machine`; every core has its own
    random numbers. like: another of the same program and mode, whose streams and order are shared.
    is_foreign: as for `DecodedProgram.of`.

    Raises: as `Machine`; UsageError if no instance of the target has so many cores.
    """

    def __init__(
        self,
        program: CoreProgram,
        *,
        mode: Mode = "fast",
        seed: int = 0,
        rounding: Rounding = "rne",
        max_steps: int = DEFAULT_MAX_STEPS,
        like: MultiCoreMachine | None = None,
        is_foreign: bool = False,
    ) -> None:
        self.program = program
        self._decoded: Sequence[DecodedProgram] = (
            like._decoded
            if like
            else [DecodedProgram.of(each, is_foreign=is_foreign) for each in program.programs]
        )
        self.machines = [
            Machine(
                self._decoded[number],
                mode=mode,
                seed=seed + core,
                rounding=rounding,
                max_steps=max_steps,
                core=core if program.cores > 1 else None,
            )
            for core, number in enumerate(program.program_of)
        ]
        self.target = self.machines[0].target
        if self.target.instance_for(program.cores) is None:
            raise UsageError(
                f"{program.cores} cores; the largest {self.target.name} instance has "
                f"{self.target.max_cores}"
            )
        self._has_order = False
        if like is not None and like._has_order:
            for machine, other in zip(self.machines, like.machines, strict=True):
                machine.order = other.order
            self._has_order = True

    @property
    def is_data_dependent(self) -> bool:
        return any(machine.is_data_dependent for machine in self.machines)

    def load_weights(self, core: int, weights: Values) -> None:
        """The weights of one core; see `Machine.load_weights`."""
        self.machines[core].load_weights(weights)

    # ---- running

    def run(
        self,
        inputs: Sequence[Values],
        kept: frozenset[str] = frozenset(),
        wanted: frozenset[str] | None = None,
    ) -> list[dict[str, np.ndarray]]:
        """Run once. inputs and results: per core; see `Machine.run`. kept: inputs that stay what
        device memory holds; wanted: the results to give (None: all).

        Raises: ExecutionError on wrong inputs; FindingError on a broken law.
        """
        if len(inputs) != len(self.machines):
            raise ExecutionError(f"inputs for {len(inputs)} cores, there are {len(self.machines)}")
        for machine, given in zip(self.machines, inputs, strict=True):
            machine.prepare_run(given, kept)
        with np.errstate(all="ignore"), one_blas_thread():
            if self.is_data_dependent:
                self._time_together(with_effects=True)
            else:
                self._find_order()
                self._run_in_turns()
        return [machine.outputs(wanted) for machine in self.machines]

    def _run_in_turns(self) -> None:
        """Every core runs up to its next collective and goes on when its group has come there."""
        runs = [machine.execution() for machine in self.machines]
        waiting: dict[GroupKey, dict[int, Prepared]] = defaultdict(dict)
        ready = deque(range(len(runs)))
        while ready:
            core = ready.popleft()
            prepared = next(runs[core], None)
            if prepared is None:
                continue
            members = members_of(self.program.groups, prepared.instruction, core)
            key = (group_number(prepared.instruction), members)
            waiting[key][core] = prepared
            if len(waiting[key]) == len(members):
                self._exchange(waiting.pop(key), self.program.groups[key[0]])
                ready.extend(members)

    def _exchange(self, prepared: dict[int, Prepared], groups: Groups) -> None:
        """Move the data of a collective: by core, its trigger; all sources are ready."""
        sources = {c: self.machines[c].collective_source(p) for c, p in prepared.items()}
        first = next(iter(prepared.values())).instruction
        if exchange_of(first).is_pairwise:
            results = collective_permute(sources, groups)
        else:
            members = next(group for group in groups if set(group) == set(prepared))
            op = first.text("op") if "op" in first.spec.field_index else ""
            src = first.operand("src")
            assert src is not None
            compute = COLLECTIVES[first.spec.mnemonic]
            made = compute([sources[core] for core in members], src.dtype, op)
            results = dict(zip(members, made, strict=True))
        for core, trigger in prepared.items():
            self.machines[core].finish_collective(trigger, results[core])

    @property
    def check_report(self) -> CheckReport:
        """What the last run has looked at, on all cores; nothing in fast mode."""
        return sum((machine.check_report for machine in self.machines), CheckReport())

    # ---- order and time

    def timelines(self, record: bool = False) -> list[Timeline]:
        """Modelled time of every core; see `Machine.timeline`."""
        if self.is_data_dependent and not self._has_order:
            raise ExecutionError(
                "the time of this program depends on its data",
                hint="run it first ('axonc profile' takes --inputs)",
            )
        self._find_order()
        return [machine.timeline(record) for machine in self.machines]

    def timeline(self, record: bool = False) -> Timeline:
        """That of the core that ends last."""
        return max(self.timelines(record), key=lambda timeline: timeline.total_ns)

    @property
    def slowest(self) -> Machine:
        """The core that ends last (the first of them)."""
        totals = [timeline.total_ns for timeline in self.timelines()]
        return self.machines[totals.index(max(totals))]

    def _find_order(self) -> None:
        if self._has_order:
            return
        if self.program.is_spmd and not self.is_data_dependent:
            self._time_one_for_all()
        else:
            self._time_together(with_effects=False)

    def _time_one_for_all(self) -> None:
        first = self.machines[0]
        network = CollectiveNetwork(self.target, self.program, frozenset({0}))
        simulation = first.simulation(None, network)
        with first.failures():
            simulation.run()
        first.adopt(simulation)
        for machine in self.machines[1:]:
            machine.order = first.order
        self._has_order = True

    def _time_together(self, with_effects: bool) -> None:
        everyone = frozenset(range(len(self.machines)))
        on_complete = self._complete if with_effects else None
        network = CollectiveNetwork(self.target, self.program, everyone, on_complete)
        simulations = [
            machine.simulation(machine.execute_now if with_effects else None, network)
            for machine in self.machines
        ]
        self._advance_together(simulations)
        if network.missing() or any(s.blocked_engines() for s in simulations):
            raise self._deadlock(simulations, network)
        for machine, simulation in zip(self.machines, simulations, strict=True):
            machine.execute_pending()
            machine.adopt(simulation)
        self._has_order = True

    def _advance_together(self, simulations: list[Simulation]) -> None:
        for machine, simulation in zip(self.machines, simulations, strict=True):
            with machine.failures():
                simulation.begin()
                if len(simulations) == 1:
                    simulation.advance()
        while True:
            simulation = min(simulations, key=lambda s: s.next_ns)
            now = simulation.next_ns
            if now == float("inf"):
                return
            with self.machines[simulation.core].failures():
                simulation.advance(now)

    def _complete(self, arrivals: tuple[Arrival, ...], groups: Groups) -> None:
        self._exchange({arrival.core: arrival.prepared for arrival in arrivals}, groups)

    def _deadlock(
        self, simulations: list[Simulation], network: CollectiveNetwork
    ) -> ExecutionError:
        tables = [self.program.program(core).locations for core in range(self.program.cores)]
        text = describe_core_deadlock(simulations, network, tables)
        missing = network.missing()
        if missing:
            first = missing[0][1][0]
            return finding(
                Violation(FindingKind.DEADLOCK, text), first.prepared, tables[first.core]
            )
        blocked = next(s for s in simulations if s.blocked_engines())
        stuck = blocked.blocked_engines()[0].current
        return finding(Violation(FindingKind.DEADLOCK, text), stuck, tables[blocked.core])
