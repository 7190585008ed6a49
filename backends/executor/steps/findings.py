"""What the executor can find wrong with a program, and the error that says where.

A `Violation` is raised where the law is known and the place is not; the machine turns it into a
`FindingError`, which names engine, instruction, op and source line.
"""

from __future__ import annotations

import enum

from axonc.diagnostics import ExecutionError, SourceLocation


class FindingKind(enum.Enum):
    """One per law of the executor."""

    UNWRITTEN_READ = "unwritten-read"
    OUT_OF_RANGE = "out-of-range"
    READ_ONLY = "read-only"
    RULE = "rule"
    RACE = "race"
    DEADLOCK = "deadlock"
    PSUM_ACCUMULATE = "psum-accumulate"
    STATIONARY_MISSING = "stationary-missing"
    ACTIVATION_RANGE = "activation-range"
    ACTIVATION_TABLE = "activation-table"
    SEMAPHORE_OVERFLOW = "semaphore-overflow"
    SEMAPHORE_RESET = "semaphore-reset"
    STEP_LIMIT = "step-limit"
    CONTROL_FLOW = "control-flow"
    TRANSPOSE_RANGE = "transpose-range"
    COLLECTIVE_MISMATCH = "collective-mismatch"


HINTS: dict[FindingKind, str] = {
    FindingKind.UNWRITTEN_READ: "write these bytes first, or wait for the transfer that fills them",
    FindingKind.RACE: "let the later one wait for the semaphore the earlier one signals",
    FindingKind.DEADLOCK: "some signal is missing, or a wait comes before the work it waits for",
    FindingKind.PSUM_ACCUMULATE: "start the accumulation group with accumulate=False",
    FindingKind.ACTIVATION_RANGE: "clamp or range-reduce the input (machine.md#scalar-engine)",
    FindingKind.TRANSPOSE_RANGE: "compile with exact transposes (axonc.compile(..., "
    "exact_transposes=True), --exact-transposes), which go by VectorE; or keep the values finite",
    FindingKind.COLLECTIVE_MISMATCH: "all cores of a group issue the same collectives, on equal "
    "shapes and types, in the same order",
    FindingKind.SEMAPHORE_RESET: "reset a semaphore only after everything that signals it",
    FindingKind.STEP_LIMIT: "does a loop never end? Machine(max_steps=...) sets the limit",
}


class Violation(Exception):
    """A broken law, before the executor knows which instruction it is about."""

    def __init__(self, kind: FindingKind, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)


class FindingError(ExecutionError):
    """A broken law. kind: which. engine, index: the instruction ("", -1: the whole program)."""

    def __init__(
        self,
        kind: FindingKind,
        message: str,
        *,
        engine: str = "",
        index: int = -1,
        location: SourceLocation | None = None,
    ) -> None:
        self.kind = kind
        self.engine = engine
        self.index = index
        subject = f"{engine}[{index}]" if engine else ""
        super().__init__(
            f"[{kind.value}] {message}",
            location=location,
            op=subject,
            hint=HINTS.get(kind, ""),
        )
