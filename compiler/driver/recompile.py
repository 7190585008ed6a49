"""A compiled program made again from the source it carries, with exact transposes.

Infinities and NaN may come to a transpose on the tensor engine where none were expected
(docs/design/0004); the program is then compiled once more, also where it was loaded from a file.
"""

from __future__ import annotations

from axonc.driver.build import build
from axonc.imported.program import Argument, ImportedProgram
from axonc.program.compiled_program import CompiledProgram
from axonc.program.source import ProgramSource, SourceArgument
from axonc.weights.derived import DerivedWeight
from axonc.weights.references import WeightRef


def exact_again(compiled: CompiledProgram) -> CompiledProgram | None:
    """The program compiled again with exact transposes; None if they are exact already, or it
    carries no source, or not all the weights that are needed for it.

    Raises: as `build`.
    """
    source = compiled.source
    if source is None or compiled.options.exact_transposes:
        return None
    weights = _weights(compiled, source)
    if weights is None:
        return None
    imported = _imported(compiled, source, weights)
    return build(imported, compiled.options.with_changes(exact_transposes=True))


def _imported(
    compiled: CompiledProgram, source: ProgramSource, weights: dict[str, WeightRef]
) -> ImportedProgram:
    arguments = (
        Argument(a.name, a.shape, a.dtype, weights.get(a.name), a.sharding)
        for a in source.arguments
    )
    return ImportedProgram(
        source.module,
        tuple(arguments),
        source.result_names,
        mesh=source.mesh,
        result_shardings=source.result_shardings,
        sharding_notes=source.sharding_notes,
        aliases=source.aliases,
        open_state=compiled.open_state,
        initial_state=compiled.initial_state,
    )


def _weights(compiled: CompiledProgram, source: ProgramSource) -> dict[str, WeightRef] | None:
    """The weights of the source by name. Those that the program does not use are not kept, nor
    needed. None: of some, only their 8-bit numbers are left, in the program file."""
    arguments = {a.name: a for a in source.arguments if a.is_weight}
    made = {n: r for n, r in compiled.weights.items() if n not in arguments}
    derived = {n: r.storage for n, r in made.items() if isinstance(r.storage, DerivedWeight)}
    if len(derived) < len(made):
        return None
    originals = {storage.rule.source: storage.source for storage in derived.values()}
    return {
        name: compiled.weights.get(name) or originals.get(name) or _unused(argument)
        for name, argument in arguments.items()
    }


def _unused(argument: SourceArgument) -> WeightRef:
    return WeightRef.absent(argument.shape, argument.dtype, name=argument.name)
