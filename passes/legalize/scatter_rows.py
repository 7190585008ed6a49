"""StableHLO scatters as rows that are put into a table: part of `legalize-to-neuron`.

`neuron.scatter_rows` combines in float32, which is exact for what it sets, and is what floats are
added, and compared, in. Integers are cut into parts that float32 holds:

* sums: digits of so few bits that the sum of all windows is below 2^24; the sums of digits are
  shifted and added to the operand in the integer type, which wraps, as the sum of the numbers does;
* 32-bit max and min: first of the high halves; then of the low halves of those numbers whose high
  half is the one that was found. Of two numbers the one with the larger high half is larger, and
  of equal high halves the one with the larger low half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import INTEGER
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.legalize.indexed_windows import (
    IndexedWindows,
    are_inside,
    flat_table,
    row_numbers,
    windows_of_scatter,
)

EXACT_SUM = 2**24
"""Integers up to here are float32 numbers."""

MOST_UNMOVED_ROWS = 4096
"""Of a table whose indexed dims are not its first ones: up to here dims before them are rows, too,
so that the table need not be transposed, there and back."""

HALF_BITS = 16


@dataclass(frozen=True)
class Kind:
    """What one result of a scatter is made by: set, add, max or min."""

    name: str
    passes: int = 1
    """Transfers for a tile of rows."""


def kinds_of(op: ir.Operation) -> list[Kind] | None:
    """How the scattered tensors are combined; None if one is not by rows."""
    count = len(op.operands) // 2
    block = op.regions[0].blocks[0]
    final = list(block.operations)[-1].operation
    arguments = list(block.arguments)
    found = [
        _kind_of(value, arguments[i], arguments[count + i], element_name(op.operands[i].type))
        for i, value in enumerate(final.operands)
    ]
    known = [kind for kind in found if kind is not None]
    return known if len(known) == len(found) else None


def _kind_of(value: ir.Value, old: ir.Value, new: ir.Value, element: str) -> Kind | None:
    if value == new:
        return Kind("set")
    owner = value.owner
    if isinstance(owner, ir.Block) or set(owner.operands) != {old, new}:
        return None
    table = _BOOLEAN_KINDS if element == "i1" else _KINDS
    name = table.get(owner.operation.name)
    if name is None:
        return None
    is_word = element in ("i32", "ui32")
    passes = 3 if is_word and name != "add" else 1
    return Kind(name, passes)


_KINDS = {"stablehlo.add": "add", "stablehlo.maximum": "max", "stablehlo.minimum": "min"}
_BOOLEAN_KINDS = {
    "stablehlo.add": "max",
    "stablehlo.or": "max",
    "stablehlo.maximum": "max",
    "stablehlo.multiply": "min",
    "stablehlo.and": "min",
    "stablehlo.minimum": "min",
}
"""Of truth values, 0 and 1: or is the larger, and the smaller one."""


@dataclass(frozen=True)
class _Rows:
    """The rows of a table that a scatter writes."""

    it: IndexedWindows
    indices: ir.Value
    """[m]: the row of each, -1 for what is dropped."""
    windows: int
    """How many windows there are, each of which reaches a row once at most."""

    def table(self, operand: ir.Value) -> ir.Value:
        """[rows, ...kept] of a scattered tensor."""
        return flat_table(self.it, operand)

    def of(self, updates: ir.Value) -> ir.Value:
        """[m, ...kept] of its updates."""
        it = self.it
        kept = [it.shape[d] for d in it.kept]
        dims = [*it.rows_shape, *kept]
        apart = fold(build.reshape(updates, [dims[p] for p in it.order]))
        back = fold(build.transpose(apart, [it.order.index(d) for d in range(len(dims))]))
        return fold(build.reshape(back, [math.prod(it.rows_shape), *kept]))

    def back(self, table: ir.Value) -> ir.Value:
        """The tensor of a table."""
        it = self.it
        front = [*it.numbered, *it.kept]
        apart = fold(build.reshape(table, [it.shape[d] for d in front]))
        return fold(build.transpose(apart, [front.index(d) for d in range(len(front))]))


def scatter_by_rows(op: ir.Operation, kinds: list[Kind]) -> tuple[ir.Value, ...]:
    """The scattered tensors.

    Raises:
        Unsupported: too many rows.
    """
    count = len(kinds)
    it = row_windows(windows_of_scatter(op))
    rows = _Rows(it, _indices(it), math.prod(it.places))
    results = []
    for i, kind in enumerate(kinds):
        element = element_name(op.operands[i].type)
        rule = _RULES[kind.name] if element in INTEGER else _plain
        table, updates = rows.table(op.operands[i]), rows.of(op.operands[count + 1 + i])
        results.append(rows.back(rule(rows, table, updates, kind.name)))
    return tuple(results)


def row_windows(it: IndexedWindows) -> IndexedWindows:
    """With the dims flattened before which a window is not whole, and those before indexed ones
    where that makes few rows."""
    partial = {d for d in it.kept if it.sizes[d] != it.shape[d]}
    wanted = replace(it, whole=frozenset(partial))
    before = {d for d in wanted.kept if d < max(wanted.numbered, default=0)}
    prefix = replace(it, whole=frozenset(partial | before))
    return prefix if math.prod(prefix.rows_shape) <= MOST_UNMOVED_ROWS else wanted


def _indices(it: IndexedWindows) -> ir.Value:
    """[m] i32."""
    word = ir.IntegerType.get_signless(32)
    numbers = build.convert(row_numbers(it), word)
    inside = are_inside(it)
    if inside is not None:
        none = build.splat_constant(-1, numbers.type)
        numbers = fold(build.create("select", (inside, numbers, none), numbers.type))
    return fold(build.reshape(numbers, [math.prod(it.rows_shape)]))


# ---- how rows are combined -----------------------------------------------------------------------


def _plain(rows: _Rows, table: ir.Value, updates: ir.Value, kind: str) -> ir.Value:
    return build.scatter_rows(table, rows.indices, updates, kind)


def _sum(rows: _Rows, table: ir.Value, updates: ir.Value, kind: str) -> ir.Value:
    """Of integers, by digits. A digit that all updates have as 0 needs no table."""
    element = element_name(table.type)
    bits = max(1, (EXACT_SUM // rows.windows).bit_length() - 1)
    word = _word(element)
    numbers = build.convert(updates, word)
    total = build.convert(table, word)
    for shift in range(0, int(element.lstrip("ui")), bits):
        digits = _digit(numbers, shift, bits)
        if splat_of(digits) == 0:
            continue
        empty = build.splat_constant(0, total.type)
        sums = build.scatter_rows(empty, rows.indices, digits, "add")
        total = build.create("add", (total, _shifted(sums, shift)), total.type)
    return build.convert(total, table.type.element_type)


def _extreme(rows: _Rows, table: ir.Value, updates: ir.Value, kind: str) -> ir.Value:
    """Of integers; those of 32 bits by halves."""
    if element_name(table.type) not in ("i32", "ui32"):
        return _plain(rows, table, updates, kind)
    old, new = (_halves(v) for v in (table, updates))
    high = build.scatter_rows(old[0], rows.indices, new[0], kind)
    least = -1 if kind == "max" else 2**HALF_BITS
    there = build.gather_rows(high, rows.indices)
    table_low = _where_equal(old[0], high, old[1], least)
    low = build.scatter_rows(
        table_low, rows.indices, _where_equal(new[0], there, new[1], least), kind
    )
    word = build.create("or", (_shifted(high, HALF_BITS), low), high.type)
    return build.convert(word, table.type.element_type)


def _halves(value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(high, low) 16 bits of 32-bit integers, as i32; high with their sign."""
    distance = build.splat_constant(HALF_BITS, value.type)
    how = "shift_right_arithmetic" if element_name(value.type) == "i32" else "shift_right_logical"
    high = fold(build.create(how, (value, distance), value.type))
    word = ir.IntegerType.get_signless(32)
    return build.convert(high, word), build.convert(_digit(value, 0, HALF_BITS), word)


