"""What collectives compute: from the sources of the cores of a group to their destinations.

Reductions are in float32 whatever the element type, in the order of the group
(machine.md#collectives); everything else moves bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DType

REDUCTIONS: dict[str, np.ufunc] = {"add": np.add, "max": np.maximum, "min": np.minimum}

Arrays = Sequence[np.ndarray]
"""One flat array per core of the group, in storage types."""


def reduced(sources: Arrays, dtype: DType, op: str) -> np.ndarray:
    """src of core 0 op src of core 1 op ..., in float32, rounded to `dtype` once."""
    total = np.array(to_float32(sources[0], dtype), np.float32)
    for source in sources[1:]:
        REDUCTIONS[op](total, to_float32(source, dtype), out=total)
    return from_float32(total, dtype)


def all_reduce(sources: Arrays, dtype: DType, op: str) -> list[np.ndarray]:
    return [reduced(sources, dtype, op)] * len(sources)


def all_gather(sources: Arrays, dtype: DType, op: str) -> list[np.ndarray]:
    return [np.concatenate(sources)] * len(sources)


def reduce_scatter(sources: Arrays, dtype: DType, op: str) -> list[np.ndarray]:
    return list(reduced(sources, dtype, op).reshape(len(sources), -1))


def all_to_all(sources: Arrays, dtype: DType, op: str) -> list[np.ndarray]:
    blocks = np.stack([source.reshape(len(sources), -1) for source in sources])
    return [blocks[:, i].reshape(-1) for i in range(len(sources))]


COLLECTIVES: dict[str, Callable[[Arrays, DType, str], list[np.ndarray]]] = {
    "all_reduce": all_reduce,
    "all_gather": all_gather,
    "reduce_scatter": reduce_scatter,
    "all_to_all": all_to_all,
}


def collective_permute(
    sources: dict[int, np.ndarray], pairs: Sequence[Sequence[int]]
) -> dict[int, np.ndarray]:
    """By core: the source of the pair it is the target of, or zeros."""
    came_from = {target: source for source, target in pairs}
    return {
        core: sources[came_from[core]].copy() if core in came_from else np.zeros_like(array)
        for core, array in sources.items()
    }
