"""Machine code for the host's CPU, made from MLIR text by the execution engine of torch_mlir.

A function takes one pointer: its *task*, an array of int64 (numbers and addresses). Calls let other
threads run.
"""

from __future__ import annotations

import ctypes
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
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]  # type: ignore[index]
    if "X86_V4" not in found:
        return False
    try:
        import torch_mlir.execution_engine  # noqa: F401
    except ImportError:
        return False
    return True


class NativeModule:
    """Compiled MLIR text. Functions are private to it and good as long as it lives."""

    def __init__(self, text: str) -> None:
        from torch_mlir import ir
        from torch_mlir.execution_engine import ExecutionEngine
        from torch_mlir.passmanager import PassManager

        with ir.Context():
            module = ir.Module.parse(text)
            PassManager.parse(_PIPELINE).run(module.operation)
            self._engine = ExecutionEngine(module, opt_level=3)

    def function(self, name: str) -> Callable[[int], None]:
        """The function `name`, to be called with `Task.address`."""
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._engine.raw_lookup(name))


@dataclass(frozen=True, slots=True)
class Task:
    """Arguments of one call. keep: arrays whose addresses are among them."""

    words: np.ndarray
    keep: tuple[Any, ...]

    @classmethod
    def of(cls, values: Sequence[int], keep: tuple[Any, ...]) -> Task:
        """The engine's calling convention wants the address of a pointer to each argument: two
        words in front of the task's."""
        words = np.array([0, 0, *values], np.int64)
        words[0] = words.ctypes.data + 8
        words[1] = words.ctypes.data + 16
        return cls(words, keep)

    def call(self, function: Callable[[int], None]) -> Callable[[], None]:
        """`function` with this task."""
        return partial(_call, function, self.words.ctypes.data, self)


def _call(function: Callable[[int], None], address: int, _: Task) -> None:
    function(address)


def aligned_floats(size: int) -> np.ndarray:
    """float32 [size], at a multiple of ALIGNMENT."""
    extra = ALIGNMENT // 4
    made = np.empty(size + extra, np.float32)
    first = -made.ctypes.data % ALIGNMENT // 4
    return made[first : first + size]
