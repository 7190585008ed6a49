"""VectorE: the eight largest values, where eight values are, and their replacement.

All compare in float32; -0 equals 0, a NaN equals nothing (assumed).
"""

from __future__ import annotations

import numpy as np

from axonc.backends.executor.semantics.registry import (
    Context,
    Fields,
    Inputs,
    Outputs,
    semantics,
)
from axonc.backends.executor.semantics.vector import flat
from axonc.backends.numerics.cast import to_float32

WIDTH = 8
_NOWHERE = -1


@semantics("max8", operands="float32")
def max8(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """The 8 largest elements of each partition, largest first (NaN counts as largest: assumed)."""
    source = flat(inputs["src"])
    largest = np.partition(source, source.shape[1] - WIDTH, axis=1)[:, -WIDTH:]
    return {"dst": np.sort(largest, axis=1)[:, ::-1]}


def occurrences(source: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[P, 8] positions in source [P, N] of values [P, 8], -1 where there is none.

    Equal values take successive occurrences, in ascending order (nki.isa.nc_find_index8).
    """
    positions = np.full(values.shape, _NOWHERE, np.int64)
    for column in range(values.shape[1]):
        wanted = values[:, column : column + 1]
        earlier = (values[:, :column] == wanted).sum(axis=1, keepdims=True)
        matches = source == wanted
        hit = matches & (np.cumsum(matches, axis=1) == earlier + 1)
        found = hit.any(axis=1)
        positions[found, column] = hit.argmax(axis=1)[found]
    return positions


@semantics("find_index8", operands="raw")
def find_index8(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """Index of the first occurrence of each of 8 values, all ones where there is none."""
    source = flat(to_float32(inputs["src"], context.dtypes["src"]))
    values = flat(to_float32(inputs["values"], context.dtypes["values"]))
    return {"dst": occurrences(source, values).astype(context.dtypes["dst"].numpy)}


@semantics("match_replace8", operands="float32")
def match_replace8(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """src with one occurrence of each of 8 values replaced by imm: the first ones."""
    source = inputs["src"]
    positions = occurrences(flat(source), flat(inputs["values"]))
    result = flat(source).copy()
    rows, columns = np.nonzero(positions != _NOWHERE)
    result[rows, positions[rows, columns]] = fields["imm"]
    return {"dst": result}
