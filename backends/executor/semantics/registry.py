"""How an instruction's meaning is written down and found: one function per mnemonic.

    @semantics("tensor_tensor", operands=mode)
    def tensor_tensor(inputs, fields, context): ... return {"dst": array}

`inputs` maps the names of the operands that are read (and of those read and written) to arrays of
shape [partitions, *free sizes]; absent optional operands are not in it. The result maps the names
of written operands to arrays with as many elements as the operand, in the same order; the shape may
differ in the free dims (the executor reshapes). `operands` says what the arrays hold:

- "float32": inputs are cast up before (`to_float32`), results are float32 and are cast down after
  (`from_float32`, with the rounding of `context`);
- "raw": storage arrays in, storage arrays out, nothing is cast;
- a function of (fields, context) that answers one of the two.

Functions never modify their inputs; they may return one. They raise nothing but `ExecutionError`.
numpy's floating-point warnings are not suppressed here: the executor runs under
`np.errstate(all="ignore")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.numerics.cast import Rounding
from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.target import Engine, Target

Inputs = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
Fields = Mapping[str, Any]  # values as FieldKind says: str, int, float or bool
Entry = TypeVar("Entry")
OperandMode = Literal["float32", "raw"]
Function = Callable[[Inputs, Fields, "Context"], Outputs]
ModeFunction = Callable[[Fields, "Context"], OperandMode]


@dataclass(slots=True)
class EngineState:
    """What an engine keeps between instructions; one per engine and run."""

    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    """Of the random bits of VectorE (`rng`; replaced by `set_rng_seed`). The hardware's is a
    linear-feedback shift register whose polynomial is not published
    (machine.md#what-is-not-published); ours is numpy's."""
    rounding_rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    """Decides stochastic rounding."""


@dataclass(slots=True)
class Context:
    """What a function may know beyond its operands' values."""

    engine: Engine
    target: Target
    dtypes: Mapping[str, DType]
    shapes: Mapping[str, tuple[int, ...]]
    """With `dtypes`: of every present operand; shape = [partitions, *free sizes]."""
    state: EngineState = field(default_factory=EngineState)
    rounding: Rounding = "rne"
    report: Callable[[str], None] | None = None
    """Called with a sentence when an input makes the hardware's result garbage."""


@dataclass(frozen=True, slots=True)
class Semantics:
    """The meaning of one instruction."""

    mnemonic: str
    function: Function
    operands: OperandMode | ModeFunction

    def mode(self, fields: Fields, context: Context) -> OperandMode:
        """How the executor has to load and store the operands of this instruction."""
        if isinstance(self.operands, str):
            return self.operands
        return self.operands(fields, context)


class ByMnemonic(Generic[Entry]):
    """What is known about some instructions, registered where it is written; a second claim on a
    mnemonic fails."""

    def __init__(self, what: str) -> None:
        self.what = what
        """What the entries are, for the error."""
        self._entries: dict[str, Entry] = {}

    def add(self, mnemonic: str, entry: Entry) -> None:
        if mnemonic not in INSTRUCTIONS:
            raise ValueError(f"{self.what} of {mnemonic}, which is no instruction")
        if mnemonic in self._entries:
            raise ValueError(f"two functions claim the {self.what} of {mnemonic}")
        self._entries[mnemonic] = entry

    def of(self, mnemonic: str) -> Callable[[Entry], Entry]:
        """Registers the function it decorates."""

        def register(function: Entry) -> Entry:
            self.add(mnemonic, function)
            return function

        return register

    def get(self, mnemonic: str) -> Entry | None:
        return self._entries.get(mnemonic)

    def __getitem__(self, mnemonic: str) -> Entry:
        return self._entries[mnemonic]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


SEMANTICS = ByMnemonic[Semantics]("semantics")
"""`axonc.backends.executor.semantics` fills it when imported."""


def semantics(
    mnemonic: str, *, operands: OperandMode | ModeFunction
) -> Callable[[Function], Function]:
    """Register the decorated function as the meaning of `mnemonic`."""

    def register(function: Function) -> Function:
        SEMANTICS.add(mnemonic, Semantics(mnemonic, function, operands))
        return function

    return register
