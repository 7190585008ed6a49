"""Checked mode: an activation function's table is loaded.

A program without `act_table_load` leaves the loads to the hardware (the time model charges them); a
program with some has to bring every table itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.steps.step_failure import StepFailure
from axonc.backends.isa.spec import Action


def check_tables(steps: Sequence[Prepared]) -> None:
    """Raises: StepFailure at the first activation whose table is not the one loaded last."""
    if not any(prepared.action is Action.LOAD_TABLE for prepared in steps):
        return
    loaded = ""
    for prepared in steps:
        if prepared.action is Action.LOAD_TABLE:
            loaded = prepared.instruction.text("table")
        elif prepared.table_set and prepared.table_set != loaded:
            text = f"needs table {prepared.table_set}; {loaded or 'none'} is loaded"
            raise StepFailure(prepared, Violation(FindingKind.ACTIVATION_TABLE, text))
