"""Machine code for the host's CPU, made from MLIR text by the execution engine of torch_mlir.

A function takes one pointer: its *task*, an array of int64 (numbers and addresses). Calls let other
threads run.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

_PIPELINE = (
    "builtin.module(convert-vector-to-llvm,convert-scf-to-cf,convert-arith-to-llvm,"
    "convert-cf-to-llvm,reconcile-unrealized-casts)"
)


@cache
def has_wide_vectors() -> bool:
    """Whether the CPU has registers of 512 bits (x86-64-v4) and the execution engine is there.

    The code is written for them. Elsewhere numpy and its BLAS are as fast as the CPU allows.
    """
    config: Any = np.show_config(mode="dicts")
    if "X86_V4" not in config.get("SIMD Extensions", {}).get("found", ()):
        return False
    try:
        import torch_mlir.execution_engine  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def _context() -> Any:
    """One for all modules: making one takes as long as compiling a small function."""
    from torch_mlir import ir

    made = ir.Context()
    made.enable_multithreading(False)
    return made


class NativeModule:
    """Compiled MLIR text. Functions are private to it and good as long as it lives."""

    def __init__(self, text: str) -> None:
        from torch_mlir import ir
        from torch_mlir.execution_engine import ExecutionEngine
        from torch_mlir.passmanager import PassManager

        with _context():
            module = ir.Module.parse(text)
            PassManager.parse(_PIPELINE).run(module.operation)
            self._engine = ExecutionEngine(module, opt_level=2)

    def address(self, name: str) -> int:
        """Where the function `name` is."""
        return int(self._engine.raw_lookup(name))

    def function(self, name: str) -> Callable[[int], None]:
        """The function `name`, to be called with `Task.address`."""
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address(name))


_MODULES: dict[str, NativeModule] = {}
_MODULES_LOCK = threading.Lock()


def native_module(text: str) -> NativeModule:
    """The module of `text`, made once and kept: threads may be running its code."""
    with _MODULES_LOCK:
        if text not in _MODULES:
            _MODULES[text] = NativeModule(text)
        return _MODULES[text]


@dataclass(frozen=True, slots=True)
class Task:
    """Arguments of one call."""

    words: np.ndarray
    keep: tuple[Any, ...]
    """What lies at addresses that are among them."""

    @classmethod
    def of(cls, values: Sequence[int], keep: tuple[Any, ...]) -> Task:
        """The engine's calling convention wants the address of a pointer to each argument: words in
        front of the task's, a cache line of them so that its lines stay lines."""
        words = aligned(8 * (_PREFIX + len(values))).view(np.int64)
        words[_PREFIX:] = values
        words[0] = words.ctypes.data + 8
        words[1] = words.ctypes.data + 8 * _PREFIX
        return cls(words, keep)

    @property
    def address(self) -> int:
        """What a function is called with."""
        return int(self.words.ctypes.data)

    @property
    def arguments(self) -> np.ndarray:
        """The values, in place."""
        return self.words[_PREFIX:]

    def call(self, function: Callable[[int], None]) -> Callable[[], None]:
        """`function` with this task."""
        return partial(_call, function, self.address, self)


def _call(function: Callable[[int], None], address: int, _: Task) -> None:
    function(address)


_PREFIX = ALIGNMENT // 8


def aligned(size: int) -> np.ndarray:
    """uint8 [size], at a multiple of ALIGNMENT."""
    made = np.empty(size + ALIGNMENT, np.uint8)
    first = -made.ctypes.data % ALIGNMENT
    return made[first : first + size]


def aligned_floats(size: int) -> np.ndarray:
    """float32 [size], at a multiple of ALIGNMENT."""
    return aligned(4 * size).view(np.float32)
