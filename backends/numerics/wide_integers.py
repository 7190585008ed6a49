"""Numbers of 64 bits as a machine of 32-bit words holds them: integers as [2, ...] uint32, low
words first; complex numbers as [2, ...] float32, real parts first."""

from __future__ import annotations

import numpy as np

WORD_BITS = 32
COMPLEX = "complex<f32>"
WIDE = frozenset({"i64", "ui64", COMPLEX})
"""MLIR spellings of what takes two words."""


def split_words(array: np.ndarray) -> np.ndarray:
    """[...] int64 or uint64 as [2, ...] uint32: the low words, then the high words. complex64 as
    [2, ...] float32: the real parts, then the imaginary ones."""
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag])
    bits = np.asarray(array, order="C").view(np.uint64)
    return np.stack([bits.astype(np.uint32), (bits >> np.uint64(WORD_BITS)).astype(np.uint32)])


def join_words(words: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """[2, ...] uint32 or float32 as [...] of `dtype` (int64, uint64, complex64): undoes
    `split_words`."""
    if dtype.kind == "c":
        joined = np.empty(words.shape[1:], dtype)
        joined.real, joined.imag = words
        return joined
    low, high = words.astype(np.uint64)
    return np.asarray((high << np.uint64(WORD_BITS)) | low).view(dtype)


def are_words(words_shape: tuple[int, ...], shape: tuple[int, ...], dtype: str) -> bool:
    """Whether a tensor of `words_shape` holds integers of `shape` and MLIR type `dtype` in two
    words; else it holds them in one."""
    return dtype in WIDE and len(words_shape) == len(shape) + 1
