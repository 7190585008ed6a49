"""A whole compile: imported program -> neuron dialect -> tiles -> instruction streams ->
`CompiledProgram`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch_mlir import ir

from axonc.diagnostics import Finding, InternalError, UnsupportedOpError, UsageError
from axonc.driver.least_memory import refuse_what_cannot_fit
from axonc.driver.pipeline import TensorOptions, expansions, load_module, tensor_pipeline
from axonc.imported.program import ImportedProgram
from axonc.options import CompileOptions
from axonc.partition.parallel import spread_over_cores
from axonc.pass_manager import ManagerOptions, PassManager
from axonc.passes.base import ModuleState, Pass
from axonc.passes.cast.cast_data import CastData, Sample
from axonc.passes.cast.cast_report import CastReport, CastRow
from axonc.passes.control.core_differences import find_differences
from axonc.passes.control.split_control_flow import SplitControlFlowPass
from axonc.passes.graph.loop_counts import has_control_flow
from axonc.passes.graph.module import cores_of, main_function
from axonc.passes.layout.choose_layouts import ChooseLayoutsPass
from axonc.passes.legalize.legalize_to_neuron import find_unsupported
from axonc.passes.lower.check_collectives import CheckCollectivesPass
from axonc.passes.lower.link_blocks import LinkBlocksPass
from axonc.passes.lower.lower import LowerPass
from axonc.passes.lower.lowered_state import LoweredState
from axonc.passes.memory.allocate_memory import AllocateMemoryPass
from axonc.passes.memory.place_blocks import PlaceBlocksPass
from axonc.passes.memory.spill_buffers import SpillBuffersPass
from axonc.passes.prepare.expand.expand_random import ExpandRandomPass
from axonc.passes.prepare.flatten_control_flow import FlattenControlFlowPass
from axonc.passes.prepare.inline_calls import InlineCallsPass
from axonc.passes.prepare.narrow_integers import InputRange, narrow_and_find
from axonc.passes.prepare.regions.expand_regions import ExpandRegionsPass
from axonc.passes.prepare.scan_windows import ScanWindowsPass
from axonc.passes.prepare.simplify import SimplifyPass
from axonc.passes.schedule.assign_engines import AssignEnginesPass
from axonc.passes.schedule.schedule import SchedulePass
from axonc.passes.tile.tile import TilePass
from axonc.program.compiled_program import (
    CompiledProgram,
    HostTensor,
    Limits,
    StageRecord,
    check_same_type,
)
from axonc.sharding import Sharding
from axonc.weights.derived import Derivation, derived_shardings, with_derived
from axonc.weights.references import is_absent

Progress = Callable[[str, int, int], None]
"""Called before each pass with its name, its index from 0, and the number of passes."""

_DUMP_NAME = re.compile(r"\d{3}-.*\.mlir|before-.*\.mlir")


@dataclass(frozen=True)
class DebugOptions:
    """What a compile shows of its passes."""

    dump_dir: Path | None = None
    """Folder for numbered files of the IR after each pass."""
    time_passes: bool = False
    """Whether to print a table of the passes' times on stderr."""
    verify_each: bool = False
    """Whether to verify the IR after every pass (slow on large programs)."""


def machine_pipeline(target: str, *, exact_transposes: bool = False) -> tuple[Pass, ...]:
    """Fused neuron operations -> instruction streams."""
    return (
        ChooseLayoutsPass(target),
        TilePass(target, exact_transposes),
        # Before memory: how long a buffer lives depends on the order only, not on engines, but the
        # form an engine takes may need other buffers.
        AssignEnginesPass(),
        # Before memory, which finds places and moves nothing.
        SpillBuffersPass(),
        # Before scheduling: reuse of a buffer orders its users.
        AllocateMemoryPass(),
        PlaceBlocksPass(),
        SchedulePass(),
        LowerPass(),
        # After it: collectives are counted along whole streams.
        LinkBlocksPass(),
        CheckCollectivesPass(),
    )


