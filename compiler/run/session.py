"""Calls of a program whose state stays in device memory from one to the next.

A program that updates an argument (JAX: donated; PyTorch: a mutated buffer) takes the old value and
gives the new one. `Executable.run` moves both through the host. A session keeps them on the device:
a decoder's step takes a token and gives logits, and its cache is neither copied in nor out.

    with_cache = executable.session(executable.zero_state())
    for position, token in enumerate(prompt):
        (logits,) = with_cache.run(token, np.int32(position))
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from axonc.backends.executor.cores import MultiCoreMachine
from axonc.backends.program import TensorKind
from axonc.diagnostics import ExecutionError, UsageError, nearest
from axonc.program.compiled_program import HostTensor

if TYPE_CHECKING:
    from axonc.run.executable import Executable


class Session:
    """Device memory of its own for one executable. inputs, results: what `run` takes and gives, in
    order; the state is neither. state_inputs: the inputs that are state. Calls from several threads
    take turns, in no promised order; sessions of one executable may run at the same time.

    Raises:
        UsageError: the program has no state; `state` has another name, or one is missing.
        ExecutionError: an array of the wrong shape or dtype.
    """

    def __init__(
        self, executable: Executable, state: Mapping[str, object], *, checked: bool = False
    ) -> None:
        self._executable = executable
        self._successor = {r.state_of: r for r in executable.results if r.state_of}
        self.state_inputs = executable.state_inputs
        self.inputs = tuple(i for i in executable.inputs if i.name not in self._successor)
        self.results = tuple(r for r in executable.results if not r.state_of)
        self._turn = threading.RLock()
        self._is_whole = True
        self._check_names(state)
        self._cores: MultiCoreMachine = executable.new_cores("checked" if checked else "fast")
        for host in self.state_inputs:
            self._write(host, np.asarray(state[host.name]))

    def _check_names(self, state: Mapping[str, object]) -> None:
        known = [host.name for host in self.state_inputs]
        if not known:
            hint = "donate the state: jax.jit(f, donate_argnums=...), or a buffer torch mutates"
            raise UsageError("the program has no state to keep", hint=hint)
        for name in state:
            if name not in known:
                hint = nearest(name, known) or f"state: {', '.join(known[:8])}"
                raise UsageError(f"the program has no state '{name}'", hint=hint)
        missing = [name for name in known if name not in state]
        if missing:
            hint = "executable.zero_state() has zeros for all of it"
            raise UsageError(f"state '{missing[0]}' is missing", hint=hint)

    def _write(self, host: HostTensor, array: np.ndarray) -> None:
        for holder, part in self._executable.parts_of_input(host, array):
            self._cores.machines[holder.core].write_input(holder.tensor, part)

    def run(self, *arrays: object) -> list[np.ndarray]:
        """One call: the results that are not state; the new state is the next call's.

        Raises:
            ExecutionError: as `Executable.run`; or an earlier call broke off half-way, so that the
                state is neither the old one nor the new one.
        """
        inputs = self._executable.core_inputs(self.inputs, arrays)
        kept = frozenset(self._successor)
        wanted = frozenset(host.name for host in self.results)
        with self._turn:
            self._check_whole()
            self._is_whole = False
            outputs = self._cores.run(inputs, kept, wanted)
            for host in self.state_inputs:
                self._carry(host)
            self._is_whole = True
        return [self._executable.whole_result(host, outputs) for host in self.results]

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise ExecutionError(
                "an earlier call of this session broke off, its state is half updated",
                hint="begin a new session",
            )

    def _carry(self, host: HostTensor) -> None:
        olds = self._executable.holders(TensorKind.INPUT, host.name)
        news = self._executable.holders(TensorKind.OUTPUT, self._successor[host.name].name)
        for old, new in zip(olds, news, strict=True):
            self._cores.machines[old.core].carry(new.tensor, old.tensor)

    def state(self) -> dict[str, np.ndarray]:
        """The state as it is now, by input name: copies.

        Raises:
            ExecutionError: a call broke off half-way.
        """
        with self._turn:
            self._check_whole()
            return {host.name: self._read(host) for host in self.state_inputs}

    def _read(self, host: HostTensor) -> np.ndarray:
        holders = self._executable.holders(TensorKind.INPUT, host.name)
        parts = [self._cores.machines[h.core].read_input(h.tensor) for h in holders]
        return self._executable.whole(host, parts)
