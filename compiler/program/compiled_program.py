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
    """Which integers of an input reach the machine. saturates: whether others are replaced by the
    nearest of these, which the program cannot tell from them; else they are an error."""

    low: int
    high: int
    saturates: bool

    def are_of(self, dtype: DType) -> bool:
        """Whether these are all integers of the type."""
        limits = np.iinfo(dtype.numpy)
        return (self.low, self.high) == (limits.min, limits.max)


@dataclass(frozen=True)
class HostTensor:
    """An input or a result as the host passes it. dtype: MLIR spelling ("f32", "i64", "i1").

    shape is the whole tensor's; sharding says which part of it each core has (None: one core).
    state_of: of a result that is the new value of an input, the name of that input. limits: of an
    input of integers, where they are not those of the type it is stored in.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sharding: Sharding | None = None
    state_of: str = ""
    limits: Limits | None = None

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
    """One stage or pass of a compile. ir_hash: of the IR it left, sha256 in hex; empty when nobody
    asked for hashes. seconds is not part of a saved program: it differs from compile to compile."""

    name: str
    ir_hash: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class CompiledProgram:
    """inputs, results: in the order of the source's arguments (weights left out) and results; the
    i-th is the i-th INPUT or OUTPUT tensor of `program`. weights: by the argument name that WEIGHT
    tensors name as their source; weight_shardings: which part of it each core has, by that name
    (absent: all of it). source_hash: sha256 of the imported StableHLO, in hex. casts:
    lines of the cast report; cast_report: all of it, for a program compiled in this process.
    shardings: of the report of what was cut over cores. others,
    program_of: where cores run different programs (with one table of groups): the further ones, and
    per core the index of its program, `program` being 0; an input goes to every core whose program
    has a tensor of its name, a result comes from there.
    open_state: donated inputs, and the results between which nothing decides, by name;
    initial_state: by name of an input that has a new value, what it is before the first call.
    is_foreign: it comes from a file, by whatever wrote that.
    """

    program: Program
    inputs: tuple[HostTensor, ...]
    results: tuple[HostTensor, ...]
    weights: Mapping[str, WeightRef]
    options: CompileOptions
    source_hash: str = ""
    stages: tuple[StageRecord, ...] = ()
    casts: tuple[str, ...] = ()
    cast_report: CastReport | None = field(default=None, compare=False)
    shardings: tuple[str, ...] = ()
    weight_shardings: Mapping[str, Sharding] = field(default_factory=dict)
    others: tuple[Program, ...] = ()
    program_of: tuple[int, ...] = ()
    open_state: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    initial_state: Mapping[str, WeightRef] = field(default_factory=dict)
    is_foreign: bool = field(default=False, compare=False)
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
