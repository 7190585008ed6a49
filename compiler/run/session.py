"""Calls of a program whose state stays in device memory from one to the next.

A program that updates an argument (JAX: donated; PyTorch: a mutated buffer) takes the old value and
gives the new one. `Executable.run` moves both through the host. A session keeps them on the device:
a decoder's step takes a token and gives logits, and its cache is neither copied in nor out.

    with_cache = executable.session(executable.zero_state())
    for position, token in enumerate(prompt):
        (logits,) = with_cache.run(token, np.int32(position))

Which result is the new value of which input was settled when the program was imported, by names
(`axonc.imported.state_pairs`), or is said with `aliases`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from axonc.backends.executor.cores import MultiCoreMachine
from axonc.backends.executor.laws.checks import CheckReport
from axonc.backends.program import HbmTensor, TensorKind
from axonc.diagnostics import ExecutionError, UsageError, nearest
from axonc.program.compiled_program import HostTensor, check_same_type
from axonc.run.check_warnings import tell
from axonc.run.core_tensors import Holder
from axonc.run.host_values import input_array

if TYPE_CHECKING:
    from axonc.run.executable import Executable


class Session:
    """Device memory of its own for one executable. inputs, results: what `run` takes and gives, in
    order; the state is neither. state_inputs: the inputs that are state. Calls from several threads
    take turns, in no promised order; sessions of one executable may run at the same time.

    check_report: what the latest call has looked at, in checked mode.

    state: what it begins with, by input name; what is left out begins as the source says
    (`Executable.initial_state`). aliases: as for `Executable.session`.

    Raises:
        UsageError: the program has no state, or does not say which result it is; a state or alias
            of another name, or one is missing.
        ExecutionError: an array of the wrong shape or dtype.
    """

    def __init__(
        self,
        executable: Executable,
        state: Mapping[str, object] | None = None,
        *,
        aliases: Mapping[str, str] | None = None,
        checked: bool = False,
    ) -> None:
        self._executable = executable
        self._successor = state_pairs(executable, aliases)
        self.state_inputs = tuple(i for i in executable.inputs if i.name in self._successor)
        self.inputs = tuple(i for i in executable.inputs if i.name not in self._successor)
        news = {result.name for result in self._successor.values()}
        self.results = tuple(r for r in executable.results if r.name not in news)
        self._turn = threading.RLock()
        self._is_whole = True
        self.check_report = CheckReport()
        begin = self._complete(state or {})
        self._cores: MultiCoreMachine = executable.new_cores("checked" if checked else "fast")
        for host in self.state_inputs:
            self._write(host, input_array(host, begin[host.name]))

    def _complete(self, state: Mapping[str, object]) -> dict[str, object]:
        """The given state, and what the source says of the rest."""
        known = [host.name for host in self.state_inputs]
        if not known:
            hint = "donate the state: jax.jit(f, donate_argnums=...), or a buffer torch mutates"
            raise UsageError("the program has no state to keep", hint=hint)
        for name in state:
            if name not in known:
                hint = nearest(name, known) or f"state: {', '.join(known[:8])}"
                raise UsageError(f"the program has no state '{name}'", hint=hint)
        begin = {**self._executable.initial_state(), **state}
        missing = [name for name in known if name not in begin]
        if missing:
            hint = "executable.zero_state() has zeros for all of it"
            raise UsageError(f"state '{missing[0]}' is missing", hint=hint)
        return begin

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
            self._executable.check_files()
            self._is_whole = False
            outputs = self._cores.run(inputs, kept, wanted)
            self._carry()
            self._is_whole = True
            self.check_report = self._cores.check_report
            tell(self.check_report)
        return [self._executable.whole_result(host, outputs) for host in self.results]

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise ExecutionError(
                "an earlier call of this session broke off, its state is half updated",
                hint="begin a new session",
            )

    def _carry(self) -> None:
        """The new state becomes the old one of the next call. A result that was made in the memory
        of another input is read before anything is written there."""
        through_host = [(h, self._new_value(h)) for h in self.state_inputs if self._is_recast(h)]
        kept = [host for host in self.state_inputs if not self._is_recast(host)]
        moves = [m for host in kept for m in self._moves(host)]
        machines = self._cores.machines
        copies = [(core, old, machines[core].read(new)) for core, new, old in moves if new.alias]
        for core, new, old in moves:
            if not new.alias:
                machines[core].carry(new, old)
        for core, old, array in copies:
            machines[core].write_input(old, array)
        for host, value in through_host:
            self._write(host, value)

    def _is_recast(self, host: HostTensor) -> bool:
        """Whether the new value is stored in another way than the next call reads it: 64-bit
        integers in another number of words, or within other limits."""
        (old, *_), (new, *_) = self._places(host)
        is_same = old.tensor.stored_shape == new.tensor.stored_shape
        return not is_same or (host.limits is not None and not host.limits.are_of(old.tensor.dtype))

    def _new_value(self, host: HostTensor) -> np.ndarray:
        _, news = self._places(host)
        parts = [self._cores.machines[h.core].read(h.tensor) for h in news]
        return self._executable.whole(self._successor[host.name], parts)

    def _places(self, host: HostTensor) -> tuple[list[Holder], list[Holder]]:
        """(where a call reads the state, where it leaves the new one)."""
        olds = self._executable.holders(TensorKind.INPUT, host.name)
        news = self._executable.holders(TensorKind.OUTPUT, self._successor[host.name].name)
        return olds, news

    def _moves(self, host: HostTensor) -> Iterator[tuple[int, HbmTensor, HbmTensor]]:
        """(core, where the new value is, where the next call reads it), unless it is there."""
        olds, news = self._places(host)
        for old, new in zip(olds, news, strict=True):
            if new.tensor.alias != host.name:
                yield old.core, new.tensor, old.tensor

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
        parts = [self._cores.machines[h.core].read(h.tensor) for h in holders]
        return self._executable.whole(host, parts)


def state_pairs(
    executable: Executable, aliases: Mapping[str, str] | None = None
) -> dict[str, HostTensor]:
    """By name of an input the result that is its new value: as `aliases` says, or else the program.

    Raises:
        UsageError: an unknown name, another type, a result for two inputs; or the program leaves it
            open and `aliases` does not say it.
    """
    inputs = {host.name: host for host in executable.inputs}
    results = {host.name: host for host in executable.results}
    if aliases is None:
        _refuse_open(executable.compiled.open_state)
        return {r.state_of: r for r in executable.results if r.state_of}
    for name, known, what in (
        *((name, inputs, "input") for name in aliases),
        *((name, results, "result") for name in aliases.values()),
    ):
        if name not in known:
            hint = nearest(name, known) or f"{what}s: {', '.join([*known][:8])}"
            raise UsageError(f"aliases: the program has no {what} '{name}'", hint=hint)
    if len(set(aliases.values())) < len(aliases):
        raise UsageError("aliases: a result can be the new value of one input only")
    for old, new in aliases.items():
        check_same_type(inputs[old], results[new])
        _check_same_place(executable, inputs[old], results[new])
    return {old: results[new] for old, new in aliases.items()}


def _refuse_open(open_state: Mapping[str, tuple[str, ...]]) -> None:
    if not open_state:
        return
    name, results = next(iter(open_state.items()))
    choices = " or ".join(f"'{result}'" for result in results)
    raise UsageError(
        f"the new value of '{name}' may be {choices}: they have its type, and no names decide",
        hint=f"say which: aliases={{'{name}': '{results[-1]}'}} (here or for axonc.compile), or "
        f"return it by name: {{'{name}': ...}}",
    )


def _check_same_place(executable: Executable, old: HostTensor, new: HostTensor) -> None:
    """Cores have the same part of both."""
    pairs = zip(
        executable.holders(TensorKind.INPUT, old.name),
        executable.holders(TensorKind.OUTPUT, new.name),
        strict=False,
    )
    fits = all(o.core == n.core for o, n in pairs)
    if old.sharding != new.sharding or not fits:
        raise UsageError(f"'{old.name}' and '{new.name}' are spread over cores in different ways")
