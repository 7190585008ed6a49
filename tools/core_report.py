"""What each core of a program takes, where cores run different programs (a pipeline of layers)."""

from __future__ import annotations

from typing import Any

from axonc.backends.program import Program, TensorKind
from axonc.run.executable import Executable
from axonc.run.profile import Profile


def device_memory_bytes(program: Program) -> int:
    """End of the last tensor in device memory."""
    return max((t.address + t.size_bytes for t in program.tensors), default=0)


def core_facts(executable: Executable) -> dict[str, Any]:
    """Modelled. interval_seconds: the least time between two calls that follow each other, which is
    what the busiest resource of the busiest core needs for one: a bound, not a schedule.
    bubble_share: of the cores' time, what the others wait for the slowest stage when calls follow
    each other; filling and draining the pipeline come on top. per_core: end_seconds is from the
    start of a call, active_seconds from when the first input is there (from another core) to the
    end. Empty where all cores run the same program."""
    compiled = executable.compiled
    if not compiled.others:
        return {}
    programs = map(compiled.core_program.program, range(compiled.cores))
    profiles = executable.core_profiles()
    rows = [_row(profile, program) for profile, program in zip(profiles, programs, strict=True)]
    interval = max(row["bound_seconds"] for row in rows)
    active = [row["active_seconds"] for row in rows]
    bubble = 1 - sum(active) / (len(active) * max(active))
    return {"interval_seconds": interval, "bubble_share": bubble, "per_core": rows}


def _first_input_seconds(profile: Profile) -> float:
    """When a stage gets what it waits for: the end of its first collective that another core
    began. A core that waits for none (the first) has its inputs at the start."""
    waited = [
        record.end_ns
        for record in profile.timeline.collectives
        if record.cores[0] != profile.machine.core
    ]
    return min(waited, default=0.0) * 1e-9


def _row(profile: Profile, program: Program) -> dict[str, Any]:
    by = max(profile.bound_seconds, key=lambda name: profile.bound_seconds[name])
    return {
        "end_seconds": profile.modelled_seconds,
        "active_seconds": profile.modelled_seconds - _first_input_seconds(profile),
        "bound_seconds": profile.bound_seconds[by],
        "bound_by": by,
        "device_memory_bytes": device_memory_bytes(program),
        "sbuf_peak_bytes": program.sbuf_peak_bytes,
        "weights": len({t.source for t in program.tensors if t.kind is TensorKind.WEIGHT}),
    }


def core_lines(executable: Executable) -> list[str]:
    """`core_facts` as a table."""
    found = core_facts(executable)
    if not found:
        return []
    lines = [
        f"  a stage a core; calls may follow each other every "
        f"{found['interval_seconds'] * 1e6:,.1f} us at best,",
        f"  {found['bubble_share']:.0%} of the cores' time waiting for the slowest stage",
        "",
        "   core  ends at us   active us  busiest us  by       memory MB  SBUF KiB  weights",
    ]
    for core, row in enumerate(found["per_core"]):
        times = [row[f"{name}_seconds"] * 1e6 for name in ("end", "active", "bound")]
        lines.append(
            f"  {core:5d}  {'  '.join(f'{time:10.1f}' for time in times)}  {row['bound_by']:7s}  "
            f"{row['device_memory_bytes'] / 1e6:9.2f}  {row['sbuf_peak_bytes'] / 1024:8.1f}  "
            f"{row['weights']:7d}"
        )
    return lines
