"""Chooses an engine for every operation that several engines could do.

Why: ScalarE and VectorE share copies, casts and scalings; whichever is idle should take them.

Precondition: operations with one or more forms, in program order. Postcondition: one form each.

How: operations are issued in program order on a model of the engines that knows true data
dependences only (no addresses yet); each takes the form that finishes first. One pass, near-linear.

Before:
    ntile.choose { scalar: activation(%y, %x) {func = "copy"} | vector: tensor_copy(%y, %x) }
After:
    scalar: activation(%y, %x) {func = "copy"}

Leaves alone: operations with one form.
"""

from __future__ import annotations

from dataclasses import dataclass

from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import TileProgram
from axonc.passes.base import Pass, State
from axonc.passes.tile_level.dependencies import dependence_graph
from axonc.passes.tile_level.operation_time import OperationTimer
from axonc.passes.tile_level.tile_state import TileLevel, TileState


def assign_engines(program: TileProgram) -> bool:
    """Keeps one form per operation; returns whether anything changed."""
    graph = dependence_graph(program)
    timer = OperationTimer(program.target)
    free = dict.fromkeys(Engine, 0.0)
    done = [0.0] * len(program.ops)
    changed = False
    for number, op in enumerate(program.ops):
        ready = max((done[i] for i in graph.predecessors[number]), default=0.0)
        finish = [max(free[f.engine], ready) + timer.latency_ns(f) for f in op.forms]
        best = finish.index(min(finish))
        chosen = op.forms[best]
        start = max(free[chosen.engine], ready)
        free[chosen.engine] = start + timer.interval_ns(chosen)
        done[number] = finish[best]
        changed |= len(op.forms) > 1
        op.forms = (chosen,)
    return changed


@dataclass(frozen=True)
class AssignEnginesPass(TileLevel, Pass, name="assign-engines"):
    """Choose an engine for every operation that several engines could do."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        return state, assign_engines(state.program)
