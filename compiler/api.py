"""The functions most users need: compile, load, check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from axonc.diagnostics import Finding, UnsupportedOpError, UsageError, errors_near
from axonc.options import CompileOptions, takes_options
from axonc.run.executable import Executable
from axonc.weights.references import WeightRef, open_weight_file

if TYPE_CHECKING:
    from axonc.driver.driver import DebugOptions, Progress
    from axonc.program.compiled_program import CompiledProgram

Weights = str | Path | Sequence[str | Path] | Mapping[str, Any]
Samples = str | Path | Mapping[str, np.ndarray]


@takes_options
def compile(
    source: Any,
    *,
    weights: Weights | None = None,
    calibrate: Samples | None = None,
    aliases: Mapping[str, str] | None = None,
    dump_ir: str | Path | None = None,
    progress: Progress | None = None,
    options: CompileOptions | None = None,
    **chosen: Any,
) -> Executable:
    """Compile a program for a NeuronCore.

    source: StableHLO text, MLIR bytecode, a portable artifact or HLO (`str`, `bytes`, `Path`), an
        MLIR module, `jax.jit(f).lower(...)`, `jax.export.export(...)(...)`, or
        `torch.export.export(...)`.
    weights: a .safetensors, .npz or .npy file, several, or arrays by name, nested as in JAX's
        parameters: binds arguments of these names, which then are no inputs any more.
    calibrate: sample inputs: an .npz file or arrays, by input name, of the input's shape or a stack
        of such. Ranges of 8-bit activations and the errors in the cast report come from them.
    aliases: state: by name of an input, the result that is its new value and may take its memory
        (`Executable.session`); by default arguments that are donated, paired with results by name.
    dump_ir: a folder for the IR after each pass. progress(pass, index, count): called before each.
    options: a `CompileOptions`; or by name:
    {options}

    Raises:
        UsageError: a bad option, source type or weight. CompileError: a wrong program.
        UnsupportedOpError: a right program the compiler cannot do; names every such op.
        CapacityError: it does not fit; with the memory map.
    """
    from axonc.driver.driver import DebugOptions

    if options is not None and chosen:
        raise UsageError("options are given by name and as CompileOptions", hint="give one of them")
    debug = DebugOptions(dump_dir=None if dump_ir is None else Path(dump_ir))
    return compile_with(
        source, options or CompileOptions.of(chosen), weights, calibrate, progress, debug, aliases
    )


def compile_with(
    source: Any,
    options: CompileOptions,
    weights: Weights | None = None,
    calibrate: Samples | None = None,
    progress: Progress | None = None,
    debug: DebugOptions | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Executable:
    """`compile` as the command line needs it, too: import, read samples, build."""
    from axonc.driver.build import build
    from axonc.frontends import import_program
    from axonc.imported.program import with_aliases
    from axonc.imported.samples import read_samples

    with errors_near(source):
        imported = import_program(source, weights=weights_by_name(weights))
        if aliases is not None:
            imported = with_aliases(imported, aliases)
        samples = () if calibrate is None else read_samples(calibrate, imported.inputs)
        built = build(imported, options, samples=samples, progress=progress, debug=debug)
    if options.exact_transposes:
        return Executable(built)
    exact = options.with_changes(exact_transposes=True)
    return Executable(built, lambda: build(imported, exact, samples=samples))


def load(path: str | Path, *, trust_weights: bool = False, with_weights: bool = True) -> Executable:
    """Read a program file that `Executable.save` or `axonc compile` wrote.

    trust_weights: use the weight files it refers to as they are now. Without, they have to be those
        it was saved with, byte for byte; they are hashed when the program first runs.
    with_weights: False does not look for them: what the program holds and the time it takes can be
        told, but it cannot run.

    Raises:
        ProgramFormatError: damaged, foreign, or made by a version with another format.
        UsageError: it, or a weight file it refers to, is missing or has changed.
    """
    from axonc.program.package import read_program

    compiled = read_program(path, trust_weights=trust_weights, with_weights=with_weights)
    return Executable(compiled, lambda: _exactly(compiled))


def _exactly(compiled: CompiledProgram) -> CompiledProgram | None:
    """Of a loaded program: made again with exact transposes, if that can be."""
    from axonc.driver.recompile import exact_again

    return exact_again(compiled)


def check(source: Any) -> list[Finding]:
    """Everything in a program that cannot be compiled: every op, dtype and attribute in one go; an
    empty list when there is nothing. Takes what `compile` takes.

    Raises:
        UsageError, CompileError: the source cannot be read at all.
    """
    from axonc.driver.driver import find_unsupported_ops
    from axonc.frontends import import_program

    with errors_near(source):
        try:
            return find_unsupported_ops(import_program(source))
        except UnsupportedOpError as error:  # of what cannot even be imported, or prepared
            return list(error.findings)


def weights_by_name(weights: Weights | None) -> Mapping[str, WeightRef | np.ndarray] | None:
    """The tensors of weight files, or of nested mappings and lists (JAX's parameters), by name: the
    path to a tensor, with dots."""
    if weights is None:
        return None
    if isinstance(weights, str | Path):
        return open_weight_file(weights)
    if isinstance(weights, Sequence):
        return {name: ref for file in weights for name, ref in open_weight_file(file).items()}
    return dict(_flat(weights, ()))


def _flat(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, WeightRef | np.ndarray]]:
    """(name, tensor) of every leaf."""
    if isinstance(tree, Mapping):
        branches = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        branches = [(str(number), value) for number, value in enumerate(tree)]
    else:
        yield ".".join(path), tree
        return
    for key, value in branches:
        yield from _flat(value, (*path, key))