def compile_imported(
    imported: ImportedProgram,
    options: CompileOptions,
    *,
    samples: tuple[Sample, ...] = (),
    progress: Progress | None = None,
    debug: DebugOptions | None = None,
) -> CompiledProgram:
    """Compile for `options.target`. samples: inputs of calls, to take ranges and errors from.

    Raises:
        CompileError, UnsupportedOpError, CapacityError: naming op and source line.
        InternalError: a pass failed for no fault of the user.
    """
    debug = debug or DebugOptions()
    imported = spread_over_cores(imported, options)
    options = options.with_changes(cores=_agreed_cores(imported, options))
    state = ModuleState(load_module(imported))
    _require_mesh(imported, cores_of(state.module.operation))
    results = _results(state.module, imported)
    refuse_what_cannot_fit(state.module, imported, options)
    _check_samples(samples, imported, options)
    cast_data = CastData(imported.weights, samples)
    tensor_passes = tensor_pipeline(TensorOptions(options, cast_data))
    recorder = _Recorder(state, len(tensor_passes), progress)
    passes = (
        *tensor_passes,
        *machine_pipeline(options.target, exact_transposes=options.exact_transposes),
    )
    manager = PassManager(passes, _manager_options(debug, recorder))
    lowered = manager.run(state)
    if not isinstance(lowered, LoweredState):
        raise InternalError(f"the pipeline ends with {type(lowered).__name__}")
    report = _cast_report(state.reports)
    rules = [told for told in state.reports if isinstance(told, Derivation)]
    shardings = {a.name: a.sharding for a in imported.arguments if a.weight and a.sharding}
    return CompiledProgram(
        program=lowered.pack(),
        inputs=_inputs(imported, state.reports),
        results=results,
        weights=with_derived(imported.weights, rules),
        options=options,
        source_hash=hashlib.sha256(imported.module_bytes).hexdigest(),
        stages=recorder.records(manager),
        casts=report.lines(),
        cast_report=report,
        shardings=imported.sharding_notes,
        weight_shardings=derived_shardings(shardings, rules),
    )


def _inputs(imported: ImportedProgram, reports: Sequence[object]) -> tuple[HostTensor, ...]:
    limits = {
        told.name: Limits(told.low, told.high, told.saturates)
        for told in reports
        if isinstance(told, InputRange)
    }
    return tuple(
        HostTensor(a.name, a.shape, a.dtype, a.sharding, limits=limits.get(a.name))
        for a in imported.inputs
    )


def _agreed_cores(imported: ImportedProgram, options: CompileOptions) -> int:
    """How many cores to compile for: what the user says, or what the program is sharded over.

    Raises:
        UsageError: the two differ.
    """
    if imported.cores > 1 and options.cores == 1:
        return imported.cores
    if imported.cores != options.cores:
        raise UsageError(
            f"cores is {options.cores}; the program is sharded over {imported.cores}",
            hint=f"leave --cores out, or use {imported.cores}"
            if imported.cores > 1
            else "say how: --tensor-parallel or --data-parallel (parallel= in Python), or shard it "
            "over a mesh of that many devices",
        )
    return options.cores


def _require_mesh(imported: ImportedProgram, cores: int) -> None:
    """A program that is partitioned already does not say which part of an array is whose."""
    if cores != imported.cores:
        raise UnsupportedOpError(
            f"the module is what each of {cores} partitions runs, without their shardings",
            hint="pass the program before it is partitioned, with its mesh",
        )


def find_unsupported_ops(imported: ImportedProgram) -> list[Finding]:
    """Everything in the program that cannot be compiled; empty when all can."""
    module = load_module(imported)
    PassManager((InlineCallsPass(), FlattenControlFlowPass())).run(ModuleState(module))
    if has_control_flow(module.operation):
        differing = find_differences(main_function(module.operation))
        if differing:
            return differing
    return _found_with(imported, expansions())


def _found_with(imported: ImportedProgram, expanded: tuple[Pass, ...]) -> list[Finding]:
    """What is found when these passes write types and algorithms out; without those that cannot."""
    cut = (InlineCallsPass(), FlattenControlFlowPass(), ExpandRandomPass(before_blocks=True))
    rest = (SimplifyPass(), ScanWindowsPass(), ExpandRegionsPass())
    passes = (*cut, SplitControlFlowPass(), *expanded, *rest)
    try:
        state = PassManager(passes).run(ModuleState(load_module(imported)))
    except UnsupportedOpError as error:
        others = tuple(each for each in expanded if each.name != error.pass_name)
        if len(others) == len(expanded):
            raise
        places = {(finding.op, finding.location) for finding in error.findings}
        more = _found_with(imported, others)
        return [*error.findings, *(f for f in more if (f.op, f.location) not in places)]
    found = [_unsupported_in(module) for module in state.targets("builtin.module")]
    return list(dict.fromkeys(finding for findings in found for finding in findings))


def _unsupported_in(module: ir.Operation) -> list[Finding]:
    """What is in both lists is told once: the first looks at 64-bit integers alone."""
    with module.context, ir.Location.unknown():
        wide = narrow_and_find(module)
    return [*wide, *find_unsupported(module)]


