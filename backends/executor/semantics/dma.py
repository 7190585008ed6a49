"""DMA: copy, cast, or combine with what is there. Addressing, also indirect, is the executor's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axonc.backends.executor.semantics.registry import (
    Context,
    Fields,
    Inputs,
    OperandMode,
    Outputs,
    semantics,
)
from axonc.backends.executor.semantics.vector import raw_if_same_dtype
from axonc.backends.numerics.signed_zeros import maximum, minimum

COMBINATIONS: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "max": maximum,
    "min": minimum,
}


def _dma_mode(fields: Fields, context: Context) -> OperandMode:
    """Copies between equal types keep every bit; everything else goes through float32."""
    return raw_if_same_dtype(fields, context) if fields["op"] == "copy" else "float32"


@semantics("dma_copy", operands=_dma_mode)
def dma_copy(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = src, or dst op src. `src` holds the gathered rows; only the operators read dst.

    Both sides visit their elements in row-major order, so their shapes may differ.
    """
    source = inputs["src"]
    op = fields["op"]
    if op == "copy":
        return {"dst": source}
    old = inputs["dst"]
    return {"dst": COMBINATIONS[op](old, source.reshape(old.shape))}
