"""Constants of types the machine lacks that are converted at once become constants of the type they
are for.

Frameworks write numbers such as NaN or an epsilon in double precision, whatever the tensors are,
and small tables in integers of 2 and 4 bits. Part of `legalize-to-neuron`; other values of these
types are refused there.
"""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import (
    NUMPY_DTYPES,
    SUBBYTE_BITS,
    dense_to_numpy,
    element_name,
    numpy_to_dense,
    subbyte_to_numpy,
)
from axonc.passes.graph.rewrite import in_place_of, redirect

_READERS = {"f64": dense_to_numpy} | dict.fromkeys(SUBBYTE_BITS, subbyte_to_numpy)
"""How constants are read, by element type."""


def narrow_wide_constants(block: ir.Block) -> bool:
    """Replace conversions of such constants; whether there were any."""
    found = [op for o in block.operations if _converts_constant(op := o.operation)]
    for op in found:
        kind = op.results[0].type
        with np.errstate(over="ignore"):
            read = _READERS[element_name(op.operands[0].type)]
            value = read(op.operands[0].owner.attributes["value"])
            attribute = numpy_to_dense(value, kind.element_type)
        with in_place_of(op):
            made = ir.Operation.create("stablehlo.constant", [kind], [], {"value": attribute})
        redirect(op.results, [made.results[0]])
    constants = {op.operands[0].owner for op in found}
    for op in found:
        op.erase()
    for op in constants:
        if not list(op.results[0].uses):
            op.erase()
    return bool(found)


def _converts_constant(op: ir.Operation) -> bool:
    if op.name != "stablehlo.convert" or element_name(op.operands[0].type) not in _READERS:
        return False
    if element_name(op.results[0].type) not in NUMPY_DTYPES:
        return False
    owner = op.operands[0].owner
    return not isinstance(owner, ir.Block) and owner.operation.name == "stablehlo.constant"
