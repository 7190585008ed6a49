"""Elementwise expressions as small Python objects, and constructors for what the engines compute.

The vocabulary of a rewritten expression (what emit.py covers with instructions):

* `leaf`, `constant`;
* `add subtract multiply maximum minimum power`: float32, or exact 32-bit integers when `dtype` is
  i32 or u32; `compare` likewise, by the dtypes of its operands; result of compare: u8, 0 or 1;
* `divide mod`: float32; the quotient is correctly rounded, the remainder has the sign of b;
* `bit_and bit_or bit_xor shift_left shift_right`: on the bits of integers, operands of `dtype`;
* `logical_and logical_or logical_xor`: of booleans;
* `reciprocal rsqrt`, and `table_*`: one function of ScalarE's tables;
* `select(predicate, on_true, on_false)`;
* `cast`: through float32, to nearest even, saturating; `bits`: the same 4 bytes as another type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, I32, U8, U32, DType


def is_bool(mlir_type: ir.Type) -> bool:
    return str(getattr(mlir_type, "element_type", mlir_type)) == "i1"


@dataclass(eq=False)
class Expression:
    """A node of an elementwise expression: an operator and its arguments, or a leaf."""

    op: str
    """A name of the module docstring (before rewriting: that of a neuron op without its
    dialect)."""
    args: tuple[Expression, ...]
    dtype: DType
    value: float = 0.0
    direction: str = ""
    argument: int = -1
    """For a leaf, the number of the region's argument."""
    broadcast: tuple[int, ...] | None = None
    """For a leaf, the dims map of the broadcast applied to it; None: it has the full shape."""
    is_bool: bool = False
    """Whether the MLIR type is i1."""
    uses: int = field(default=0)
    """How many nodes read it."""

    @property
    def is_constant(self) -> bool:
        return self.op == "constant"

    @property
    def is_word(self) -> bool:
        """Whether it holds 32-bit integers, which float32 does not."""
        return self.dtype in WORDS


WORDS = (I32, U32)
Operand = Expression | float


def constant(value: float, dtype: DType = F32) -> Expression:
    """A number, rounded to `dtype`."""
    if dtype.is_float:
        with np.errstate(all="ignore"):  # overflow to infinity is what the type says
            value = float(np.array(value, np.float64).astype(dtype.numpy))
    return Expression("constant", (), dtype, value=float(value))


def node(op: str, *args: Operand, dtype: DType = F32) -> Expression:
    """A node of the rewritten vocabulary; numbers become constants of its dtype."""
    made = tuple(a if isinstance(a, Expression) else constant(a, dtype) for a in args)
    return Expression(op, made, dtype)


# ---- float32 -------------------------------------------------------------------------------


def add(a: Operand, b: Operand) -> Expression:
    return node("add", a, b)


def subtract(a: Operand, b: Operand) -> Expression:
    return node("subtract", a, b)


def multiply(a: Operand, b: Operand) -> Expression:
    return node("multiply", a, b)


def clamp(low: float, x: Expression, high: float) -> Expression:
    return node("minimum", node("maximum", x, low), high)


def magnitude(x: Expression) -> Expression:
    return node("table_abs", x)


def is_positive_zero(x: Expression) -> bool:
    """Whether it is the constant +0, which is not the neutral element of a sum (-0 is)."""
    return x.is_constant and x.value == 0.0 and math.copysign(1.0, x.value) > 0


SIGN_BIT = 2.0**31


def with_sign_of(size: Expression, x: Expression) -> Expression:
    """`size` with the sign of x, where `size` is zero or has that sign already, or is positive."""
    if bounds(x)[0] > 0 or x.op in _NEVER_NEGATIVE:
        return size
    sign = node("bit_and", bits(cast(x, F32), U32), SIGN_BIT, dtype=U32)
    return bits(node("bit_or", bits(size, U32), sign, dtype=U32), F32)


_NEVER_NEGATIVE = ("table_abs", "table_exp", "table_relu", "table_sigmoid", "table_square")
"""Their zeros are +0."""


def without_sign_of_zero(x: Expression) -> Expression:
    """The size of which `with_sign_of` made `x` (only it makes such floats of bits), else `x`: for
    readers to whom a number with the sign of x is as good."""
    if x.op == "bits" and x.dtype == F32 and x.args[0].op == "bit_or":
        size = x.args[0].args[0]
        return size.args[0] if size.op == "bits" else size
    return x


# ---- any type ------------------------------------------------------------------------------


def compare(a: Expression, direction: str, b: Operand) -> Expression:
    other = b if isinstance(b, Expression) else constant(b, a.dtype)
    return Expression("compare", (a, other), U8, direction=direction, is_bool=True)


def select(predicate: Expression, on_true: Operand, on_false: Operand, dtype: DType) -> Expression:
    """on_true and on_false are cast to `dtype` where they differ."""
    values = [v if isinstance(v, Expression) else constant(v, dtype) for v in (on_true, on_false)]
    return node("select", predicate, *(cast(v, dtype) for v in values), dtype=dtype)


