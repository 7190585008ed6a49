"""What a compiled program holds, as text and as JSON: facts, disassembly, memory map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from axonc.backends.encoding import decode_stream, instruction_text
from axonc.backends.isa.access_pattern import Memory, TileAccess
from axonc.backends.program import HbmTensor, Program, TensorKind
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.run.executable import Executable
from axonc.run.profile import Profile
from axonc.tools.core_report import core_facts, core_lines, device_memory_bytes

_TIME_OF_A_CALL = """\
modelled time: depends on data, as control flow does
'axonc profile PROGRAM --inputs FILE' tells that of one call"""
_MAP_CELLS = 64
_SHADES = " .:-=+*#%@"


def profile_of(executable: Executable) -> Profile | None:
    """The profile of any call; None where each has its own, as control flow depends on data."""
    return None if executable.time_depends_on_data else executable.profile()


def facts(executable: Executable, profile: Profile | None) -> dict[str, Any]:
    """The figures scripts want. Times are modelled, not measured; sbuf_peak_bytes is per partition.
    Without a profile those of a call are null, and instructions those of the streams."""
    compiled = executable.compiled
    return {
        "target": compiled.program.target,
        "inputs": list(map(str, compiled.inputs)),
        "results": list(map(str, compiled.results)),
        "time_depends_on_data": executable.time_depends_on_data,
        "cores": compiled.cores,
        "instance": instance_name(compiled.program),
        "sbuf_peak_bytes": compiled.program.sbuf_peak_bytes,
        "device_memory_bytes": device_memory_bytes(compiled.program),
        **(_unknown_facts(compiled.program) if profile is None else _call_facts(profile)),
        **({} if profile is None else core_facts(executable)),
        "options": compiled.options.as_dict(),
        "source_sha256": compiled.source_hash,
        "stages": [{"name": s.name, "ir_sha256": s.ir_hash} for s in compiled.stages],
        "notes": list(compiled.program.notes),
    }


def _call_facts(profile: Profile) -> dict[str, Any]:
    """Of one call."""
    timeline = profile.timeline
    return {
        "modelled_seconds": profile.modelled_seconds,
        "collectives": len(timeline.collectives),
        "collective_seconds": timeline.collective_ns * 1e-9,
        "instructions": {e.value: n for e, n in timeline.instruction_count.items()},
        "dma_transfers": timeline.transfer_count,
        "hbm_bytes_read": profile.hbm_bytes_read,
        "spill_save_bytes": profile.spill_save_bytes,
        "spill_reload_bytes": profile.spill_reload_bytes,
        "hbm_bytes": timeline.hbm_bytes,
        "busy_seconds": {e.value: ns * 1e-9 for e, ns in timeline.busy_ns.items()},
        "bound_seconds": profile.bound_seconds,
    }


def _unknown_facts(program: Program) -> dict[str, Any]:
    """What is known of a call before it is made."""
    streams = program.streams.items()
    return {
        "modelled_seconds": None,
        "instructions": {e.value: len(decode_stream(data)) for e, data in streams},
        "hbm_bytes_read": None,
        "bound_seconds": None,
    }


def instance_name(program: Program) -> str:
    """The smallest instance that has the cores of the program."""
    instance = TARGETS[program.target].instance_for(program.cores)
    return instance.name if instance is not None else program.target


def facts_json(executable: Executable, profile: Profile | None) -> str:
    """`facts` as indented JSON."""
    return json.dumps(facts(executable, profile), indent=2)


def overview(executable: Executable, profile: Profile | None) -> str:
    """Interfaces, options, memory and the profile's table, if there is one for all calls."""
    compiled = executable.compiled
    program, target = compiled.program, TARGETS[compiled.program.target]
    weight_bytes = sum(t.size_bytes for t in compiled.tensors(TensorKind.WEIGHT))
    chosen = ", ".join(f"{k}={v}" for k, v in compiled.options.as_dict().items())
    lines = [
        f"program for {program.target}: {chosen}",
        *_core_rows(program),
        *(f"  input   {tensor}" for tensor in compiled.inputs),
        *(f"  result  {tensor}" for tensor in compiled.results),
        f"  weights {len(compiled.weights)} tensors, {weight_bytes / 1e6:,.2f} MB on the device",
        f"  SBUF peak {program.sbuf_peak_bytes:,} of {target.sbuf_partition_bytes:,} bytes "
        f"per partition; device memory {device_memory_bytes(program) / 1e6:,.2f} MB",
        *(f"  note: {note}" for note in executable.notes),
        *([] if profile is None else core_lines(executable)),
        "",
        _TIME_OF_A_CALL if profile is None else profile.summary(),
    ]
    return "\n".join(lines)


