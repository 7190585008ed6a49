"""Commands of axonc in processes of their own: their time, peak memory, and what they complain of.

A caller that wants true peak memory stays small itself: a child's peak counts its parent's.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """One process: wall-clock seconds, peak bytes, what it wrote."""

    seconds: float
    peak_bytes: int
    exit_code: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The first line of the error, empty when it succeeded."""
        lines = [line for line in (self.errors + self.output).splitlines() if line.strip()]
        marked = [line for line in lines if "error:" in line]
        return "" if self.exit_code == 0 else (marked or lines[-1:] or ["failed"])[0].strip()


def run_module(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Finished:
    """`python -m module arguments...`; `environment` is added to this process's."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Finished(seconds, _peak_bytes(usage), process.returncode, texts[0], texts[1])


def _peak_bytes(usage: resource.struct_rusage) -> int:
    """ru_maxrss is in KiB on Linux, in bytes on macOS."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def compile_program(
    artifact: Path,
    weights: Path,
    output: Path,
    *,
    target: str = "inf2",
    auto_cast: str = "none",
    hash_seed: int = 0,
) -> Finished:
    """`axonc compile`, narrow types in bf16."""
    arguments = ["compile", str(artifact), "--target", target, "--weights", str(weights)]
    arguments += ["--auto-cast", auto_cast, "--auto-cast-type", "bf16", "--output", str(output)]
    return run_module("axonc.tools.cli", arguments, {"PYTHONHASHSEED": str(hash_seed)})