def _check_samples(
    samples: tuple[Sample, ...], imported: ImportedProgram, options: CompileOptions
) -> None:
    """Raises: UsageError where samples cannot be evaluated."""
    if not samples:
        return
    if options.cores > 1 or imported.cores > 1:
        raise UsageError(
            "sample inputs are evaluated for programs of one core",
            hint="leave --calibrate out, or search on one core and give the overrides it finds",
        )
    missing = [name for name, weight in imported.weights.items() if is_absent(weight)]
    if missing:
        raise UsageError(
            f"sample inputs need the weights; '{missing[0]}' has no data",
            hint="bind them: --weights FILE, or weights= in Python",
        )


class _Recorder:
    """Hashes the module before each pass and after the tensor passes; hands progress on.

    Later levels are not hashed: printing 25,000 tile operations takes a second each time.
    """

    def __init__(self, state: ModuleState, tensor_passes: int, progress: Progress | None) -> None:
        self._state = state
        self._tensor_passes = tensor_passes
        self._progress = progress
        self._hashes: list[str] = []

    def __call__(self, name: str, index: int, total: int) -> None:
        if 0 < index <= self._tensor_passes:
            self._hashes.append(self._state.fingerprint().hex())
        if self._progress:
            self._progress(name, index, total)

    def records(self, manager: PassManager) -> tuple[StageRecord, ...]:
        padded = self._hashes + [""] * (len(manager.timings) - len(self._hashes))
        pairs = zip(manager.timings, padded, strict=True)
        return tuple(StageRecord(t.name, ir_hash, t.seconds) for t, ir_hash in pairs)


def _manager_options(debug: DebugOptions, recorder: _Recorder) -> ManagerOptions:
    if debug.dump_dir is not None:
        _clear_dumps(debug.dump_dir)
    return ManagerOptions(
        dump_dir=debug.dump_dir,
        time_passes=debug.time_passes,
        verify_each=debug.verify_each,
        check_claims=debug.verify_each,
        on_pass=recorder,
    )


def is_dump(path: Path, folder: Path) -> bool:
    """Whether dumping into `folder` would take `path` for one of its own files."""
    is_there = path.resolve().parent == folder.resolve()
    return is_there and _DUMP_NAME.fullmatch(path.name) is not None


def _clear_dumps(folder: Path) -> None:
    """Dumps of an earlier compile would be taken for those of this one.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if _DUMP_NAME.fullmatch(path.name):
                path.unlink()
        (folder / ".axonc").touch()
        (folder / ".axonc").unlink()
    except OSError as error:
        raise UsageError(f"cannot dump IR to {folder}: {error.strerror or error}") from None


def _results(module: ir.Module, imported: ImportedProgram) -> tuple[HostTensor, ...]:
    """Names and types of the results as the source has them, before integers are narrowed; whole,
    not what one core has.

    Raises:
        UsageError: one is of another type than the input whose new value it is said to be.
    """
    main = main_function(module.operation)
    types = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value).results
    shardings = imported.result_shardings or (None,) * len(types)
    inputs = {a.name: a for a in imported.inputs}
    state_of = {r: a for a, r in imported.aliases.items() if a in inputs}
    rows = zip(imported.result_names, types, shardings, strict=True)
    results = tuple(
        replace(_host_tensor(name, kind, sharding), state_of=state_of.get(name, ""))
        for name, kind, sharding in rows
    )
    for result in results:
        if result.state_of:
            check_same_type(inputs[result.state_of], result)
    return results


def _host_tensor(name: str, kind: ir.Type, sharding: Sharding | None) -> HostTensor:
    shape, dtype = _shape_and_dtype(kind)
    if sharding is not None:
        shape = sharding.global_shape(shape)
    return HostTensor(name, shape, dtype, sharding)


def _shape_and_dtype(kind: ir.Type) -> tuple[tuple[int, ...], str]:
    ranked = ir.RankedTensorType(kind)
    shape = tuple(ranked.shape) if ranked.has_static_shape else ()
    return shape, str(ranked.element_type)


def _cast_report(reports: Sequence[object]) -> CastReport:
    """Planned casts, then those auto-cast made by its own rule."""
    planned = [told for told in reports if isinstance(told, CastReport)]
    rows = [row for report in planned for row in report.rows]
    rows += [told for told in reports if isinstance(told, CastRow)]
    search = next((report.search for report in planned if report.search), None)
    return CastReport(tuple(rows), search)
