"""Which ALU operator, on which engine, computes a node of an expression: tables only."""

from __future__ import annotations

import enum

import numpy as np

from axonc.backends.isa.alu import ALU_BY_NAME
from axonc.backends.targets.target import Engine
from axonc.passes.tile.elementwise.expression_nodes import Expression


class Mode(enum.Enum):
    """How the instruction sees its operands."""

    FLOAT = "float32, whatever is stored"
    WORDS = "32-bit integers, exact; every tile must be one (GpSimdE, machine.md#arithmetic)"
    BITS = "bits; every tile has the node's dtype"


ARITHMETIC = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "mod": "mod",
    "maximum": "max",
    "minimum": "min",
    "power": "pow",
}

LOGICAL = {
    "logical_and": "logical_and",
    "logical_or": "logical_or",
    "logical_xor": "logical_xor",
}

BITWISE = {
    "bit_and": "bitwise_and",
    "bit_or": "bitwise_or",
    "bit_xor": "bitwise_xor",
    "shift_left": "logical_shift_left",
    "shift_right": "logical_shift_right",
}

COMPARE = {
    "EQ": "is_equal",
    "NE": "not_equal",
    "LT": "is_lt",
    "LE": "is_le",
    "GT": "is_gt",
    "GE": "is_ge",
}

UNARY = {
    "rsqrt": "rsqrt",
    "table_abs": "abs",
    "table_relu": "relu",
    "table_square": "square",
}
"""Unary ALU operators; those of a table are ScalarE's too."""

_BINARY = {**ARITHMETIC, **LOGICAL, **BITWISE}


def operator_of(e: Expression) -> str | None:
    """The ALU operator of a node, if there is one."""
    if e.op == "compare":
        return COMPARE[e.direction]
    return _BINARY.get(e.op) or UNARY.get(e.op)


def mode_of(e: Expression) -> Mode:
    if e.op in BITWISE:
        return Mode.BITS
    if e.op == "compare":
        return Mode.WORDS if any(arg.is_word for arg in e.args) else Mode.FLOAT
    return Mode.WORDS if e.op in ARITHMETIC and e.is_word else Mode.FLOAT


def engine_of(operator: str, mode: Mode) -> Engine:
    """VectorE wherever it can: GpSimdE is slower to start, and blocks it."""
    if mode is Mode.WORDS:
        return Engine.GPSIMD
    return Engine.VECTOR if Engine.VECTOR in ALU_BY_NAME[operator].engines else Engine.GPSIMD


def runs_on(operator: str, engine: Engine) -> bool:
    return engine in ALU_BY_NAME[operator].engines


def is_immediate(value: float, mode: Mode) -> bool:
    """Whether an instruction can hold the number: immediates are binary32, and whole numbers where
    integers are computed."""
    if mode is Mode.FLOAT:
        return True
    return float(np.float32(value)) == value
