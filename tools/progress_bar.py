"""Progress of a compile on the terminal: a bar on a TTY, lines for slow compiles elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from axonc.driver.driver import Progress as Callback

QUIET_SECONDS = 1.0
"""A pass gets a line when it has taken this long: a log should say what takes time, and a pass that
does not end should be named while it runs."""


class ProgressLines:
    """`axonc:  12.3 s [12/25] schedule`, for every pass that takes longer than `quiet_seconds`.

    Call `close` at the end.
    """

    def __init__(self, stream: TextIO, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._stream = stream
        self._quiet_seconds = quiet_seconds
        self._start = time.perf_counter()
        self._timer: threading.Timer | None = None

    def __call__(self, name: str, index: int, total: int) -> None:
        self.close()
        arguments = (f"[{index + 1}/{total}] {name}",)
        if not self._quiet_seconds:
            self._print(*arguments)
            return
        self._timer = threading.Timer(self._quiet_seconds, self._print, arguments)
        self._timer.daemon = True
        self._timer.start()

    def _print(self, what: str) -> None:
        elapsed = time.perf_counter() - self._start
        print(f"axonc: {elapsed:5.1f} s {what}", file=self._stream, flush=True)

    def close(self) -> None:
        """No line for the pass before."""
        if self._timer is not None:
            self._timer.cancel()


class ProgressBar:
    """A bar of rich that names the pass."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, name: str, index: int, total: int) -> None:
        self._progress.update(self._task, description=name, completed=index, total=total)


@contextmanager
def shown_progress(*, is_verbose: bool = False) -> Iterator[Callback]:
    """What a compile should call; the bar vanishes at the end. is_verbose: a line for every
    pass."""
    if is_verbose or not sys.stderr.isatty():
        with closing(ProgressLines(sys.stderr, 0.0 if is_verbose else QUIET_SECONDS)) as lines:
            yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("[bold]axonc"),
        BarColumn(bar_width=32),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield ProgressBar(progress, progress.add_task("reading", total=1))
