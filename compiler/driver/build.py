"""From an imported program to a compiled one: on one core, on several, or as a pipeline."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from axonc.backends.link import link_programs
from axonc.diagnostics import UsageError
from axonc.driver.driver import DebugOptions, Progress, compile_imported
from axonc.imported.program import ImportedProgram
from axonc.options import CompileOptions
from axonc.passes.cast.cast_data import Sample
from axonc.passes.cast.cast_report import CastReport, CastRow
from axonc.passes.lower.check_collectives import check_core_program
from axonc.program.compiled_program import CompiledProgram, HostTensor
from axonc.program.source import ProgramSource, SourceArgument


def build(
    imported: ImportedProgram,
    options: CompileOptions,
    *,
    samples: tuple[Sample, ...] = (),
    progress: Progress | None = None,
    debug: DebugOptions | None = None,
) -> CompiledProgram:
    """Compile for `options`. samples: as `compile_imported`.

    Raises: as `compile_imported`; CompileError if a pipeline has no places to cut.
    """
    if options.parallel == "pipeline" and options.cores > 1:
        if samples:
            raise UsageError("sample inputs are evaluated for programs of one core")
        compiled = _build_pipeline(imported, options, progress, debug or DebugOptions())
    else:
        compiled = compile_imported(
            imported, options, samples=samples, progress=progress, debug=debug
        )
    compiled = _with_state(compiled, imported)
    # Samples are no part of it: what was made with them cannot be made again without.
    is_final = bool(samples) or options.exact_transposes
    return compiled if is_final else replace(compiled, source=source_of(imported))


def source_of(imported: ImportedProgram) -> ProgramSource:
    """What a compiled program carries along of the program it was made from."""
    arguments = (
        SourceArgument(a.name, a.shape, a.dtype, a.weight is not None, a.sharding)
        for a in imported.arguments
    )
    return ProgramSource(
        imported.module_bytes,
        tuple(arguments),
        imported.result_names,
        imported.mesh,
        imported.result_shardings,
        imported.sharding_notes,
        imported.aliases,
    )


def _with_state(compiled: CompiledProgram, imported: ImportedProgram) -> CompiledProgram:
    """What the source says of the state, beside the pairs that the results tell."""
    inputs = {host.name: host for host in compiled.inputs}
    updated = [result.state_of for result in compiled.results if result.state_of]
    initial = {name: ref for name, ref in imported.initial_state.items() if name in updated}
    open_state = {name: rs for name, rs in imported.open_state.items() if name in inputs}
    return replace(compiled, open_state=open_state, initial_state=initial)


def _build_pipeline(
    imported: ImportedProgram,
    options: CompileOptions,
    progress: Progress | None,
    debug: DebugOptions,
) -> CompiledProgram:
    """Every stage is compiled by itself; then all are linked, and their transfers are checked."""
    from axonc.partition.pipeline_parallel import split_into_stages

    stages = split_into_stages(imported, options.cores, options.target)
    compiled = [
        compile_imported(
            stage.program,
            options,
            progress=progress,
            debug=replace(debug, dump_dir=debug.dump_dir and debug.dump_dir / f"stage-{i}"),
        )
        for i, stage in enumerate(stages)
    ]
    linked = link_programs([c.program for c in compiled], range(len(compiled)))
    check_core_program(linked)
    results = {r.name: replace(r, sharding=None) for c in compiled for r in c.results}
    return replace(
        compiled[0],
        program=linked.programs[0],
        others=linked.programs[1:],
        program_of=linked.program_of,
        inputs=tuple(HostTensor(a.name, a.shape, a.dtype) for a in imported.inputs),
        results=tuple(results[name] for name in imported.result_names),
        weights={name: ref for c in compiled for name, ref in c.weights.items()},
        weight_shardings={},
        source_hash=hashlib.sha256(imported.module_bytes).hexdigest(),
        casts=tuple(line for c in compiled for line in c.casts),
        cast_report=CastReport(tuple(r for c in compiled for r in _cast_rows(c))),
        shardings=tuple(map(str, stages)),
    )


def _cast_rows(compiled: CompiledProgram) -> tuple[CastRow, ...]:
    return compiled.cast_report.rows if compiled.cast_report is not None else ()
