"""64-bit integers as a machine of 32-bit words holds them: [2, ...] uint32, low words first."""

from __future__ import annotations

import numpy as np

WORD_BITS = 32
WIDE = frozenset({"i64", "ui64"})
"""MLIR spellings of the integers that take two words."""


def split_words(array: np.ndarray) -> np.ndarray:
    """[...] int64 or uint64 as [2, ...] uint32: the low words, then the high words."""
    bits = np.asarray(array, order="C").view(np.uint64)
    return np.stack([bits.astype(np.uint32), (bits >> np.uint64(WORD_BITS)).astype(np.uint32)])


def join_words(words: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """[2, ...] uint32 as [...] of `dtype` (int64 or uint64): undoes `split_words`."""
    low, high = words.astype(np.uint64)
    return np.asarray((high << np.uint64(WORD_BITS)) | low).view(dtype)


def are_words(words_shape: tuple[int, ...], shape: tuple[int, ...], dtype: str) -> bool:
    """Whether a tensor of `words_shape` holds integers of `shape` and MLIR type `dtype` in two
    words; else it holds them in one."""
    return dtype in WIDE and len(words_shape) == len(shape) + 1
