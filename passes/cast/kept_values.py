"""Values that stay float32 whatever auto-cast casts, because rounding them is no small error.

bf16 has 8 bits: 8,001 becomes 8,000, and the sine of that is another number altogether. An ordinary
activation may be rounded, as its effect is in proportion; that of these is not.

* *Positions*: numbers of a type of more than 8 bits that become floats, iotas, and what is computed
  from them alone (with constants and arguments): sums, products, powers, sums over dims. A matrix
  product of positions stays float32 where a sine, cosine or exponential is taken of it, as rotary
  embeddings are written; else its operands are cast like any.
* *Arguments of range*: what a sine, cosine, exponential or power takes, what is rounded to whole
  numbers, compared for equality or converted to integers: with the arithmetic that makes it, back
  to matrix products (whose float32 sums it takes), reductions, and arguments of the program.
* *Statistics*: sums over dims that are subtracted from each other, or from what they are sums of,
  where large numbers may cancel; with the arithmetic in between, and the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron.ops import (
    PRODUCTS,
    VIEWS,
    AbsOp,
    AddOp,
    CeilOp,
    CompareOp,
    ConcatenateOp,
    ConstantOp,
    ConvertOp,
    CosineOp,
    DivideOp,
    DotOp,
    Expm1Op,
    ExpOp,
    FloorOp,
    IotaOp,
    LogOp,
    MaximumOp,
    MinimumOp,
    MultiplyOp,
    NegateOp,
    OpClass,
    PadOp,
    PowerOp,
    ReciprocalOp,
    ReduceOp,
    RemainderOp,
    RoundEvenOp,
    RsqrtOp,
    SelectOp,
    SineOp,
    SqrtOp,
    SquareOp,
    SubtractOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.table import INTEGER
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.uses import defining_op

POSITIONS = "kept: positions, or computed from them"
RANGE = "kept: what a sine, exponential, power, rounding or index is taken of"
STATISTICS = "kept: statistics"

_EXACT_INTEGERS = frozenset({"i8", "ui8"})
"""Integers that bf16 holds nearly all of: no positions, but pictures."""

_ARITHMETIC: frozenset[OpClass] = frozenset({
    AbsOp, AddOp, ConcatenateOp, ConvertOp, DivideOp, LogOp, MaximumOp, MinimumOp, MultiplyOp,
    NegateOp, PadOp, PowerOp, ReciprocalOp, RemainderOp, RsqrtOp, SelectOp, SqrtOp, SquareOp,
    SubtractOp, *VIEWS,
})  # fmt: skip
"""Operations whose result is as exact as their operands."""

_TAKES_RANGE: frozenset[OpClass] = frozenset({
    SineOp, CosineOp, ExpOp, Expm1Op, FloorOp, CeilOp, RoundEvenOp, RemainderOp,
})  # fmt: skip


def kept_values(block: ir.Block) -> dict[ir.Value, str]:
    """Float32 results of the block's operations that stay so, and why."""
    ops = [op.operation for op in block.operations if len(op.operation.results) == 1]
    positions = _positions(ops)
    ranges = _ranges(ops, positions)
    kept = {value: STATISTICS for value in _statistics(ops)}
    kept |= {value: RANGE for value in ranges}
    # A product of positions is expensive: only what needs it has it.
    is_wanted = (v for v in positions if not isa(v.owner, DotOp) or v in ranges)
    return kept | {value: POSITIONS for value in is_wanted}


def _float_operands(op: ir.Operation) -> list[ir.Value]:
    return [v for v in op.operands if _is_f32(v)]


def _is_f32(value: ir.Value) -> bool:
    return element_name(value.type) == "f32"


def _only_of(op: ir.Operation, some: set[ir.Value], others: set[ir.Value]) -> bool:
    """Whether the float operands are among `some`, or `others`, which may not be all of them."""
    operands = _float_operands(op)
    found = [value in some for value in operands]
    return any(found) and all(f or v in others for f, v in zip(found, operands, strict=True))


def _unrounded(ops: Iterable[ir.Operation]) -> set[ir.Value]:
    """Arguments of the block that are read, constants, and views of these."""
    found: set[ir.Value] = set()
    for op in ops:
        found |= {value for value in op.operands if defining_op(value) is None}
        if isa(op, ConstantOp) or (kind_of(op) in VIEWS and op.operands[0] in found):
            found.add(op.results[0])
    return found


def _positions(ops: Sequence[ir.Operation]) -> set[ir.Value]:
    plain, found = _unrounded(ops), set[ir.Value]()
    for op in filter(lambda op: _is_f32(op.results[0]), ops):
        is_computed = kind_of(op) in _ARITHMETIC or isa(op, DotOp) or isa(op, ReduceOp)
        if _begins(op) or (is_computed and _only_of(op, found, plain)):
            found.add(op.results[0])
    return found


def _begins(op: ir.Operation) -> bool:
    """Whether integers of more than 8 bits become floats."""
    if isa(op, IotaOp):
        return True
    source = element_name(op.operands[0].type) if isa(op, ConvertOp) else ""
    return source in INTEGER - _EXACT_INTEGERS


def _ranges(ops: Sequence[ir.Operation], positions: set[ir.Value]) -> set[ir.Value]:
    """Results of the operations that take a range, and what these are taken of, as far back as it
    is arithmetic."""
    found: set[ir.Value] = set()
    for op in reversed(ops):
        result = op.results[0]
        takes = _takes_range(op)
        if takes and _is_f32(result):
            found.add(result)
        if takes or (result in found and _hands_on(op, positions)):
            found |= {v for v in _float_operands(op) if defining_op(v) is not None}
    return {value for value in found if not isa(value.owner, ConstantOp)}


def _takes_range(op: ir.Operation) -> bool:
    if isa(op, CompareOp):
        return ir.StringAttr(op.attributes["direction"]).value == "EQ"
    if isa(op, PowerOp):
        return splat_of(op.operands[1]) is None
    if isa(op, ConvertOp) and element_name(op.results[0].type) in INTEGER:
        return True
    return kind_of(op) in _TAKES_RANGE


def _hands_on(op: ir.Operation, positions: set[ir.Value]) -> bool:
    """Whether an error of the operands is one of the result, too, and they are worth keeping."""
    is_of_positions = isa(op, DotOp) and op.results[0] in positions
    return kind_of(op) in _ARITHMETIC or is_of_positions


def _statistics(ops: Sequence[ir.Operation]) -> set[ir.Value]:
    """Differences of statistics, or from one, and the statistics these are made of."""
    plain, found = _unrounded(ops), set[ir.Value]()
    for op in filter(lambda op: _is_f32(op.results[0]), ops):
        is_sum = isa(op, ReduceOp) and ir.StringAttr(op.attributes["kind"]).value == "sum"
        if is_sum or (kind_of(op) in _ARITHMETIC and _only_of(op, found, plain)):
            found.add(op.results[0])
    wanted: set[ir.Value] = set()
    for op in reversed(ops):
        result = op.results[0]
        if isa(op, SubtractOp) and op.operands[1] in found:
            wanted.add(result)
        if result in wanted:
            wanted |= {value for value in op.operands if value in found}
    return wanted


def keeps_operands(op: ir.Operation, kept: Mapping[ir.Value, str]) -> bool:
    """Whether an operation computes in float32: its result is kept, or no float, but taken of what
    has to be exact. A product whose sums are kept has operands that may be rounded, unless they are
    positions."""
    if not op.results:
        return False
    why = kept.get(op.results[0], "")
    if kind_of(op) in PRODUCTS:
        return why == POSITIONS
    return bool(why) or _takes_range(op)
