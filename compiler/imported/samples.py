"""Sample inputs: arrays by input name, each of the input's shape or several of them stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from axonc.diagnostics import UsageError, nearest
from axonc.imported.program import Argument
from axonc.weights.references import NUMPY_OF_MLIR, open_weight_file

Sample = Mapping[str, np.ndarray]


def read_samples(
    given: str | Path | Mapping[str, np.ndarray], inputs: Sequence[Argument]
) -> tuple[Sample, ...]:
    """One mapping per call.

    Raises:
        UsageError: the file cannot be read; an input is missing, unknown, or of another shape or
            dtype; the inputs have different numbers of samples.
    """
    arrays = _arrays(given)
    names = [argument.name for argument in inputs]
    for name in arrays:
        if name not in names:
            known = nearest(name, names) or f"inputs: {', '.join(names[:8])}"
            raise UsageError(f"sample inputs: the program has no input '{name}'", hint=known)
    stacks = [_stack(argument, arrays) for argument in inputs]
    counts = sorted({len(stack) for stack in stacks})
    if len(counts) > 1:
        raise UsageError(f"sample inputs: {counts[0]} of one input, {counts[-1]} of another")
    pairs = [zip(names, row, strict=True) for row in zip(*stacks, strict=True)]
    return tuple(dict(pair) for pair in pairs)


def _arrays(given: str | Path | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if isinstance(given, str | Path):
        return {name: ref.load() for name, ref in open_weight_file(given).items()}
    return {name: np.asarray(array) for name, array in given.items()}


def _stack(argument: Argument, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """[samples, *shape] of one input."""
    if argument.name not in arrays:
        raise UsageError(f"sample inputs: '{argument.name}' is missing; wanted: {argument}")
    array = arrays[argument.name]
    found = f"{array.dtype}{list(array.shape)}"
    if array.dtype != NUMPY_OF_MLIR[argument.dtype]:
        raise UsageError(f"sample inputs: '{argument.name}' is {found}; wanted: {argument}")
    if array.shape == argument.shape:
        return array[None]
    if array.shape[1:] != argument.shape or not len(array):
        raise UsageError(
            f"sample inputs: '{argument.name}' is {found}; wanted: {argument}, or a stack of them"
        )
    return array
