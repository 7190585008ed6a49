"""Checked mode, before anything runs: the numbered rules of every instruction's description."""

from __future__ import annotations

from collections.abc import Sequence

from axonc.backends.executor.steps.describe import describe_instruction
from axonc.backends.executor.steps.findings import FindingError, FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.isa.verifier import Verifier, rule_text
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import SourceLocation

RANGE_RULES = frozenset(("C4", "C9"))
"""Common rules about partitions and bytes that exist (backends/isa/rules.py)."""


def finding(
    violation: Violation, prepared: Prepared | None, locations: Sequence[SourceLocation]
) -> FindingError:
    """The error for `violation` at `prepared` (None: the program as a whole)."""
    if prepared is None:
        return FindingError(violation.kind, violation.message)
    instruction = prepared.instruction
    location = locations[instruction.location]
    named = f" ({location.name})" if location.name else ""
    return FindingError(
        violation.kind,
        f"{violation.message}\n  in {describe_instruction(instruction)}{named}",
        engine=prepared.engine.value,
        index=prepared.index,
        location=location,
    )


def check_instructions(
    target: Target,
    streams: dict[Engine, list[Prepared]],
    locations: Sequence[SourceLocation],
) -> None:
    """Raises: FindingError for the first instruction that breaks a rule of its description."""
    verifier = Verifier(target)
    for engine, stream in streams.items():
        for prepared in stream:
            violation = _rule_violation(verifier, engine, prepared)
            if violation is not None:
                raise finding(violation, prepared, locations)


def _rule_violation(verifier: Verifier, engine: Engine, prepared: Prepared) -> Violation | None:
    instruction = prepared.instruction
    if instruction.engine is not engine:
        text = f"an instruction of {instruction.engine.value} in the stream of {engine.value}"
        return Violation(FindingKind.RULE, text)
    found = verifier.violations(instruction)
    if not found:
        return None
    kind = FindingKind.OUT_OF_RANGE if found[0][0] in RANGE_RULES else FindingKind.RULE
    texts = (f"({n}) {rule_text(instruction.spec, n)}: {what}" for n, what in found)
    return Violation(kind, "; ".join(texts))
