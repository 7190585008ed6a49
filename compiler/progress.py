"""What a compile tells while it runs; the command line draws it."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told about every stage, in order. Called from the compiling thread."""

    def started(self, stage: str, number: int, total: int) -> None:
        """Stage `number` of `total` (both from 1) begins; `total` may still grow."""
        ...

    def finished(self, stage: str, seconds: float) -> None:
        """It is done."""
        ...


class Silent:
    """Tells nobody."""

    def started(self, stage: str, number: int, total: int) -> None:
        pass

    def finished(self, stage: str, seconds: float) -> None:
        pass
