"""What every frontend hands to the compiler: a StableHLO module, named arguments, weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from axonc.diagnostics import UsageError, nearest
from axonc.sharding import Mesh, Sharding
from axonc.weights.references import WeightRef, check_fits, tensor_spelling


@dataclass(frozen=True)
class Argument:
    """One argument of `@main`."""

    name: str
    shape: tuple[int, ...]
    """The shape of the whole tensor; `@main` takes `local_shape` of it when `sharding` is given."""
    dtype: str
    """The MLIR spelling of the element type that the host passes ("f32", "i64", "i1")."""
    weight: WeightRef | None = None
    """Where its bytes are, when it is bound to the weight store; None for an input of a call."""
    sharding: Sharding | None = None

    @property
    def local_shape(self) -> tuple[int, ...]:
        """The shape one core holds."""
        return self.shape if self.sharding is None else self.sharding.local_shape(self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {tensor_spelling(self.shape, self.dtype)}"


@dataclass(frozen=True)
class ImportedProgram:
    """A program as its frontend read it, before the dialects of the compiler."""

    module_bytes: bytes
    """StableHLO portable artifact with source locations."""
    arguments: tuple[Argument, ...]
    """The arguments of the module's `@main`, in order."""
    result_names: tuple[str, ...]
    """A name for each result of `@main`, in order."""
    mesh: Mesh | None = None
    """None for a program of one core. Else the module is what every rank of the mesh runs, with
    collectives in it (replica groups hold ranks of the mesh, in one partition each), and every
    argument has a sharding."""
    result_shardings: tuple[Sharding, ...] = ()
    """The sharding of each result, when there is a mesh."""
    sharding_notes: tuple[str, ...] = ()
    """A line for each operation that needs whole a dim which was cut, so that it is gathered
    first."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """By name of an argument, the result that is its new value and may take its memory."""
    open_state: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of a donated argument, the results of which any may be its new value, as neither
    names nor types decide (`state_pairs`)."""
    initial_state: Mapping[str, WeightRef] = field(default_factory=dict)
    """By name of an argument that has a new value, what it is before the first call."""

    @property
    def cores(self) -> int:
        """How many cores run the module."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def inputs(self) -> tuple[Argument, ...]:
        """The arguments a caller passes on every call."""
        return tuple(a for a in self.arguments if a.weight is None)

    @property
    def weights(self) -> dict[str, WeightRef]:
        """The arguments bound to the weight store."""
        return {a.name: a.weight for a in self.arguments if a.weight is not None}


def unchanged(program: ImportedProgram) -> ImportedProgram:
    """The frontend of programs that are imported already."""
    return program


def with_aliases(program: ImportedProgram, aliases: Mapping[str, str]) -> ImportedProgram:
    """The program with these pairs of state, argument -> result that is its new value, and no
    others.

    Raises:
        UsageError: an unknown name, or a result that is given to two arguments.
    """
    for names, known, what in (
        (aliases, [a.name for a in program.inputs], "input"),
        (aliases.values(), program.result_names, "result"),
    ):
        for name in names:
            if name not in known:
                hint = nearest(name, known) or f"{what}s: {', '.join(known[:8])}"
                raise UsageError(f"aliases: the program has no {what} '{name}'", hint=hint)
    if len(set(aliases.values())) < len(aliases):
        raise UsageError("aliases: a result can be the new value of one input only")
    return replace(program, aliases=dict(aliases), open_state={})


def bind_arrays(
    program: ImportedProgram, mapping: Mapping[str, WeightRef | np.ndarray]
) -> ImportedProgram:
    """Bind arguments to weights. A key is an argument's name, or that name without its first part
    (a checkpoint says `encoder.weight`, the function got it as `params.encoder.weight`). Keys which
    fit no argument are left out as unused: a traced program drops what it does not read.

    Raises:
        UsageError: no key fits at all; or shape or dtype differ from the argument's.
    """
    bound = tuple(_bind(argument, mapping) for argument in program.arguments)
    if mapping and not any(_find(a.name, mapping) for a in program.arguments):
        names = [a.name for a in program.arguments]
        first = next(iter(mapping))
        hint = nearest(first, names) or f"arguments: {', '.join(names[:8])}"
        if all(re.fullmatch(r"arg\d+", name) for name in names):
            hint += "; JAX writes names with lowered.as_text(debug_info=True), or export them"
        raise UsageError(
            f"no argument fits any of {len(mapping)} weights, such as '{first}'", hint=hint
        )
    return replace(program, arguments=bound)


def _find(name: str, mapping: Mapping[str, WeightRef | np.ndarray]) -> str | None:
    return next((key for key in (name, name.partition(".")[2]) if key and key in mapping), None)


def _bind(argument: Argument, mapping: Mapping[str, WeightRef | np.ndarray]) -> Argument:
    key = _find(argument.name, mapping)
    if key is None:
        return argument
    value = mapping[key]
    weight = value if isinstance(value, WeightRef) else WeightRef.of_array(value, name=key)
    check_fits(argument.name, argument.shape, argument.dtype, weight)
    return replace(argument, weight=weight)