def _where_equal(a: ir.Value, b: ir.Value, value: ir.Value, other: int) -> ir.Value:
    """`value` where a = b, else a number."""
    filling = build.splat_constant(other, value.type)
    equal = build.compare(a, b, "EQ")
    return build.create("select", (equal, value, filling), value.type)


def _word(element: str) -> ir.Type:
    unsigned = element == "ui32"
    return ir.IntegerType.get_unsigned(32) if unsigned else ir.IntegerType.get_signless(32)


def _digit(word: ir.Value, shift: int, bits: int) -> ir.Value:
    """`bits` bits of 32-bit integers from `shift` on."""
    moved = word
    if shift:
        distance = build.splat_constant(shift, word.type)
        moved = fold(build.create("shift_right_logical", (word, distance), word.type))
    mask = build.splat_constant(2**bits - 1, word.type)
    return fold(build.create("and", (moved, mask), word.type))


def _shifted(value: ir.Value, bits: int) -> ir.Value:
    if not bits:
        return value
    distance = build.splat_constant(bits, value.type)
    return build.create("shift_left", (value, distance), value.type)


_RULES: dict[str, Callable[[_Rows, ir.Value, ir.Value, str], ir.Value]] = {
    "set": _plain,
    "add": _sum,
    "max": _extreme,
    "min": _extreme,
}
"""For integers, by kind."""
