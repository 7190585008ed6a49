"""axonc: an open compiler for NeuronCores that needs no NeuronCore.

    executable = axonc.compile(jax.jit(f).lower(x), target="inf2")
    (y,) = executable.run(x)
    print(executable.profile().summary())

Names are loaded when first used, so that `import axonc` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from axonc.version import __version__

if TYPE_CHECKING:
    from axonc.api import check as check
    from axonc.api import compile as compile
    from axonc.api import load as load
    from axonc.diagnostics import AxoncError as AxoncError
    from axonc.diagnostics import CapacityError as CapacityError
    from axonc.diagnostics import CompileError as CompileError
    from axonc.diagnostics import ExecutionError as ExecutionError
    from axonc.diagnostics import FindingWarning as FindingWarning
    from axonc.diagnostics import InternalError as InternalError
    from axonc.diagnostics import ProgramFormatError as ProgramFormatError
    from axonc.diagnostics import UnsupportedOpError as UnsupportedOpError
    from axonc.diagnostics import UsageError as UsageError
    from axonc.diagnostics import VerifyError as VerifyError
    from axonc.run.executable import Executable as Executable
    from axonc.run.profile import Profile as Profile
    from axonc.run.session import Session as Session

_HOMES = {
    "compile": "api",
    "load": "api",
    "check": "api",
    "Executable": "run.executable",
    "Profile": "run.profile",
    "Session": "run.session",
    "AxoncError": "diagnostics",
    "CapacityError": "diagnostics",
    "CompileError": "diagnostics",
    "ExecutionError": "diagnostics",
    "FindingWarning": "diagnostics",
    "InternalError": "diagnostics",
    "ProgramFormatError": "diagnostics",
    "UnsupportedOpError": "diagnostics",
    "UsageError": "diagnostics",
    "VerifyError": "diagnostics",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'axonc' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"axonc.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
