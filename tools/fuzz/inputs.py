"""The numbers that programs are run on."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

from axonc.tools.fuzz.program import BOOL, Kind, Node, Program

DTYPES: dict[str, np.dtype] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
    BOOL: np.dtype(np.bool_),
    **{f"i{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"ui{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
}

SPECIAL = (
    0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e-40, 3e4,
    -3e4, 88.5, -88.5, -104.0, 2.0**23 + 1, 2.0**24, 2.0**31, -(2.0**31), 1e30, 6.2831855,
)  # fmt: skip

HOSTILE = (
    0.0, -0.0, 1e-30, 0.5, -3.0, 7.0, -11.0, 19.5, 20.5, -21.0, 35.0, 60.0, -75.0, 88.0, -95.0,
    120.0, -1e3, 1e4, 3e4, -2.0, 1.0, -1.0,
)  # fmt: skip
"""Finite, beyond where activation functions, exponents and clips are dull."""

_Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

FLOAT_VALUES: dict[str, _Draw] = {
    "normal": lambda rng, shape: np.clip(rng.standard_normal(shape), -4, 4),
    "small": lambda rng, shape: rng.integers(-4, 5, shape).astype(np.float64),
    "positive": lambda rng, shape: rng.uniform(0.25, 4, shape),
    "special": lambda rng, shape: rng.choice(SPECIAL, shape),
    "hostile": lambda rng, shape: rng.choice(HOSTILE, shape),
}
"""By name: how the floats of an input are drawn."""

INTEGER_VALUES = ("small", "extreme", "places")
"""Near 0; over the whole type; from -1 to the fact `below`, a little beyond a dim."""


def rounded(number: float, element: str) -> float:
    """The nearest number of a type."""
    return float(np.asarray(number).astype(DTYPES[element]))


def input_array(node: Node, rng: np.random.Generator) -> np.ndarray:
    """The numbers of one input."""
    kind, values = node.kind, node.fact("values")
    dtype = DTYPES[kind.element]
    if kind.element == BOOL:
        return np.asarray(rng.random(kind.shape) < 0.5)
    if kind.is_float:
        return np.asarray(FLOAT_VALUES[values](rng, kind.shape)).astype(dtype)
    return _integers(kind, values, node.fact("below"), rng).astype(dtype)


def _integers(kind: Kind, values: str, below: int | None, rng: np.random.Generator) -> np.ndarray:
    limits = np.iinfo(DTYPES[kind.element])
    unsigned = kind.element[0] == "u"
    if values == "places":
        assert below is not None
        return rng.integers(0 if unsigned else -1, below + 1, kind.shape)
    if values == "extreme":
        dtype = DTYPES[kind.element].type
        return rng.integers(limits.min, limits.max, kind.shape, dtype=dtype, endpoint=True)
    return rng.integers(0 if unsigned else -9, 10, kind.shape)


def input_arrays(program: Program, seed: int) -> list[np.ndarray]:
    """One array per input, in order. Each depends on the seed and its own number alone, so that it
    stays what it is when other inputs are left out."""
    nodes = [program.nodes[place] for place in program.inputs]
    return [input_array(n, np.random.default_rng([seed, n.fact("number")])) for n in nodes]
