"""A broken law together with the instruction that broke it, on the way to a FindingError."""

from __future__ import annotations

from axonc.backends.executor.steps.findings import Violation
from axonc.backends.executor.steps.prepared import Prepared


class StepFailure(Exception):
    """`violation` happened at `step` (None: the program as a whole)."""

    def __init__(self, step: Prepared | None, violation: Violation) -> None:
        self.step = step
        self.violation = violation
        super().__init__(violation.message)
