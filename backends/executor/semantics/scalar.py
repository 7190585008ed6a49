"""ScalarE: activation functions of a scaled and shifted tile."""

from __future__ import annotations

import numpy as np

from axonc.backends.executor.semantics.activation import evaluate
from axonc.backends.executor.semantics.elementwise import per_partition
from axonc.backends.executor.semantics.registry import (
    Context,
    Fields,
    Inputs,
    Outputs,
    semantics,
)


@semantics("activation", operands="float32")
def activation(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = func(src * scale + bias); accumulate[p] = sum of the float32 results of partition p.

    Product and sum are rounded one after the other (assumed). The sum is pairwise.
    """
    x = _scaled_and_shifted(inputs, fields)
    result = evaluate(fields["func"], x, context.report)
    outputs = {"dst": result}
    if "accumulate" in context.dtypes:
        outputs["accumulate"] = result.reshape(result.shape[0], -1).sum(axis=1, keepdims=True)
    return outputs


def _scaled_and_shifted(inputs: Inputs, fields: Fields) -> np.ndarray:
    source = inputs["src"]
    x = source
    scale_tile = inputs.get("scale_tile")
    if scale_tile is not None:
        x = x * per_partition(scale_tile, x)
    elif fields["scale"] != 1.0:
        x = x * np.float32(fields["scale"])
    bias = inputs.get("bias")
    if bias is None:
        return x
    return np.add(x, per_partition(bias, x), out=None if x is source else x)
