"""A compiled program that can be run: arrays in, arrays out, and how long a NeuronCore would
take."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from axonc.backends.executor.cores import MultiCoreMachine
from axonc.backends.executor.laws.checks import CheckReport
from axonc.backends.executor.machine import Machine, Mode
from axonc.backends.executor.steps.findings import FindingError, FindingKind
from axonc.backends.numerics.wide_integers import WORD_BITS
from axonc.backends.program import TensorKind
from axonc.diagnostics import InternalError
from axonc.dialects.neuron.argument_names import RANDOM_KEY
from axonc.program.compiled_program import CompiledProgram, HostTensor
from axonc.run.check_warnings import tell
from axonc.run.core_tensors import Holder, holders, part_key
from axonc.run.host_values import from_cores, in_order, random_inputs, to_cores, weight_for_machine
from axonc.weights.derived import weight_files
from axonc.weights.open_file import OpenFile
from axonc.weights.references import NUMPY_OF_MLIR, WeightRef, mapped_files

if TYPE_CHECKING:
    from axonc.run.profile import Profile
    from axonc.run.session import Session


_log = logging.getLogger("axonc")


class Executable:
    """One compiled program. The machines of its cores are built and the weights are packed on first
    use, then kept. Arrays are whole tensors, however many cores share them.

    inputs, results: names, shapes and dtypes a call takes and gives, in order. check_report: what
    the latest call in checked mode has looked at, and found.

    Threads may share it: there is one device memory, so calls take turns, each with the results and
    the timeline of its own arrays. For calls at the same time make one per thread (`axonc.load`),
    or a session each: what they share (streams, weights, native threads) is safe to share. The
    machine that `machine` and `cores` hand out is the one calls use, for inspection in between.
    """

    def __init__(
        self, compiled: CompiledProgram, exact: Callable[[], CompiledProgram | None] | None = None
    ) -> None:
        """exact: compiles the same with exact transposes, should a call need them, and can."""
        self._turn = threading.RLock()
        self._exact = exact
        self._seed, self._calls = compiled.options.seed, 0
        self._take(compiled)

    def _take(self, compiled: CompiledProgram) -> None:
        self.compiled = compiled
        self._machines: dict[Mode, MultiCoreMachine] = {}
        self._loaded: set[Mode] = set()
        self._latest: Mode = "fast"
        self.check_report = CheckReport()
        self._program = compiled.core_program
        self._holders = {kind: holders(self._program, kind) for kind in TensorKind}
        pairs = ((TensorKind.INPUT, compiled.inputs), (TensorKind.OUTPUT, compiled.results))
        for kind, hosts in pairs:
            names = {host.name for host in hosts}
            if names != self._holders[kind].keys():
                unknown = sorted(names ^ self._holders[kind].keys())
                raise InternalError(f"host and device have different {kind.value}s: {unknown[0]}")

    @property
    def inputs(self) -> tuple[HostTensor, ...]:
        return tuple(host for host in self.compiled.inputs if host.name != RANDOM_KEY)

    @property
    def is_random(self) -> bool:
        """Whether results depend on random numbers that the program draws."""
        return any(host.name == RANDOM_KEY for host in self.compiled.inputs)

    def seed(self, number: int) -> None:
        """Let the next call draw the random numbers that the first call of a program compiled with
        `seed=number` draws. Every further call draws others, each depending on its number and the
        seed alone. The numbers are those of Threefry2x32, the same on every machine.

        Raises:
            UsageError: not a number of 32 bits.
        """
        self._seed, self._calls = self.compiled.options.with_changes(seed=number).seed, 0

    def _next_key(self) -> np.ndarray:
        """The seed, and the number of the call."""
        with self._turn:
            key = np.array([self._seed, self._calls % 2**WORD_BITS], np.uint32)
            self._calls += 1
        return key

    @property
    def results(self) -> tuple[HostTensor, ...]:
        return self.compiled.results

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold weights of the program."""
        return weight_files(self.compiled.weights.values())

    @property
    def result_names(self) -> tuple[str, ...]:
        """Names of what `run` gives, in order."""
        return tuple(result.name for result in self.results)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the compiler wants its user to know, a line each."""
        return self.compiled.notes

    # ---- running

    def run(self, *arrays: object, checked: bool = False) -> list[np.ndarray]:
        """Run the instruction streams once. Results have the dtypes of the program. Calls from
        several threads wait for each other.

        arrays: one per input, in order, in its exact shape and dtype: numpy, or whatever gives an
            array (torch tensors, bf16 and f8 among them, JAX); or one mapping by input name.
        checked: find races, reads of unwritten bytes and other broken laws (slower); `check_report`
            says afterwards how much was looked at. An index outside of the table it looks up in is
            no error, as the result is defined, but a FindingWarning.

        Raises:
            ExecutionError: wrong arrays, naming the input, what was found and what was expected; in
                checked mode a FindingError that names instruction, op and source line.
            UsageError: a weight file has changed.
        """
        mode: Mode = "checked" if checked else "fast"
        with self._turn:
            try:
                results, report = self._call(arrays, mode)
            except FindingError as finding:
                self._become_exact(finding)
                results, report = self._call(arrays, mode)
            if checked:
                self.check_report = report
        if checked:
            tell(report)
        return results

    def _call(self, arrays: tuple[object, ...], mode: Mode) -> tuple[list[np.ndarray], CheckReport]:
        inputs = self.core_inputs(self.inputs, arrays)
        cores = self.cores(mode)
        self.check_files()
        outputs = cores.run(inputs)
        self._latest = mode
        results = [self.whole_result(host, outputs) for host in self.results]
        return results, cores.check_report

    def _become_exact(self, finding: FindingError) -> None:
        """Infinities or NaN came to a transpose on the tensor engine, where none were expected: the
        program is compiled again with exact transposes, and is that program from now on.

        Raises:
            FindingError: it is another finding, or the source is not at hand.
        """
        if finding.kind is not FindingKind.TRANSPOSE_RANGE or self._exact is None:
            raise finding
        exact = self._exact()
        if exact is None:
            raise finding
        _log.warning("%s: compiled again with exact transposes", finding.location)
        self._take(exact)
        self._exact = None
        for name in ("_files", "_weights"):
            self.__dict__.pop(name, None)

    __call__ = run

    def run_by_name(self, *arrays: object, checked: bool = False) -> dict[str, np.ndarray]:
        """As `run`, results by name."""
        found = self.run(*arrays, checked=checked)
        return dict(zip(self.result_names, found, strict=True))

    def check_files(self) -> None:
        """Weights that are used where they lie in their files are still what they were.

        Raises:
            UsageError: a file was written to.
        """
        for file in self._files:
            file.verify()

    def core_inputs(
        self, hosts: tuple[HostTensor, ...], arrays: tuple[object, ...]
    ) -> list[dict[str, np.ndarray]]:
        """What every core gets of the arrays of a call that takes `hosts`. Raises: as `run`."""
        inputs: list[dict[str, np.ndarray]] = [{} for _ in range(self.compiled.cores)]
        given = list(zip(hosts, in_order(hosts, arrays), strict=True))
        drawn_from = [host for host in self.compiled.inputs if host.name == RANDOM_KEY]
        for host, value in (*given, *((host, self._next_key()) for host in drawn_from)):
            for holder, part in self.parts_of_input(host, value):
                inputs[holder.core][host.name] = part
        return inputs

    def parts_of_input(
        self, host: HostTensor, value: np.ndarray
    ) -> Iterator[tuple[Holder, np.ndarray]]:
        """Who holds an input, and the part of `value` it gets. Raises: as `run`."""
        found = self.holders(TensorKind.INPUT, host.name)
        return zip(found, to_cores(host, found[0].tensor, value, len(found)), strict=True)

    def whole_result(self, host: HostTensor, outputs: list[dict[str, np.ndarray]]) -> np.ndarray:
        """A result from what every core gave."""
        found = self.holders(TensorKind.OUTPUT, host.name)
        return self.whole(host, [outputs[holder.core][host.name] for holder in found])

    def whole(self, host: HostTensor, parts: list[np.ndarray]) -> np.ndarray:
        """An input or a result from the parts of the cores that hold it, in the host's dtype."""
        return from_cores(host, parts)

    def holders(self, kind: TensorKind, name: str) -> list[Holder]:
        """The cores that have (a part of) an input or result."""
        return self._holders[kind][name]

    # ---- state

    @property
    def state_inputs(self) -> tuple[HostTensor, ...]:
        """Inputs whose new value is a result: donated arguments, mutated buffers. Which result it
        is, names decide (`axonc.imported.state_pairs`); an input for which they do not is none of
        these."""
        updated = {result.state_of for result in self.results}
        return tuple(host for host in self.inputs if host.name in updated)

    def zero_state(self) -> dict[str, np.ndarray]:
        """Zeros for all state, as an empty cache has.

        Raises:
            UsageError: the program leaves open which result the new value of some input is.
        """
        from axonc.run.session import state_pairs

        hosts = [h for h in self.inputs if h.name in state_pairs(self)]
        return {h.name: np.zeros(h.shape, NUMPY_OF_MLIR[h.dtype]) for h in hosts}

    def initial_state(self) -> dict[str, np.ndarray]:
        """The state before the first call, as far as the source says it: buffers that a torch
        module updates, with the values they had when it was exported. Copies."""
        return {n: np.array(ref.load()) for n, ref in self.compiled.initial_state.items()}

    def session(
        self,
        state: Mapping[str, object] | None = None,
        *,
        aliases: Mapping[str, str] | None = None,
        checked: bool = False,
    ) -> Session:
        """Calls that keep the state in device memory in between.

        state: what they begin with, by input name; what is left out begins as `initial_state` says.
        aliases: by name of an input, the result that is its new value: these are the state, instead
            of what the program says.

        Raises:
            UsageError: there is no state, or the program leaves open which result it is; `state` or
                `aliases` have other names, or some is missing.
            ExecutionError: an array of the wrong shape or dtype.
        """
        from axonc.run.session import Session

        return Session(self, state, aliases=aliases, checked=checked)

    def new_cores(self, mode: Mode) -> MultiCoreMachine:
        """An executor with memory of its own; streams, order and weights are shared."""
        with self._turn:
            shared = self.cores(mode)
            made = MultiCoreMachine(self._program, mode=mode, like=shared)
            for number, weights in enumerate(self._weights):
                made.load_weights(number, weights)
            return made

    def machine(self, mode: Mode = "fast") -> Machine:
        """The executor of the first core, with this program and its weights."""
        return self.cores(mode).machines[0]

    def cores(self, mode: Mode = "fast") -> MultiCoreMachine:
        """The executor of all cores, with this program and its weights; made once per mode."""
        with self._turn:
            cores = self._unloaded(mode)
            if mode not in self._loaded:
                for number, weights in enumerate(self._weights):
                    cores.load_weights(number, weights)
                self._loaded.add(mode)
            return cores

    def _unloaded(self, mode: Mode = "fast") -> MultiCoreMachine:
        """The executor, perhaps still without weights: enough to know the time of a call."""
        with self._turn:
            if mode not in self._machines:
                self._machines[mode] = MultiCoreMachine(
                    self._program, mode=mode, is_foreign=self.compiled.is_foreign
                )
            return self._machines[mode]

    @cached_property
    def _files(self) -> list[OpenFile]:
        return mapped_files(self.compiled.weights.values())

    @cached_property
    def _weights(self) -> list[dict[str, np.ndarray]]:
        """WEIGHT tensors of every core in stored layout: memory-mapped originals, or packed once;
        cores with the same part share it. In threads: numpy's copies and casts let others run."""
        wanted = [h for found in self._holders[TensorKind.WEIGHT].values() for h in found]
        keys = [self._part_key(holder) for holder in wanted]
        first = {key: holder for key, holder in zip(reversed(keys), reversed(wanted), strict=True)}
        with ThreadPoolExecutor() as pool:
            made = dict(zip(first, pool.map(self._part, first.values()), strict=True))
        weights: list[dict[str, np.ndarray]] = [{} for _ in range(self.compiled.cores)]
        for key, holder in zip(keys, wanted, strict=True):
            weights[holder.core][holder.tensor.name] = made[key]
        return weights

    def _part_key(self, holder: Holder) -> tuple[object, ...]:
        """Equal for tensors with the same bytes."""
        tensor, name = holder.tensor, holder.tensor.source
        sharding = self.compiled.weight_shardings.get(name)
        part = part_key(sharding, holder.place, self._weight(name).shape)
        return (name, tensor.packing, tensor.shape, tensor.dtype.name, part)

    def _part(self, holder: Holder) -> np.ndarray:
        name = holder.tensor.source
        sharding = self.compiled.weight_shardings.get(name)
        return weight_for_machine(holder.tensor, self._weight(name), sharding, holder.place)

    def _weight(self, name: str) -> WeightRef:
        weight = self.compiled.weights.get(name)
        if weight is None:
            raise InternalError(f"the program has no weight '{name}' to make its tensors from")
        return weight

    def random_inputs(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Seeded inputs by name: standard normal floats, integers 0 or 1."""
        return random_inputs(self.inputs, seed)

    # ---- time

    @property
    def time_depends_on_data(self) -> bool:
        """Whether control flow does: then the modelled time is that of the latest call."""
        return self._unloaded().is_data_dependent

    def _timed(self) -> MultiCoreMachine:
        """The executor that knows the time of a call."""
        return self._unloaded(self._latest if self.time_depends_on_data else "fast")

    @property
    def modelled_seconds(self) -> float:
        """Modelled, not measured, time of one call on the target, start-up and tear-down included;
        of the latest call where `time_depends_on_data`.

        Raises:
            ExecutionError: control flow depends on data and the program has not been run.
        """
        with self._turn:
            return self._timed().timeline().seconds

    def profile(self, *arrays: object) -> Profile:
        """The timeline of one call, of the core that ends last. With arrays the program is run and
        `outputs` hold its results; without them only time is modelled, which needs neither inputs
        nor weights.

        Raises:
            ExecutionError: as `run`; or time depends on data and no arrays are given.
        """
        from axonc.run.profile import make_profile

        with self._turn:
            outputs = self.run(*arrays) if arrays else []
            return make_profile(self._timed().slowest, outputs)

    def core_profiles(self) -> list[Profile]:
        """The modelled timeline of one call on every core; needs neither inputs nor weights.

        Raises:
            ExecutionError: time depends on data and the program has not been run.
        """
        from axonc.run.profile import make_profile

        with self._turn:
            cores = self._timed()
            cores.timelines()
            return [make_profile(machine, []) for machine in cores.machines]

    # ---- files

    def save(self, path: str | Path, *, embed_weights: bool = False) -> None:
        """Write the program file (see `axonc.program.package`). Weights that lie in files are
        referred to, unless embed_weights; arrays of this process travel in the file.

        Raises:
            UsageError: it cannot be written; nothing is left behind then.
        """
        from axonc.program.package import write_program

        write_program(self.compiled, path, embed_weights=embed_weights)

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, group)) for group in (self.inputs, self.results))
        return f"<axonc.Executable for {self.compiled.program.target}: ({takes}) -> ({gives})>"
