"""What a program asks for that the compiler cannot do yet: found op by op, reported all at once
(`axonc.diagnostics.Finding`)."""

from __future__ import annotations


class Unsupported(Exception):
    """Raised by the legalizer of one operation; the pass turns it into a `Finding` and goes on."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason = reason
        self.hint = hint
        super().__init__(reason)
