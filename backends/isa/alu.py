"""The operators of VectorE and GpSimdE arithmetic: one table, from name to code, kind and engines.

Source: machine.md#operators; nki/api/nki.api.shared.rst, "Supported Math Operators for NKI ISA"
(the 2025 table has the engine column); nki.isa.tensor_tensor (32-bit integers run on GpSimdE). The
codes are ours (assumed): the real encoding is not published. What an operator computes is in
backends/executor/semantics/alu.py.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from axonc.backends.targets.target import Engine


class AluKind(enum.Enum):
    """How an operator sees its operands."""

    ARITHMETIC = "arithmetic"  # float32 (32-bit integers on GpSimdE: exact, modulo 2^32)
    COMPARE = "compare"  # as arithmetic; the result is 1.0 or 0.0
    LOGICAL = "logical"  # as arithmetic; non-zero is true; the result is 1.0 or 0.0
    BITVEC = "bitvec"  # integer storage, no cast
    BYPASS = "bypass"  # the first operand, whatever it is


@dataclass(frozen=True)
class AluOp:
    """An operator of the vector engines' arithmetic unit."""

    name: str
    code: int
    """Its number in the encoding."""
    kind: AluKind
    engines: tuple[Engine, ...]
    """Engines of NeuronCore-v2 that have it."""
    summary: str
    arity: int = 2
    """1 for an operator that ignores the second operand."""
    reduces: bool = False
    """Whether `tensor_reduce` may use it."""
    source: str = "nki.api.shared.rst"


_BOTH = (Engine.VECTOR, Engine.GPSIMD)
_VECTOR = (Engine.VECTOR,)
_GPSIMD = (Engine.GPSIMD,)
_ARITH, _COMPARE = AluKind.ARITHMETIC, AluKind.COMPARE
_LOGICAL, _BITVEC = AluKind.LOGICAL, AluKind.BITVEC
_MAGNITUDE = "nki.language (the docs say NeuronCore-v4; machine.md#operators lists it); v2: assumed"
_ASSUMED = "assumed: nki.language has it, the operator table does not"

ALU_OPS: tuple[AluOp, ...] = (
    AluOp("bypass", 0, AluKind.BYPASS, _BOTH, "a", arity=1, source="assumed"),
    AluOp("add", 1, _ARITH, _BOTH, "a + b", reduces=True),
    AluOp("subtract", 2, _ARITH, _BOTH, "a - b", reduces=True),
    AluOp("multiply", 3, _ARITH, _BOTH, "a * b", reduces=True),
    AluOp("divide", 4, _ARITH, _BOTH, "a / b", source=_ASSUMED),
    AluOp("max", 5, _ARITH, _BOTH, "maximum; NaN if either is NaN (assumed)", reduces=True),
    AluOp("min", 6, _ARITH, _BOTH, "minimum; NaN if either is NaN (assumed)", reduces=True),
    AluOp("pow", 7, _ARITH, _GPSIMD, "a to the power b"),
    AluOp("mod", 8, _ARITH, _BOTH, "a - b * floor(a / b): sign of b", source=_ASSUMED),
    AluOp("abs_max", 9, _ARITH, _BOTH, "a if |a| > |b| else b", source=_MAGNITUDE),
    AluOp("abs_min", 10, _ARITH, _BOTH, "a if |a| < |b| else b", source=_MAGNITUDE),
    AluOp("abs", 11, _ARITH, _VECTOR, "|a|", arity=1),
    AluOp("square", 12, _ARITH, _VECTOR, "a * a", arity=1),
    AluOp("relu", 13, _ARITH, _VECTOR, "max(a, 0)", arity=1),
    AluOp("rsqrt", 14, _ARITH, _GPSIMD, "1 / sqrt(a)", arity=1),
    AluOp("reciprocal", 15, _ARITH, _VECTOR, "1 / a", arity=1),
    AluOp("is_equal", 16, _COMPARE, _BOTH, "a == b"),
    AluOp("not_equal", 17, _COMPARE, _BOTH, "a != b"),
    AluOp("is_ge", 18, _COMPARE, _BOTH, "a >= b"),
    AluOp("is_gt", 19, _COMPARE, _BOTH, "a > b"),
    AluOp("is_le", 20, _COMPARE, _BOTH, "a <= b"),
    AluOp("is_lt", 21, _COMPARE, _BOTH, "a < b"),
    AluOp("logical_and", 22, _LOGICAL, _BOTH, "a and b", reduces=True),
    AluOp("logical_or", 23, _LOGICAL, _BOTH, "a or b", reduces=True),
    AluOp("logical_xor", 24, _LOGICAL, _BOTH, "exactly one of a and b", reduces=True),
    AluOp("logical_not", 25, _LOGICAL, _BOTH, "not a", arity=1),
    AluOp("bitwise_and", 26, _BITVEC, _VECTOR, "a & b", reduces=True),
    AluOp("bitwise_or", 27, _BITVEC, _VECTOR, "a | b", reduces=True),
    AluOp("bitwise_xor", 28, _BITVEC, _VECTOR, "a ^ b", reduces=True),
    AluOp("bitwise_not", 29, _BITVEC, _VECTOR, "~a", arity=1),
    AluOp("logical_shift_left", 30, _BITVEC, _VECTOR, "a << b; 0 when b >= width"),
    AluOp("logical_shift_right", 31, _BITVEC, _VECTOR, "a >> b, zeros in; 0 when b >= width"),
)

ALU_BY_NAME: dict[str, AluOp] = {op.name: op for op in ALU_OPS}
ALU_BY_CODE: dict[int, AluOp] = {op.code: op for op in ALU_OPS}
