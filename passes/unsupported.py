"""What a program asks for that the compiler cannot do yet: collected, then reported all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from axonc.diagnostics import SourceLocation, UnsupportedOpError


class Unsupported(Exception):
    """Raised by the legalizer of one operation; the pass turns it into a `Finding` and goes on."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason = reason
        self.hint = hint
        super().__init__(reason)


@dataclass(frozen=True)
class Finding:
    """One operation that cannot be compiled."""

    op: str
    reason: str
    location: SourceLocation
    hint: str = ""
    """The nearest supported form."""

    def __str__(self) -> str:
        return self.told()

    def told(self, near: Sequence[str] = ()) -> str:
        """In one line. near: files beside which the location's file may lie."""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.location.shown(near)}: {self.op}: {self.reason}{hint}"


def unsupported_error(findings: Sequence[Finding]) -> UnsupportedOpError:
    """One error that names every finding; its fields are those of the first."""
    first, *others = findings
    message = first.reason
    if others:
        listed = "\n".join(f"  {finding}" for finding in others)
        message += f"\nand {len(others)} more operations are not supported:\n{listed}"
    return UnsupportedOpError(message, location=first.location, op=first.op, hint=first.hint)