def cast(x: Expression, dtype: DType) -> Expression:
    """Through float32, to nearest even; out-of-range values become the limits of an integer."""
    if x.dtype == dtype:
        return x
    return (
        constant(x.value, dtype)
        if x.is_constant and dtype.is_float
        else node("cast", x, dtype=dtype)
    )


def bits(x: Expression, dtype: DType) -> Expression:
    """The bytes of `x` under another dtype of the same size."""
    if x.dtype == dtype:
        return x
    if x.is_constant:
        return constant(float(_stored(x).view(dtype.numpy)), dtype)
    return node("bits", x, dtype=dtype)


def _stored(x: Expression) -> np.ndarray:
    """A constant as it lies in memory. Integers wrap."""
    value = np.array(x.value)
    return (value if x.dtype.is_float else value.astype(np.int64)).astype(x.dtype.numpy)


def in_dtype(x: Expression, dtype: DType) -> Expression:
    """A freshly made float32 result stored as `dtype`: its last operation rounds."""
    if x.dtype == dtype:
        return x
    if x.args and x.op not in ("select", "cast", "bits"):
        return replace(x, dtype=dtype)
    return cast(x, dtype)


# ---- what is known about a value -----------------------------------------------------------

_INFINITE = (-math.inf, math.inf)
MAX_DEPTH = 8
"""How far `bounds` looks down: it must not take long on shared subexpressions."""


def bounds(x: Expression, depth: int = MAX_DEPTH) -> tuple[float, float]:
    """An interval that holds every value of `x` that is a number."""
    if x.is_constant:
        return (x.value, x.value)
    if x.op in _RANGES:
        return _RANGES[x.op]
    if depth and x.op in _BOUNDS and x.dtype.is_float:
        return _BOUNDS[x.op](*(bounds(arg, depth - 1) for arg in x.args))
    if x.is_bool:
        return (0.0, 1.0)
    if x.dtype.is_float:
        return _INFINITE
    limits = np.iinfo(x.dtype.numpy)
    return (float(limits.min), float(limits.max))


Interval = tuple[float, float]


def _exp_bounds(a: Interval) -> Interval:
    low, high = (math.exp(min(limit, 700.0)) if limit > -700 else 0.0 for limit in a)
    return (low, math.inf if a[1] > 88 else high)


def _abs_bounds(a: Interval) -> Interval:
    return (max(0.0, a[0], -a[1]), max(-a[0], a[1]))


def _sum_bounds(a: Interval, b: Interval) -> Interval:
    low, high = a[0] + b[0], a[1] + b[1]
    return (-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)


def _product_bounds(a: Interval, b: Interval) -> Interval:
    corners = [x * y for x in a for y in b]
    return _INFINITE if any(math.isnan(c) for c in corners) else (min(corners), max(corners))


_RANGES: dict[str, Interval] = {
    "table_sigmoid": (0.0, 1.0),
    "table_tanh": (-1.0, 1.0),
    "table_erf": (-1.0, 1.0),
    "table_sin": (-1.0, 1.0),
    "table_sign": (-1.0, 1.0),
}

_BOUNDS: dict[str, Callable[..., Interval]] = {
    "table_exp": _exp_bounds,
    "table_abs": _abs_bounds,
    "table_relu": lambda a: (max(a[0], 0.0), max(a[1], 0.0)),
    "table_square": lambda a: (0.0, max(a[0] * a[0], a[1] * a[1])),
    "add": _sum_bounds,
    "subtract": lambda a, b: _sum_bounds(a, (-b[1], -b[0])),
    "multiply": _product_bounds,
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "select": lambda p, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    "cast": lambda a: a,
}
"""Interval of a float result from those of the operands."""


def is_whole(x: Expression, depth: int = MAX_DEPTH) -> bool:
    """Whether every value is known to be an integer (or not finite)."""
    if x.is_constant:
        return float(x.value).is_integer()
    if not x.dtype.is_float or x.op == "table_sign":
        return True
    size = without_sign_of_zero(x)
    if size is not x:
        return is_whole(size, depth)
    if not depth or x.op not in _WHOLE_FROM_WHOLE:
        return False
    return all(is_whole(arg, depth - 1) for arg in x.args)


_WHOLE_FROM_WHOLE = ("cast", "add", "subtract", "multiply", "maximum", "minimum", "select")


def resting_places(root: Expression, levels: int) -> list[Expression]:
    """Expressions below `root`, operands before what reads them, such that no more than `levels`
    levels lie between one and the next, a leaf, or the root."""
    above: dict[int, int] = {}
    found: list[Expression] = []
    stack = [(root, False)]
    while stack:
        e, is_ready = stack.pop()
        if id(e) in above:
            continue
        if not is_ready:
            stack.append((e, True))
            stack += [(arg, False) for arg in reversed(e.args)]
            continue
        above[id(e)] = 1 + max((above[id(arg)] for arg in e.args), default=-1)
        if above[id(e)] == levels and e is not root:
            found.append(e)
            above[id(e)] = 0
    return found
