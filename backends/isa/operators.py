"""ALU operators and activation functions: their names, kinds and the engines that have them.

Sources: nki.api.shared.rst (hardware.md 3.5 for ALU operators, 3.3 for activation functions). There is
no divide and no arithmetic shift right on this generation. Which engine has which operator: the
"Supported Engine" column of the 2025-11 table; GpSimd is programmable and has every arithmetic
operator (hardware.md 2.3), bit-vector operators run on VectorE only.
"""

from __future__ import annotations

from axonc.backends.targets.target import Engine

BYPASS = "bypass"
"""Second operator of a two-operator instruction when only one is wanted."""

BITVEC_BINARY_OPS = ("bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right")
BITVEC_UNARY_OPS = ("bitwise_not",)
COMPARE_OPS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
LOGICAL_OPS = ("logical_and", "logical_or", "logical_xor")
ARITHMETIC_BINARY_OPS = (
    "add",
    "subtract",
    "multiply",
    "max",
    "min",
    *COMPARE_OPS,
    *LOGICAL_OPS,
    "power",
    "abs_max",
    "abs_min",
)
ARITHMETIC_UNARY_OPS = ("abs", "square", "relu", "logical_not", "rsqrt", "reciprocal")

BITVEC_OPS = BITVEC_BINARY_OPS + BITVEC_UNARY_OPS
UNARY_OPS = BITVEC_UNARY_OPS + ARITHMETIC_UNARY_OPS
BINARY_OPS = ARITHMETIC_BINARY_OPS + BITVEC_BINARY_OPS
ALU_OPS = ARITHMETIC_BINARY_OPS + ARITHMETIC_UNARY_OPS + BITVEC_OPS
REDUCE_OPS = (
    "add",
    "subtract",
    "multiply",
    "max",
    "min",
    *LOGICAL_OPS,
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
)
PARTITION_REDUCE_OPS = ("add", "average", "max", "bitwise_or", "bitwise_and")
DMA_OPS = ("copy", "add", "max", "min")
REGISTER_OPS = (
    "add",
    "subtract",
    "multiply",
    "min",
    "max",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "shift_left",
    "shift_right",
)
BRANCH_COMPARES = ("always", *COMPARE_OPS)

VECTOR_ONLY_OPS = frozenset((*BITVEC_OPS, "reciprocal"))
GPSIMD_ONLY_OPS = frozenset(("power", "rsqrt"))


def engine_has_operator(engine: Engine, op: str) -> bool:
    """Whether the ALU of `engine` computes `op` (hardware.md 3.5)."""
    if op in VECTOR_ONLY_OPS:
        return engine is Engine.VECTOR
    if op in GPSIMD_ONLY_OPS:
        return engine is Engine.GPSIMD
    return True


ACTIVATION_RANGES: dict[str, tuple[float, float]] = {
    "log": (2.0**-64, 2.0**64),
    "sin": (-3.141592653589793, 3.141592653589793),
    "arctan": (-1.5707963267948966, 1.5707963267948966),
    "sqrt": (2.0**-116, 2.0**118),
    "rsqrt": (2.0**-87, 2.0**97),
    "reciprocal": (2.0**-42, 2.0**42),  # of the magnitude
}
"""Valid argument range of the functions that have one (hardware.md 3.3); outside, results are garbage."""

ACTIVATION_TABLES: dict[str, tuple[str, ...]] = {
    "gelu_and_others": (
        "gelu",
        "gelu_dx",
        "gelu_tanh",
        "gelu_sigmoid",
        "gelu_sigmoid_dx",
        "silu",
        "silu_dx",
        "sigmoid",
        "tanh",
        "erf",
        "erf_dx",
    ),
    "natural_log_exp_and_others": ("exp", "log", "softplus", "mish", "sin", "arctan"),
    "reciprocal_sqrt_and_small": ("sqrt", "rsqrt"),
    "reciprocal_and_small": ("reciprocal",),
}
"""Function sets a table load brings in. The set names are documented (work-with-neff-files.rst);
which function lies in which set is assumed from the names."""

UNIVERSAL_ACTIVATIONS = ("copy", "identity", "square", "relu", "sign", "abs")
"""Functions assumed to be in every set, as they need no polynomial pieces. `identity` is `copy`.
prelu is left out: its slope parameter has no documented place in the v2 instruction."""

ACTIVATION_FUNCTIONS = UNIVERSAL_ACTIVATIONS + tuple(
    function for functions in ACTIVATION_TABLES.values() for function in functions
)

TABLE_OF_ACTIVATION: dict[str, str] = {
    function: table for table, functions in ACTIVATION_TABLES.items() for function in functions
}
"""Table a function needs; universal functions are absent (any loaded table will do)."""
