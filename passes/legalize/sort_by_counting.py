"""Sorting by counting: part of `legalize-to-neuron`.

The place of an element among the sorted is the number of elements before it. Every element is
compared with every other, by the comparator of the sort applied to whole tensors; sums of the
outcomes are the places, and an element goes to the place that equals its own. The engines do that
in a few long instructions, where a network of exchanges would be many short ones; the work grows
with the square of the length, so long dims are for the network (sort.py).

Equal elements stay in order, whether the sort asks for that or not. Zeros lose their sign.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.attributes import element_name, integer
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import FLOAT
from axonc.passes.graph.fold_constants import fold
from axonc.passes.legalize.region_on_tensors import apply_region


def sort_by_counting(op: ir.Operation, dim: int) -> tuple[ir.Value, ...]:
    """The operands of `stablehlo.sort`, sorted along the dim.

    Raises:
        Unsupported: an operation in the comparator that is not elementwise.
    """
    rank = op.operands[0].type.rank
    last = [d for d in range(rank) if d != dim] + [dim]
    values = [fold(build.transpose(v, last)) for v in op.operands]
    places = _places(op.regions[0], values)
    back = [last.index(d) for d in range(rank)]
    return tuple(build.transpose(_moved(v, places), back) for v in values)


def _places(comparator: ir.Region, values: Sequence[ir.Value]) -> ir.Value:
    """[..., n] float32: how many elements stand before each."""
    rank = values[0].type.rank
    every, each = (_pairs(values, rank, missing) for missing in (rank - 1, rank))
    # [..., n of each, n of every]: is `every` before `each`?
    before = _compared(comparator, every, each)
    after = _compared(comparator, each, every)
    kind = before.type
    equal = build.create("not", (build.create("or", (before, after), kind),), kind)
    tied = build.create("and", (equal, _is_earlier(kind)), kind)
    counted = build.create("or", (before, tied), kind)
    return build.reduce(build.convert(counted, ir.F32Type.get()), "sum", [rank])


def _compared(
    comparator: ir.Region, left: Sequence[ir.Value], right: Sequence[ir.Value]
) -> ir.Value:
    """The comparator on whole tensors."""
    arguments = [v for pair in zip(left, right, strict=True) for v in pair]
    return apply_region(comparator, arguments, "sort that compares", "compare the elements")[0]


def _pairs(values: Sequence[ir.Value], rank: int, missing: int) -> list[ir.Value]:
    """[..., n] as [..., n, n], repeated along dim `missing`."""
    dims = [d for d in range(rank + 1) if d != missing]
    return [_repeated(value, dims) for value in values]


def _repeated(value: ir.Value, dims: Sequence[int]) -> ir.Value:
    shape = build.shape_of(value)
    return fold(build.broadcast(value, (*shape, shape[-1]), dims))


def _is_earlier(kind: ir.RankedTensorType) -> ir.Value:
    """[..., n of each, n of every] i1: whether `every` came first."""
    wide = build.tensor(list(kind.shape), ir.IntegerType.get_signless(32))
    each, every = (
        build.create("iota", (), wide, {"dimension": integer(d)})
        for d in (wide.rank - 2, wide.rank - 1)
    )
    return build.compare(every, each, "LT")


def _moved(value: ir.Value, places: ir.Value) -> ir.Value:
    """Elements at their places: of [..., place, element] one in each row is chosen."""
    rank = value.type.rank
    elements = _repeated(value, [*range(rank - 1), rank])
    wanted = _repeated(places, [*range(rank - 1), rank])
    here = build.create("iota", (), wanted.type, {"dimension": integer(rank - 1)})
    chosen = build.compare(wanted, here, "EQ")
    if element_name(value.type) == "i1":
        return build.reduce(build.create("and", (chosen, elements), chosen.type), "or", [rank])
    kind, others = _choice(element_name(value.type))
    filling = build.splat_constant(others, elements.type)
    kept = build.create("select", (chosen, elements, filling), elements.type)
    return build.reduce(kept, kind, [rank])


def _choice(name: str) -> tuple[str, int]:
    """A reduction, and what the elements it should not see are to be. Floats are added to zeros:
    the infinities that a maximum would need must not be transposed."""
    if name in FLOAT:
        return "sum", 0
    return "max", 0 if name.startswith("u") else -(2 ** (int(name.lstrip("i")) - 1))
