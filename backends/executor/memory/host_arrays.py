"""Check the arrays a host passes in: names, dtypes, shapes, layouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from axonc.backends.program import HbmTensor
from axonc.diagnostics import ExecutionError, nearest


def check_names(known: Mapping[str, HbmTensor], given: Iterable[str]) -> None:
    """Raises: ExecutionError unless `given` names exactly the `known` inputs."""
    names = list(given)
    for name in names:
        if name not in known:
            raise ExecutionError(
                f"the program has no input '{name}'; it has {', '.join(known) or 'none'}",
                hint=nearest(name, known),
            )
    missing = [name for name in known if name not in names]
    if missing:
        raise ExecutionError(f"input {', '.join(missing)} is missing")


def as_stored(tensor: HbmTensor, array: np.ndarray) -> np.ndarray:
    """`array` C-contiguous. Raises: ExecutionError unless it has the tensor's shape and dtype."""
    if tuple(array.shape) != tuple(tensor.stored_shape) or array.dtype != tensor.dtype.numpy:
        raise ExecutionError(
            f"input '{tensor.name}' is {array.dtype}{list(array.shape)}, expected "
            f"{tensor.dtype.numpy}{list(tensor.stored_shape)}"
        )
    return np.ascontiguousarray(array)


def check_stored(tensor: HbmTensor, array: np.ndarray) -> None:
    """Raises: ExecutionError unless `array` can be used in place as the bytes of `tensor`."""
    if array.nbytes != tensor.size_bytes or array.dtype != tensor.dtype.numpy:
        raise ExecutionError(
            f"weight '{tensor.name}' is {array.dtype}{list(array.shape)}, expected "
            f"{tensor.dtype.numpy}{list(tensor.stored_shape)}",
            hint="pack it first: tensor.packing.apply(array, tensor.dtype)",
        )
    if not array.flags.c_contiguous:
        raise ExecutionError(f"weight '{tensor.name}' is not C-contiguous")
