"""A compiled program that can be run: arrays in, arrays out, and how long a NeuronCore would
take."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from axonc.backends.executor.machine import Machine, Mode
from axonc.backends.program import TensorKind
from axonc.compiled_program import CompiledProgram, HostTensor
from axonc.diagnostics import InternalError
from axonc.host_values import from_machine, in_order, random_inputs, to_machine, weight_for_machine
from axonc.weights import WeightRef

if TYPE_CHECKING:
    from axonc.profile import Profile


class Executable:
    """One compiled program. The machine is built and the weights are packed on first use, then
    kept.

    inputs, results: names, shapes and dtypes a call takes and gives, in order.
    """

    def __init__(self, compiled: CompiledProgram) -> None:
        self.compiled = compiled
        self._machines: dict[Mode, Machine] = {}
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
        stored = {
            tensor.name: to_machine(host, tensor, value)
            for host, tensor, value in zip(
                self.inputs, self._tensors[TensorKind.INPUT], values, strict=True
            )
        }
        found = self.machine("checked" if checked else "fast").run(stored)
        outputs = zip(self.results, self._tensors[TensorKind.OUTPUT], strict=True)
        return [from_machine(host, found[tensor.name]) for host, tensor in outputs]

    def machine(self, mode: Mode = "fast") -> Machine:
        """The executor with this program and its weights; made once per mode."""
        machine = self._unloaded(mode)
        if mode not in self._loaded:
            machine.load_weights(self._weights)
            self._loaded.add(mode)
        return machine

    def _unloaded(self, mode: Mode = "fast") -> Machine:
        """The executor, perhaps still without weights: enough to know the time of a call."""
        if mode not in self._machines:
            self._machines[mode] = Machine(self.compiled.program, mode=mode)
        return self._machines[mode]

    @cached_property
    def _weights(self) -> dict[str, np.ndarray]:
        """WEIGHT tensors in stored layout: memory-mapped originals, or packed once. In threads:
        numpy's copies and casts let others run."""
        tensors = self._tensors[TensorKind.WEIGHT]
        sources = [self._weight(tensor.source) for tensor in tensors]
        with ThreadPoolExecutor() as pool:
            stored = pool.map(weight_for_machine, tensors, sources)
            return {tensor.name: array for tensor, array in zip(tensors, stored, strict=True)}

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
        """The timeline of one call. With arrays the program is run and `outputs` hold its results;
        without them only time is modelled, which needs neither inputs nor weights.

        Raises:
            ExecutionError: as `run`; or time depends on data and no arrays are given.
        """
        from axonc.profile import make_profile

        outputs = self.run(*arrays) if arrays else []
        return make_profile(self._unloaded(), outputs)

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
