"""What the compiler hands out: the machine's program, and what a host must know to call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import CoreProgram, HbmTensor, Program, TensorKind
from axonc.diagnostics import UsageError
from axonc.options import CompileOptions
from axonc.passes.cast.cast_report import CastReport
from axonc.program.source import ProgramSource
from axonc.sharding import Sharding
from axonc.weights.references import WeightRef, tensor_spelling


@dataclass(frozen=True)
class Limits:
    """Which integers of an input reach the machine."""

    low: int
    high: int
    saturates: bool
    """Whether others are replaced by the nearest of these, which the program cannot tell from them;
    else they are an error."""

    def are_of(self, dtype: DType) -> bool:
        """Whether these are all integers of the type."""
        limits = np.iinfo(dtype.numpy)
        return (self.low, self.high) == (limits.min, limits.max)


@dataclass(frozen=True)
class HostTensor:
    """An input or a result as the host passes it."""

    name: str
    shape: tuple[int, ...]
    """The shape of the whole tensor."""
    dtype: str
    """The MLIR spelling of its element type ("f32", "i64", "i1")."""
    sharding: Sharding | None = None
    """Which part of it each core has; None for a program of one core."""
    state_of: str = ""
    """For a result that is the new value of an input, the name of that input."""
    limits: Limits | None = None
    """For an input of integers, its limits where they are not those of the type it is stored in."""

    def __str__(self) -> str:
        return f"{self.name}: {tensor_spelling(self.shape, self.dtype)}"


class Typed(Protocol):
    """Whatever has a name and the type of a tensor."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...


def check_same_type(old: Typed, new: Typed) -> None:
    """Refuse a result as the new value of an input of another shape or dtype.

    Raises:
        UsageError: naming both.
    """
    if (old.shape, old.dtype) != (new.shape, new.dtype):
        raise UsageError(f"result '{new}' cannot be the new value of input '{old}'")


@dataclass(frozen=True)
class StageRecord:
    """One stage or pass of a compile."""

    name: str
    ir_hash: str = ""
    """The sha256 in hex of the IR it left; empty unless hashes were asked for."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took. Not part of a saved program, as it differs from compile to compile."""


@dataclass(frozen=True)
class CompiledProgram:
    """A program with all that is needed to run it, and how it was made."""

    program: Program
    """The instructions and tensors of every core, unless `others` has further ones."""
    inputs: tuple[HostTensor, ...]
    """In the order of the source's arguments, weights left out; the i-th is the i-th INPUT tensor
    of `program`."""
    results: tuple[HostTensor, ...]
    """In the order of the source's results; the i-th is the i-th OUTPUT tensor of `program`."""
    weights: Mapping[str, WeightRef]
    """By the argument name that a WEIGHT tensor has as its source."""
    options: CompileOptions
    source_hash: str = ""
    """The sha256 of the imported StableHLO, in hex."""
    stages: tuple[StageRecord, ...] = ()
    casts: tuple[str, ...] = ()
    """Lines of the cast report."""
    cast_report: CastReport | None = field(default=None, compare=False)
    """The whole cast report, for a program compiled in this process."""
    shardings: tuple[str, ...] = ()
    """Lines of the report of what was cut over cores."""
    weight_shardings: Mapping[str, Sharding] = field(default_factory=dict)
    """By the same name as in `weights`, which part of a weight each core has; all of it where there
    is none."""
    others: tuple[Program, ...] = ()
    """Where cores run different programs (with one table of groups), those after `program`. An
    input goes to every core whose program has a tensor of its name; a result comes from a core
    whose program has one."""
    program_of: tuple[int, ...] = ()
    """By core, the index of its program, where there are `others`: 0 is `program`."""
    open_state: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of a donated input, the results of which any may be its new value, as neither names
    nor types decide."""
    initial_state: Mapping[str, WeightRef] = field(default_factory=dict)
    """By name of an input that has a new value, what it is before the first call."""
    is_foreign: bool = field(default=False, compare=False)
    """Whether it was read from a file, which any program may have written."""
    source: ProgramSource | None = None
    """What it was compiled from, where that is all that it takes to compile it again."""

    @property
    def cores(self) -> int:
        """How many cores run the program."""
        return self.program.cores

    @property
    def notes(self) -> tuple[str, ...]:
        """What the compiler wants its user to know, a line each."""
        return (*self.program.notes, *self._unused_parallelism())

    def _unused_parallelism(self) -> tuple[str, ...]:
        """A note when `parallel` asks for a cut and all cores do the whole work, or there is one
        core."""
        if self.options.parallel == "none":
            return ()
        if self.cores == 1:
            return (f"parallel is '{self.options.parallel}', but there is one core: say how many",)
        is_cut = any(not s.is_replicated for s in self.weight_shardings.values())
        if self.options.parallel == "tensor" and not is_cut:
            why = "".join(f": {line}" for line in self.shardings[:1])
            return (f"no weight was cut, each of {self.cores} cores does all the work{why}",)
        return ()

    @property
    def programs(self) -> tuple[Program, ...]:
        """The different programs; all cores run the same one if there is only one."""
        return (self.program, *self.others)

    @property
    def core_program(self) -> CoreProgram:
        """What every core runs."""
        if not self.others:
            return CoreProgram.of(self.program)
        return CoreProgram(self.programs, self.program_of)

    def tensors(self, kind: TensorKind) -> tuple[HbmTensor, ...]:
        """The device-memory tensors of one kind, of all programs, in order."""
        return tuple(t for p in self.programs for t in p.tensors if t.kind is kind)
