"""Say who waits for whom when no engine can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axonc.backends.isa.spec import Action

if TYPE_CHECKING:
    from axonc.backends.executor.time.engine_run import EngineRun


def signals_semaphore(run: EngineRun, semaphore: int) -> int | None:
    """Index of the next instruction of `run`'s stream that would change `semaphore`.

    The stream is read in its own order: branches are not followed.
    """
    for prepared in run.stream[run.index :]:
        if prepared.signal is not None and prepared.signal[0] == semaphore:
            return prepared.index
        if prepared.action in (Action.ADD_SEMAPHORE, Action.SET_SEMAPHORE):
            if prepared.instruction.integer("semaphore") == semaphore:
                return prepared.index
    return None


def describe_deadlock(blocked: list[EngineRun], values: list[int]) -> str:
    """One line per blocked engine, then the cycle if there is one."""
    lines = ["no engine can go on:"]
    edges: dict[str, str] = {}
    for run in blocked:
        assert run.blocked is not None and run.current is not None
        semaphore, wanted = run.blocked
        place = f"{run.engine.value}[{run.current.index}] {run.current.mnemonic}"
        lines.append(
            f"  {place} waits for S[{semaphore}] >= {wanted}, reached {values[semaphore]}; "
            + _who_signals(run, blocked, semaphore, edges)
        )
    cycle = find_cycle(edges)
    if cycle:
        lines.append("  cycle: " + " -> ".join([*cycle, cycle[0]]))
    return "\n".join(lines)


def _who_signals(
    run: EngineRun, blocked: list[EngineRun], semaphore: int, edges: dict[str, str]
) -> str:
    for other in blocked:
        index = signals_semaphore(other, semaphore)
        if index is not None:
            edges.setdefault(run.engine.value, other.engine.value)
            return f"the next to signal it would be {other.engine.value}[{index}]"
    return "nothing that could still run signals it"


def find_cycle(edges: dict[str, str]) -> list[str]:
    """Those of a cycle of waits, starting anywhere; empty if there is none."""
    import networkx  # for a program that failed; a running one has no use for it

    try:
        return [waiter for waiter, _ in networkx.find_cycle(networkx.DiGraph(edges.items()))]
    except networkx.NetworkXNoCycle:
        return []