def _core_rows(program: Program) -> list[str]:
    """Where the cores are, and who talks to whom."""
    if program.cores == 1:
        return []
    instance = TARGETS[program.target].instance_for(program.cores)
    assert instance is not None
    chips = instance.chip_of(program.cores - 1) + 1
    where = f"{chips} chip{'s' * (chips > 1)} of {instance.name}"
    rows = [f"  cores   {program.cores} on {where}; sizes are per core"]
    for number, groups in enumerate(program.groups):
        rows.append(f"  group {number} {', '.join(str(list(group)) for group in groups)}")
    return rows


def disassembly(program: Program, only: str | None = None) -> Iterator[str]:
    """Instructions by engine, in assembly. The source place is a comment where it changes."""
    for engine in program.streams:
        if only in (None, engine.value):
            yield from _engine_lines(program, engine)


def _engine_lines(program: Program, engine: Engine) -> Iterator[str]:
    indices = program.instruction_locations.get(engine)
    instructions = decode_stream(
        program.streams[engine], None if indices is None else indices.tolist()
    )
    previous = -1
    for instruction in instructions:
        if instruction.location != previous:
            where = program.locations[instruction.location]
            name = f"{where.name} " if where.name else ""
            yield f"# {name}{where.file}:{where.line}" if where.file else f"# {where}"
            previous = instruction.location
        yield instruction_text(instruction)


# ---- memory map ------------------------------------------------------------------------------


def memory_map(program: Program) -> str:
    """Device memory tensor by tensor; SBUF and PSUM as pictures of how often each part is used."""
    target = TARGETS[program.target]
    rows = [f"{'address':>14} {'bytes':>14}  {'kind':8} {'dtype':8} name"]
    rows += [_tensor_row(t) for t in sorted(program.tensors, key=lambda t: t.address)]
    return "\n".join(["device memory", *rows, "", *_on_chip(program, target)])


def _tensor_row(tensor: HbmTensor) -> str:
    origin = f" (of {tensor.source})" if tensor.source not in ("", tensor.name) else ""
    packed = f" packed {list(tensor.stored_shape)}" if tensor.packing else ""
    return (
        f"{tensor.address:>#14x} {tensor.size_bytes:>14,}  {tensor.kind.value:8} "
        f"{tensor.dtype.name:8} {tensor.name}{origin} {list(tensor.shape)}{packed}"
    )


def _on_chip(program: Program, target: Target) -> Iterator[str]:
    sizes = {Memory.SBUF: target.sbuf_partition_bytes, Memory.PSUM: target.psum_partition_bytes}
    uses = {memory: np.zeros(_MAP_CELLS, np.int64) for memory in sizes}
    ends = dict.fromkeys(sizes, 0)
    for access in _tile_accesses(program):
        size = sizes[access.memory]
        first, end = access.byte_offset, access.byte_offset + _extent_bytes(access)
        uses[access.memory][first * _MAP_CELLS // size : -(-end * _MAP_CELLS // size)] += 1
        ends[access.memory] = max(ends[access.memory], end)
    for memory, size in sizes.items():
        yield (
            f"{memory.value}: {ends[memory]:,} of {size:,} bytes per partition used, "
            f"one character is {size // _MAP_CELLS:,} bytes, darker is used by more instructions"
        )
        yield f"|{_shaded(uses[memory])}|"


def _tile_accesses(program: Program) -> Iterator[TileAccess]:
    for data in program.streams.values():
        for instruction in decode_stream(data):
            yield from (a for a in instruction.operands if isinstance(a, TileAccess))


def _extent_bytes(access: TileAccess) -> int:
    """Bytes from the first element of a partition to the end of the last."""
    elements = 1 + sum(stride * (size - 1) for stride, size in access.dims if stride > 0)
    return elements * access.dtype.size_bytes


def _shaded(counts: np.ndarray) -> str:
    levels = np.log1p(counts) / max(np.log1p(counts.max()), 1e-9) * (len(_SHADES) - 1)
    return "".join(_SHADES[int(np.ceil(level))] for level in levels)
