"""A compiled program that can be run: arrays in, arrays out, and how long a NeuronCore would
take."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from axonc.backends.executor.cores import MultiCoreMachine
from axonc.backends.executor.machine import Machine, Mode
from axonc.backends.program import CoreProgram, HbmTensor, TensorKind
from axonc.compiled_program import CompiledProgram, HostTensor
from axonc.diagnostics import InternalError
from axonc.host_values import from_cores, in_order, random_inputs, to_cores, weight_for_machine
from axonc.weights import WeightRef

if TYPE_CHECKING:
    from axonc.profile import Profile


class Executable:
    """One compiled program. The machines of its cores are built and the weights are packed on first
    use, then kept. Arrays are whole tensors, however many cores share them.

    inputs, results: names, shapes and dtypes a call takes and gives, in order.
    """

    def __init__(self, compiled: CompiledProgram) -> None:
        self.compiled = compiled
        self._machines: dict[Mode, MultiCoreMachine] = {}
        self._loaded: set[Mode] = set()
        self._tensors = {kind: compiled.tensors(kind) for kind in TensorKind}
        pairs = ((TensorKind.INPUT, compiled.inputs), (TensorKind.OUTPUT, compiled.results))
        for kind, hosts in pairs:
            if len(self._tensors[kind]) != len(hosts):
                raise InternalError(
                    f"{len(hosts)} host tensors for {len(self._tensors[kind])} of kind {kind.value}"
                )

    @property
    def inputs(self) -> tuple[HostTensor, ...]:
        return self.compiled.inputs

    @property
    def results(self) -> tuple[HostTensor, ...]:
        return self.compiled.results

    @property
    def notes(self) -> tuple[str, ...]:
        """What the compiler wants its user to know, a line each."""
        return self.compiled.program.notes

    # ---- running

    def run(self, *arrays: object, checked: bool = False) -> list[np.ndarray]:
        """Run the instruction streams once. Results have the dtypes of the program.

        arrays: one per input, in order, in its exact shape and dtype; or one mapping by input name.
        checked: find races, reads of unwritten bytes and other broken laws (slower).

        Raises:
            ExecutionError: wrong arrays, naming the input, what was found and what was expected; in
                checked mode a FindingError that names instruction, op and source line.
        """
        values = in_order(self.inputs, arrays)
        cores = self.compiled.cores
        rows = zip(self.inputs, self._tensors[TensorKind.INPUT], values, strict=True)
        parts = {tensor.name: to_cores(host, tensor, value, cores) for host, tensor, value in rows}
        found = self.cores("checked" if checked else "fast").run(
            [{name: arrays[core] for name, arrays in parts.items()} for core in range(cores)]
        )
        outputs = zip(self.results, self._tensors[TensorKind.OUTPUT], strict=True)
        return [from_cores(h, [part[tensor.name] for part in found]) for h, tensor in outputs]

    def machine(self, mode: Mode = "fast") -> Machine:
        """The executor of the first core, with this program and its weights."""
        return self.cores(mode).machines[0]

    def cores(self, mode: Mode = "fast") -> MultiCoreMachine:
        """The executor of all cores, with this program and its weights; made once per mode."""
        cores = self._unloaded(mode)
        if mode not in self._loaded:
            for number, weights in enumerate(self._weights):
                cores.load_weights(number, weights)
            self._loaded.add(mode)
        return cores

    def _unloaded(self, mode: Mode = "fast") -> MultiCoreMachine:
        """The executor, perhaps still without weights: enough to know the time of a call."""
        if mode not in self._machines:
            program = CoreProgram.of(self.compiled.program)
            self._machines[mode] = MultiCoreMachine(program, mode=mode)
        return self._machines[mode]

    @cached_property
    def _weights(self) -> list[dict[str, np.ndarray]]:
        """WEIGHT tensors of every core in stored layout: memory-mapped originals, or packed once;
        cores with the same part share it. In threads: numpy's copies and casts let others run."""
        tensors, cores = self._tensors[TensorKind.WEIGHT], range(self.compiled.cores)
        parts = {(t.name, self._first_with_part(t, core)): t for t in tensors for core in cores}
        with ThreadPoolExecutor() as pool:
            stored = pool.map(self._part, parts.values(), [core for _, core in parts])
            made = dict(zip(parts, stored, strict=True))
        return [
            {t.name: made[t.name, self._first_with_part(t, core)] for t in tensors}
            for core in cores
        ]

    def _first_with_part(self, tensor: HbmTensor, core: int) -> int:
        """The lowest core that has the same part of a weight as `core`."""
        sharding = self.compiled.weight_shardings.get(tensor.source)
        if sharding is None:
            return 0
        shape = self._weight(tensor.source).shape
        wanted = sharding.index_of(core, shape)
        return next(c for c in range(core + 1) if sharding.index_of(c, shape) == wanted)

    def _part(self, tensor: HbmTensor, core: int) -> np.ndarray:
        sharding = self.compiled.weight_shardings.get(tensor.source)
        return weight_for_machine(tensor, self._weight(tensor.source), sharding, core)

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
    def modelled_seconds(self) -> float:
        """Modelled, not measured, time of one call on the target, start-up and tear-down included.

        Raises:
            ExecutionError: control flow depends on data and the program has not been run.
        """
        return self._unloaded().timeline().seconds

    def profile(self, *arrays: object) -> Profile:
        """The timeline of one call, of the core that ends last. With arrays the program is run and
        `outputs` hold its results; without them only time is modelled, which needs neither inputs
        nor weights.

        Raises:
            ExecutionError: as `run`; or time depends on data and no arrays are given.
        """
        from axonc.profile import make_profile

        outputs = self.run(*arrays) if arrays else []
        return make_profile(self._unloaded().slowest, outputs)

    # ---- files

    def save(self, path: str | Path, *, embed_weights: bool = False) -> None:
        """Write the program file (see `axonc.package`). Weights that lie in files are referred to,
        unless embed_weights; arrays of this process travel in the file.

        Raises:
            UsageError: it cannot be written; nothing is left behind then.
        """
        from axonc.package import write_program

        write_program(self.compiled, path, embed_weights=embed_weights)

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, group)) for group in (self.inputs, self.results))
        return f"<axonc.Executable for {self.compiled.program.target}: ({takes}) -> ({gives})>"
