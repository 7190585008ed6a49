"""Which 64-bit integers of a program need two words: a question, not a pass.

A value needs one word when its range fits in one, or when no use depends on its high word. Low
words of sums, products and bitwise operations do not depend on high words, so these operations need
the high words of their operands only where the high word of their own result is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.passes.prepare.integer_range import WORD
from axonc.passes.prepare.integer_ranges import IntegerRanges, combination


def is_wide_type(kind: ir.Type) -> bool:
    """Whether it is a tensor of 64-bit integers."""
    return isinstance(kind, ir.RankedTensorType) and element_name(kind) in WORD


def block_arguments(op: ir.Operation) -> list[ir.Value]:
    return [a for region in op.regions for block in region.blocks for a in block.arguments]


def touches_wide_types(op: ir.Operation) -> bool:
    """Whether the operation reads, makes, or has block arguments of 64-bit integers."""
    return any(is_wide_type(v.type) for v in (*op.operands, *op.results, *block_arguments(op)))


def wide_operations(root: ir.Operation) -> list[ir.Operation]:
    """Operations that touch 64-bit integers, outermost first."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if touches_wide_types(op):
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


@dataclass(frozen=True)
class WideValues:
    """What `find_wide_values` finds."""

    values: frozenset[ir.Value]
    """The values that need two words."""
    expanded: int
    """How many operations have to be expanded."""


def find_wide_values(
    operations: Sequence[ir.Operation], ranges: IntegerRanges, forced: Sequence[ir.Value] = ()
) -> WideValues:
    """Among the operations of `wide_operations`. forced: values that get two words in any case."""
    wide, asked = set(forced), set(forced)
    used: set[ir.Value] = set()
    for op in reversed(operations):
        if _is_in_plain_region(op) or _is_dead(op, used):
            continue
        used.update(op.operands)
        # Of the function a use was visited before, as what encloses it comes first.
        values = [*op.results, *_own_arguments(op)]
        wide.update(v for v in values if _needs_two(v, op, asked, ranges))
        asked.update(_asked_of_operands(op, wide))
    found = frozenset(wide)
    expanded = sum(is_expanded(op, found, ranges) for op in operations)
    return WideValues(found, expanded)


def is_expanded(op: ir.Operation, wide: frozenset[ir.Value], ranges: IntegerRanges) -> bool:
    """Whether it reads or makes a value of two words, or its 32-bit form computes something else;
    or an operation of its region does."""
    if any(v in wide for v in (*op.operands, *op.results)) or _differs_in_a_word(op, ranges):
        return True
    inner = [o.operation for r in op.regions for b in r.blocks for o in b.operations]
    return op.name not in PLAIN_REGIONS and any(is_expanded(o, wide, ranges) for o in inner)


def _own_arguments(op: ir.Operation) -> list[ir.Value]:
    return [] if op.name in PLAIN_REGIONS else block_arguments(op)


def _needs_two(
    value: ir.Value, op: ir.Operation, asked: set[ir.Value], ranges: IntegerRanges
) -> bool:
    if not is_wide_type(value.type) or ranges.integers(value).within(
        WORD[element_name(value.type)]
    ):
        return False
    return value in asked or not any(_low_words(op, n) for n in range(max(1, len(op.operands))))


def _asked_of_operands(op: ir.Operation, wide: set[ir.Value]) -> Iterator[ir.Value]:
    """The operands whose high words it reads."""
    results_are_wide = any(v in wide for v in op.results)
    for number, value in enumerate(op.operands):
        if is_wide_type(value.type) and (results_are_wide or not _low_words(op, number)):
            yield value


def _is_dead(op: ir.Operation, used: set[ir.Value]) -> bool:
    """Whether only dead operations use its results, or none."""
    results = list(op.results)
    return bool(results) and not any(
        v in used if is_wide_type(v.type) else list(v.uses) for v in results
    )


PLAIN_REGIONS = frozenset(
    f"stablehlo.{name}" for name in "reduce reduce_window scatter all_reduce reduce_scatter".split()
)
"""Operations whose regions say how two elements become one; not looked into."""


def _is_in_plain_region(op: ir.Operation) -> bool:
    return op.parent is not None and op.parent.operation.name in PLAIN_REGIONS


# ---- what low words depend on --------------------------------------------------------------------


def _every_operand(number: int) -> bool:
    return True


def _low_words(op: ir.Operation, number: int) -> bool:
    """Whether low words of the result depend only on the low words of this operand."""
    name = op.name.removeprefix("stablehlo.")
    test = _LOW_WORDS.get(name)
    if test is not None:
        return test(number)
    if name == "convert":
        return _is_low_word_conversion(op)
    if name in ("reduce", "reduce_window"):
        return len(op.operands) == 2 and combination(op) in _MODULAR
    if name == "scatter":
        kind = combination(op)
        returns_new = len(list(op.regions[0].blocks[0].operations)) == 1
        return number != 1 and (returns_new or kind in _MODULAR)
    return False


def _is_low_word_conversion(op: ir.Operation) -> bool:
    """Between integers; from floats and to booleans is another matter."""
    source, target = (element_name(v.type) for v in (op.operands[0], op.results[0]))
    return source.lstrip("ui").isdigit() and target.lstrip("ui").isdigit() and target != "i1"


_MODULAR = frozenset(("add", "multiply", "and", "or", "xor"))

_LOW_WORDS: Mapping[str, Callable[[int], bool]] = {
    **dict.fromkeys(
        "add all_gather all_to_all and broadcast broadcast_in_dim collective_permute concatenate "
        "constant copy dot dot_general iota multiply negate not optimization_barrier or pad "
        "reshape reverse slice subtract transpose xor".split(),
        _every_operand,
    ),
    "dynamic_slice": lambda number: number == 0,
    "dynamic_update_slice": lambda number: number < 2,
    "gather": lambda number: number == 0,
    "select": lambda number: number > 0,
    "shift_left": lambda number: number == 0,
}
"""By operation: of which operands only low words matter for low words."""


def _differs_in_a_word(op: ir.Operation, ranges: IntegerRanges) -> bool:
    """Whether its 32-bit form computes something else even when all its values fit in a word."""
    test = _DIFFERING.get(op.name)
    return test is not None and touches_wide_types(op) and test(op, ranges)


def _may_be_negative(op: ir.Operation, ranges: IntegerRanges) -> bool:
    return not ranges.integers(op.operands[0]).is_natural


_DIFFERING: Mapping[str, Callable[[ir.Operation, IntegerRanges], bool]] = {
    "stablehlo.bitcast_convert": lambda op, ranges: True,
    "stablehlo.count_leading_zeros": lambda op, ranges: True,
    "stablehlo.popcnt": _may_be_negative,
    "stablehlo.shift_right_logical": _may_be_negative,
}
