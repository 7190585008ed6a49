"""One NeuronCore that runs a program: its results, and the time they would have taken.

`Machine(program)` decodes the encoded streams once. Unless a register is loaded from memory,
control flow and time do not depend on data: then the order of instructions is found once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from axonc.backends.executor.blas_threads import one_blas_thread
from axonc.backends.executor.blocks.matmul_blocks import Block, PlanItem, plan_blocks
from axonc.backends.executor.blocks.matmul_products import bind_block
from axonc.backends.executor.blocks.overlap import OverlappedBlock, overlap
from axonc.backends.executor.blocks.transposes import Transpose, bind_transpose
from axonc.backends.executor.effects.bind import bind, load_register, store_register
from axonc.backends.executor.effects.bindings import Bindings, Closure, check_writable
from axonc.backends.executor.laws.checks import Checker, CheckReport
from axonc.backends.executor.laws.races import check_order
from axonc.backends.executor.laws.rule_checks import check_instructions, finding
from axonc.backends.executor.laws.table_checks import check_tables
from axonc.backends.executor.memory.host_arrays import as_stored, check_names, check_stored
from axonc.backends.executor.memory.memory import POISON, MemorySystem, flat_bytes
from axonc.backends.executor.native.native_code import has_wide_vectors
from axonc.backends.executor.semantics import EngineState
from axonc.backends.executor.steps.decoded import DecodedProgram
from axonc.backends.executor.steps.findings import FindingError, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.steps.step_failure import StepFailure
from axonc.backends.executor.time.collectives import CollectiveNetwork
from axonc.backends.executor.time.simulation import Execute, Simulation, Steps
from axonc.backends.executor.time.timeline import Timeline
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.sequencer import Registers
from axonc.backends.isa.spec import Action
from axonc.backends.numerics.cast import Rounding
from axonc.backends.program import HbmTensor, Program, TensorKind
from axonc.backends.targets.target import Engine
from axonc.diagnostics import ExecutionError, SourceLocation, nearest

Result = TypeVar("Result")
Mode = Literal["fast", "checked"]
DEFAULT_MAX_STEPS = 50_000_000
MAX_STRETCHES = 256
"""Plans that are kept of what runs between two loads of registers."""

Plan = list[tuple[Prepared, Closure | None]]
"""What is run, in order; None: a collective."""


def _ends_with_a_load(steps: Steps) -> bool:
    """Whether the tensor engine has loaded a matrix that it has not used yet."""
    tensor = (p.action for p in reversed(steps.prepared) if p.engine is Engine.TENSOR)
    matrix = (a for a in tensor if a in (Action.LOAD_STATIONARY, Action.MULTIPLY))
    return next(matrix, None) is Action.LOAD_STATIONARY


@dataclass(frozen=True, slots=True)
class Order:
    """What ran when: the same in every run, unless control flow depends on data."""

    steps: Steps
    timeline: Timeline
    """The times of every instruction, transfer and stall of this core."""


class Machine:
    """Runs `program` on the NeuronCore of its target.

    program: a decoded one is shared with other machines. mode: "fast" trusts the program;
    "checked" raises FindingError for reads of unwritten bytes, races, deadlocks and the other laws
    of docs/design/0004. seed: of random bits and stochastic rounding. rounding: of every cast on
    store. max_steps: instructions before a run is given up. core: its number among several.

    Raises: ProgramFormatError on damaged streams, UsageError on an unknown target.
    """

    def __init__(
        self,
        program: Program | DecodedProgram,
        *,
        mode: Mode = "fast",
        seed: int = 0,
        rounding: Rounding = "rne",
        max_steps: int = DEFAULT_MAX_STEPS,
        core: int | None = None,
    ) -> None:
        decoded = program if isinstance(program, DecodedProgram) else DecodedProgram.of(program)
        self._decoded = decoded
        self.program = self._decoded.program
        self.target = self._decoded.target
        self.is_checked = mode == "checked"
        self.seed = seed
        self.max_steps = max_steps
        self.core = core
        fill = POISON if self.is_checked else 0
        self._memory = MemorySystem(self.target, self.program.tensors, fill)
        self._bindings = Bindings(
            self.target, self._memory, {engine: EngineState() for engine in Engine}, rounding
        )
        self._bindings.allow_native = not self.is_checked and has_wide_vectors()
        self._checker = Checker(self._memory, self.program.locations) if self.is_checked else None
        if self._checker is not None:
            self._bindings.report = self._checker.report
        self._closures: dict[Prepared, Closure] = {}
        self._plan: Plan | None = None
        self._stretches: dict[tuple[Prepared, ...], Plan] = {}
        self._pending = Steps()
        self._has_weights = False
        self.order: Order | None = None
        """Found by the first run, or by the first question for the time; a core that does the same
        at the same time may be given that of another."""
        self._bind_tensors()

    @property
    def is_data_dependent(self) -> bool:
        """Whether control flow may depend on memory: some register is loaded from it."""
        return self._decoded.is_data_dependent

    # ---- tensors

    def _bind_tensors(self) -> None:
        """Memory for every tensor but the weights, which `load_weights` brings."""
        for tensor in self.program.tensors:
            if not tensor.size_bytes or tensor.alias:
                continue
            if tensor.kind is TensorKind.CONSTANT:
                assert tensor.data is not None
                self._memory.bind(tensor, np.frombuffer(tensor.data, np.uint8))
            elif tensor.kind is TensorKind.RANK:
                self._memory.bind(tensor, np.array([self.core or 0], np.uint32))
            elif tensor.kind is not TensorKind.WEIGHT:
                self._memory.bind(tensor, np.zeros(tensor.size_bytes, np.uint8))

    def _of_kind(self, kind: TensorKind) -> dict[str, HbmTensor]:
        return {t.name: t for t in self.program.tensors if t.kind is kind}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Use `weights` (in stored layout and dtype, C-contiguous) in place, without a copy.

        Raises: ExecutionError on an unknown name, or a wrong dtype, size or layout.
        """
        known = self._of_kind(TensorKind.WEIGHT)
        for name, array in weights.items():
            if name not in known:
                raise ExecutionError(f"no weight '{name}'", hint=nearest(name, known))
            check_stored(known[name], array)
            self._memory.bind(known[name], array)
        self._closures.clear()
        self._stretches.clear()
        self._plan = None

    def _check_weights_loaded(self) -> None:
        if self._has_weights:
            return
        for name, tensor in self._of_kind(TensorKind.WEIGHT).items():
            if tensor.size_bytes and self._memory.segment(tensor).data is None:
                raise ExecutionError(f"weight '{name}' is not loaded", hint="call load_weights")
        self._has_weights = True

    # ---- running

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. inputs and results: row-major arrays in the tensors' storage dtypes, by name.

        Raises: ExecutionError on wrong inputs; FindingError on a broken law.
        """
        self.prepare_run(inputs)
        with np.errstate(all="ignore"), one_blas_thread():
            if self.is_data_dependent:
                self._simulate(self.execute_now)
                self.execute_pending()
            else:
                for prepared in self.execution():
                    raise AssertionError(f"a lone core came past {prepared.mnemonic}")
        return self.outputs()

    def prepare_run(
        self, inputs: Mapping[str, np.ndarray], kept: frozenset[str] = frozenset()
    ) -> None:
        """Everything as at program start, with these inputs; those in `kept` are what device memory
        holds. Raises: as `run`."""
        self._check_weights_loaded()
        known = self._of_kind(TensorKind.INPUT)
        check_names({name: t for name, t in known.items() if name not in kept}, inputs)
        self._reset()
        for name, array in inputs.items():
            self.write_input(known[name], array)

    def write_input(self, tensor: HbmTensor, array: np.ndarray) -> None:
        """Copy a host array to device memory. Raises: ExecutionError on a wrong shape or dtype."""
        stored = as_stored(tensor, array)
        if tensor.size_bytes:
            self._memory.data(tensor)[:] = flat_bytes(stored)

    def read(self, tensor: HbmTensor) -> np.ndarray:
        """What device memory holds of an input or output: a copy."""
        if not tensor.size_bytes:
            return np.zeros(tensor.stored_shape, tensor.dtype.numpy)
        data = self._memory.data(tensor)
        return data.view(tensor.dtype.numpy).reshape(tensor.stored_shape).copy()

    def carry(self, output: HbmTensor, into: HbmTensor) -> None:
        """An output becomes an input of the next run. Both are stored in the same way."""
        if output.size_bytes:
            self._memory.data(into)[:] = self._memory.data(output)

    def outputs(self, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """The results of the run that has just ended, by name: all, or those in `names`."""
        known = self._of_kind(TensorKind.OUTPUT)
        wanted = known if names is None else names
        return {name: self._output(t) for name, t in known.items() if name in wanted}

    @property
    def check_report(self) -> CheckReport:
        """What the last run has looked at; nothing in fast mode."""
        return CheckReport() if self._checker is None else self._checker.report_of_run

    def timeline(self, record: bool = False) -> Timeline:
        """Modelled time. record: with the times of every instruction, transfer and stall.

        Raises: ExecutionError if time depends on data and the program has not been run.
        """
        if self.order is None and self.is_data_dependent:
            raise ExecutionError(
                "the time of this program depends on its data",
                hint="run it first ('axonc profile' takes --inputs)",
            )
        timeline = self._schedule().timeline
        return timeline if record else replace(timeline, engines={}, transfers=None, stalls=())

    def instruction(self, engine: Engine, index: int) -> Instruction:
        """Instruction `index` of the stream of `engine`."""
        return self._decoded.streams[engine][index].instruction

    def location(self, engine: Engine, index: int) -> SourceLocation:
        """Where that instruction came from."""
        return self.program.locations[self.instruction(engine, index).location]

    def _output(self, tensor: HbmTensor) -> np.ndarray:
        if tensor.size_bytes and self._checker is not None:
            self._guarded(None, partial(self._checker.check_output, tensor))
        return self.read(tensor)

    def _reset(self) -> None:
        """Engine state as at program start; in checked mode also memory, as never written."""
        for number, state in enumerate(self._bindings.states.values()):
            state.generator = np.random.default_rng((self.seed, number, 0))
            state.rounding_rng = np.random.default_rng((self.seed, number, 1))
        self._bindings.array.stationary = None
        self._pending = Steps()
        if self._checker is not None:
            self._checker.reset()

    def execution(self) -> Iterator[Prepared]:
        """Runs a program whose order is known. Stops at every collective and yields it;
        `finish_collective` has to be called, with the other cores there, before it goes on."""
        steps = self._schedule().steps
        if self._checker is None:
            yield from self._execute_fast(steps)
            return
        for step, prepared in enumerate(steps.prepared):
            if is_collective(prepared.instruction):
                yield prepared
            else:
                self._execute_step(prepared, steps.stored.get(step))

    def _execute_fast(self, steps: Steps) -> Iterator[Prepared]:
        if self._plan is None:
            self._plan = self._make_plan(steps)
        yield from self._follow(self._plan)

    def _follow(self, plan: Plan) -> Iterator[Prepared]:
        """Run a plan; stops at collectives."""
        position = 0
        try:
            for prepared, closure in plan:
                if closure is None:
                    yield prepared
                else:
                    closure()
                position += 1
        except Violation as violation:
            raise self._finding(violation, plan[position][0]) from None

    def _make_plan(self, steps: Steps, *, is_whole: bool = True) -> Plan:
        """What is run, in order, with its closure (None: a collective). A block of matmuls is
        named by its first instruction. is_whole: the steps are all of a run."""
        plan: Plan = []
        items = plan_blocks(steps.prepared, self._memory, is_whole=is_whole)
        threads = self._bindings.workers.count > 1
        for item in overlap(items, steps.prepared) if threads else items:
            if isinstance(item, OverlappedBlock):
                run = partial(self._run_all, [self._planned(step, steps) for step in item.steps])
                p = item.block.first.load
                make = partial(bind_block, item.block, self._bindings, run)
                plan.append((p, self._guarded(p, make)))
            elif isinstance(item, int) and is_collective(steps.prepared[item].instruction):
                plan.append((steps.prepared[item], None))
            else:
                plan.append(self._planned(item, steps))
        return plan

    def _planned(self, item: PlanItem, steps: Steps) -> tuple[Prepared, Closure]:
        """What runs an item that is no collective, with the instruction that errors name."""
        make: Callable[[], Closure]
        if isinstance(item, Block):
            p, make = item.first.load, partial(bind_block, item, self._bindings)
        elif isinstance(item, Transpose):
            p, make = item.load, partial(bind_transpose, item, self._bindings)
        else:
            p = steps.prepared[item]
            make = partial(self._closure, p, steps.stored.get(item))
        return p, self._guarded(p, make)

    def _run_all(self, planned: Sequence[tuple[Prepared, Closure]]) -> None:
        for prepared, closure in planned:
            self._guarded(prepared, closure)

    def execute_now(self, prepared: Prepared, registers: Registers) -> None:
        """Run an instruction the event loop has just started (control depends on data). A
        collective happens when all its cores have come to it. In fast mode what comes between two
        loads of registers waits for the second, to be planned together."""
        if is_collective(prepared.instruction):
            return
        if prepared.action is Action.LOAD_REGISTER:
            self.execute_pending()
            load = partial(load_register, prepared.instruction, self._bindings, registers)
            self._run_guarded(prepared, load)
            return
        is_store = prepared.action is Action.STORE_REGISTER
        stored = registers.stored(prepared.instruction) if is_store else None
        if self._checker is None and self._decoded.runs_in_stretches:
            if stored is not None:
                self._pending.stored[len(self._pending.prepared)] = stored
            self._pending.prepared.append(prepared)
        else:
            self._execute_step(prepared, stored)

    def execute_pending(self) -> None:
        """Run what waits. The order in which instructions started is one that all orders between
        them allow, so whoever is about to read what they write calls this first."""
        steps, self._pending = self._pending, Steps()
        if not steps.prepared:
            return
        if steps.stored or _ends_with_a_load(steps):
            for number, prepared in enumerate(steps.prepared):
                self._execute_step(prepared, steps.stored.get(number))
            return
        key = tuple(steps.prepared)
        plan = self._stretches.get(key)
        if plan is None:
            plan = self._make_plan(steps, is_whole=False)
            if len(self._stretches) < MAX_STRETCHES:
                self._stretches[key] = plan
        for prepared in self._follow(plan):
            raise AssertionError(f"{prepared.mnemonic} among steps without collectives")

    def _execute_step(self, prepared: Prepared, stored: int | None) -> None:
        if prepared.instruction.spec.touches_memory:
            closure = self._guarded(prepared, partial(self._closure, prepared, stored))
            self._run_guarded(prepared, closure)

    def _run_guarded(self, prepared: Prepared, closure: Closure) -> None:
        checker = self._checker
        self._guarded(prepared, partial(checker.run, prepared, closure) if checker else closure)

    def _closure(self, prepared: Prepared, stored: int | None) -> Closure:
        if stored is not None:
            return partial(store_register, prepared.instruction, self._bindings, stored)
        found = self._closures.get(prepared)
        if found is None:
            found = self._closures[prepared] = bind(prepared.instruction, self._bindings)
        return found

    # ---- collectives

    def collective_source(self, prepared: Prepared) -> np.ndarray:
        """What this core brings to a collective: flat, in the storage type."""
        self.execute_pending()
        access = prepared.instruction.operand("src")
        assert access is not None
        view = self._guarded(prepared, partial(self._memory.view, access))
        return view.reshape(-1)

    def finish_collective(self, prepared: Prepared, result: np.ndarray) -> None:
        """Write what this core gets from a collective (flat, in the storage type)."""
        access = prepared.instruction.operand("dst")
        assert access is not None

        def store() -> None:
            check_writable(access, self._memory)
            view = self._memory.view(access)
            view[...] = result.reshape(view.shape)

        self._run_guarded(prepared, store)

    # ---- order and time

    def _schedule(self) -> Order:
        """Order and times of a program whose control flow does not depend on data; found once."""
        if self.order is None:
            self._simulate(None)
        assert self.order is not None
        return self.order

    def _simulate(self, execute: Execute | None) -> None:
        simulation = self.simulation(execute)
        with self.failures():
            simulation.run()
        self.adopt(simulation)

    def simulation(
        self, execute: Execute | None, network: CollectiveNetwork | None = None
    ) -> Simulation:
        """An event loop for this program that has not begun. Raises: FindingError on an
        instruction that breaks a rule (checked mode)."""
        if self._checker is not None:
            check_instructions(self.target, self._decoded.streams, self.program.locations)
        return Simulation(
            self.target,
            self._decoded.streams,
            self._decoded.dynamic,
            self._decoded.preparer,
            self.max_steps,
            execute,
            network=network,
            core=self.core or 0,
        )

    def adopt(self, simulation: Simulation) -> None:
        """Take order and time from an event loop that has come to its end. Raises: FindingError on
        a race or another law about order (checked mode)."""
        self.order = Order(simulation.steps, simulation.timeline())
        if self._checker is not None:
            with self.failures():
                check_tables(simulation.steps.prepared)
                check_order(self.target, simulation.steps.with_waits(), self._memory.is_read_only)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turns a StepFailure of the event loop into an error that names the instruction."""
        try:
            yield
        except StepFailure as failure:
            raise self._finding(failure.violation, failure.step) from None

    # ---- errors

    def _guarded(self, prepared: Prepared | None, action: Callable[[], Result]) -> Result:
        """`action()`, with a Violation turned into an error that names the instruction."""
        try:
            return action()
        except Violation as violation:
            raise self._finding(violation, prepared) from None

    def _finding(self, violation: Violation, prepared: Prepared | None) -> FindingError:
        if self.core is not None:
            violation = Violation(violation.kind, f"core {self.core}: {violation.message}")
        return finding(violation, prepared, self.program.locations)
