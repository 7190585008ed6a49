"""Partition a sharded module: Shardy propagates, and every rank's program comes out.

Shardy's passes live in jaxlib. Some of them end the process instead of reporting an error, so they
run in a process of their own (`shardy_worker`), whose end is reported as an error of the program's.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from jaxlib.mlir import ir

from axonc.diagnostics import CompileError, SourceLocation, UnsupportedOpError
from axonc.partition.shardy_attributes import mesh_of
from axonc.sharding import Mesh, Sharding

# The worker writes this and the name of each pass to stderr before the pass runs.
STEP_MARK = "pass: "


@dataclass(frozen=True)
class Partitioned:
    """What Shardy made of a program."""

    module: ir.Module
    """What each rank runs, with local shapes and StableHLO collectives."""
    mesh: Mesh
    arguments: tuple[Sharding, ...]
    results: tuple[Sharding, ...]
    """With `arguments`: the shardings of the whole tensors."""
    notes: tuple[str, ...]
    """Operations that had to gather a dim first."""


def is_sharded(module: ir.Module) -> bool:
    """Whether a mesh of more than one rank is declared."""
    mesh = mesh_of(module)
    return mesh is not None and mesh.size > 1


def partition(module: ir.Module) -> Partitioned:
    """Partition `@main` over the mesh the module declares, by the shardings it carries.

    Raises:
        UnsupportedOpError: Shardy cannot partition an operation; names it and its source line.
        CompileError: the shardings contradict the program.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "axonc.partition.shardy_worker"],
        input=_bytecode(module),
        capture_output=True,
        check=False,
    )
    header, _, body = answer.stdout.partition(b"\n")
    if answer.returncode:
        raise _died(answer)
    facts = json.loads(header)
    if "error" in facts:
        raise _error(facts)
    local = ir.Module.parse(body, context=module.context)
    mesh = Mesh(tuple((name, size) for name, size in facts["mesh"]))
    arguments, results = (
        tuple(Sharding(mesh, tuple(map(tuple, dims))) for dims in facts[key])
        for key in ("arguments", "results")
    )
    return Partitioned(local, mesh, arguments, results, tuple(facts["notes"]))


def _bytecode(module: ir.Module) -> bytes:
    buffer = io.BytesIO()
    module.operation.write_bytecode(buffer)
    return buffer.getvalue()


def _error(facts: dict[str, Any]) -> CompileError:
    place = facts["location"]
    location = SourceLocation(*place) if place else None
    kind = UnsupportedOpError if facts["error"] == "UnsupportedOpError" else CompileError
    return kind(facts["message"], location=location, op=facts["op"], hint=facts["hint"])


def _died(answer: subprocess.CompletedProcess[bytes]) -> CompileError:
    """Shardy ended the process: what it said last, and during which pass."""
    lines = answer.stderr.decode(errors="replace").splitlines()
    step = next((x.removeprefix(STEP_MARK) for x in reversed(lines) if x.startswith(STEP_MARK)), "")
    said = next((x for x in lines if "LLVM ERROR" in x or "Check failed" in x), "")
    said = said.rpartition("] ")[2] or f"it ended with status {answer.returncode}"
    return UnsupportedOpError(
        f"Shardy cannot partition this program (in {step or 'start-up'}): {said}",
        hint="replicate the tensor concerned first: with_sharding_constraint(x, P())",
    )
