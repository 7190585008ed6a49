"""Errors a user can meet: where, what was found, what was expected, what to do.

Every error is an exception with fields; the command line renders it without a traceback
(`--traceback` shows one). `str(error)` is the whole message.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from axonc.project_paths import openable_path

LOOKUP = "axonc.lookup"
"""Name inside the location of an operation that is a lookup (`SourceLocation.is_lookup`)."""

FOREIGN = "axonc.foreign:"
"""Before the name of an operation outside of StableHLO, it is the target of the custom call that
stands for it between the import and the pass that refuses it."""


@dataclass(frozen=True)
class SourceLocation:
    """Where an operation came from: the op's path in the framework and the user's file and line."""

    name: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    is_lookup: bool = False
    """It looks something up by an index that is expected to lie in the table."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.file else ""
        return where or self.name or "<unknown location>"

    def shown(self, near: Iterable[str] = ()) -> str:
        """With a path the user can open, if there is one (`openable_path`); for messages alone, as
        it depends on this machine."""
        return str(replace(self, file=openable_path(self.file, near)))


class FindingWarning(UserWarning):
    """What checked mode has found of which the result is defined, but hardly meant."""


class AxoncError(Exception):
    """Base of everything axonc raises on purpose.

    message: what was found and what was expected. location: where. op, pass_name: what was being
    worked on. hint: what the user can do. near: files beside which the location's file may lie.
    """

    near: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        location: SourceLocation | None = None,
        op: str = "",
        pass_name: str = "",
        hint: str = "",
    ) -> None:
        self.message = message
        self.location = location
        self.op = op
        self.pass_name = pass_name
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return self.render()

    def render(self) -> str:
        """The message as the command line prints it: `where: error: op: message`, hint."""
        where = f"{self.location.shown(self.near)}: " if self.location else ""
        subject = f"{self.op}: " if self.op else ""
        lines = [f"{where}error: {subject}{self.message}"]
        if self.location and self.location.name and self.location.file:
            lines.append(f"  from {self.location.name}")
        if self.pass_name:
            lines.append(f"  in pass {self.pass_name}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class CompileError(AxoncError):
    """The program is wrong, or does not fit the machine."""


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
        """In one line, with the framework's name of the operation. near: files beside which the
        location's file may lie."""
        hint = f" ({self.hint})" if self.hint else ""
        source = f", from {self.location.name}" if self.location.name else ""
        return f"{self.location.shown(near)}: {self.op}{source}: {self.reason}{hint}"


class UnsupportedOpError(CompileError):
    """The program is right, but the compiler cannot do this op, dtype or attribute yet.

    findings: everything of the kind that was found together; `unsupported_error` gives several.
    """

    _others: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        where = self.location or SourceLocation()
        reason = self.message.partition("\n")[0]
        return (Finding(self.op or "program", reason, where, self.hint), *self._others)


def unsupported_error(findings: Sequence[Finding]) -> UnsupportedOpError:
    """One error that names every finding; its fields are those of the first."""
    first, *others = findings
    message = first.reason
    if others:
        listed = "\n".join(f"  {finding}" for finding in others)
        message += f"\nand {len(others)} more operations are not supported:\n{listed}"
    error = UnsupportedOpError(message, location=first.location, op=first.op, hint=first.hint)
    error._others = tuple(others)
    return error


class CapacityError(CompileError):
    """A memory is too small; the message holds the memory map at the peak."""


class VerifyError(CompileError):
    """An instruction or IR op breaks a numbered rule of its description."""


class ProgramFormatError(AxoncError):
    """A compiled program cannot be read: damaged, or made by another version."""


class ExecutionError(AxoncError):
    """A compiled program was run wrongly, or did something the machine does not allow."""


class UsageError(AxoncError):
    """A bad option, file name, or argument."""


class InternalError(AxoncError):
    """A bug of axonc. The message asks for the dumped IR."""


@contextmanager
def errors_near(file: object) -> Iterator[None]:
    """Errors about a model that was read from `file`, if that is the path of one and not its text,
    look for sources beside it."""
    try:
        yield
    except AxoncError as error:
        if isinstance(file, str | os.PathLike) and "\n" not in str(file):
            error.near = (*error.near, str(file))
        raise


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{found[0]}'?" if found else ""
