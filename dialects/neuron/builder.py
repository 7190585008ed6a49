"""Creates neuron operations at the current insertion point from plain Python values.

Quicker than the class constructors (1.5 us against 14), and computes result types where they
follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from torch_mlir import ir

from axonc.dialects.attributes import integer, integer_array, integer_list_array, integers, splat
from axonc.dialects.neuron.ops import RUNS
from axonc.dialects.neuron.rules import dot_shape

DOT_DIMS = ("lhs_batch", "rhs_batch", "lhs_contract", "rhs_contract")
VARIADIC = frozenset(
    f"neuron.{name}" for name in ("concatenate", "convolution", "dot", "fused", "sort")
)


def tensor(shape: Sequence[int], element: ir.Type) -> ir.RankedTensorType:
    """A tensor type."""
    return ir.RankedTensorType.get(list(shape), element)


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Shape of a tensor value."""
    return tuple(value.type.shape)


def create(
    name: str,
    operands: Sequence[ir.Value],
    kind: ir.Type,
    attributes: Mapping[str, ir.Attribute] | None = None,
    loc: ir.Location | None = None,
) -> ir.Value:
    """The result of a new `neuron.<name>` without region."""
    op = ir.Operation.create(
        f"neuron.{name}", [kind], list(operands), dict(attributes or {}), loc=loc
    )
    return op.results[0]


def constant(attribute: ir.Attribute, loc: ir.Location | None = None) -> ir.Value:
    """A `neuron.constant` of a dense elements attribute."""
    return create("constant", (), attribute.type, {"value": attribute}, loc)


def splat_constant(
    number: float | int, kind: ir.RankedTensorType, loc: ir.Location | None = None
) -> ir.Value:
    """A `neuron.constant` whose elements are all `number`."""
    return constant(splat(number, kind), loc)


def compare(a: ir.Value, b: ir.Value, direction: str, loc: ir.Location | None = None) -> ir.Value:
    """a `direction` b, as i1."""
    kind = tensor(shape_of(a), ir.IntegerType.get_signless(1))
    return create("compare", (a, b), kind, {"direction": ir.StringAttr.get(direction)}, loc)


def convert(value: ir.Value, element: ir.Type, loc: ir.Location | None = None) -> ir.Value:
    """`value` with another element type; itself when it has that type."""
    if value.type.element_type == element:
        return value
    return create("convert", (value,), tensor(shape_of(value), element), None, loc)


def bitcast(value: ir.Value, element: ir.Type) -> ir.Value:
    """The bits of `value` in another element type of the same width."""
    if value.type.element_type == element:
        return value
    return create("bitcast", (value,), tensor(shape_of(value), element))


def reshape(value: ir.Value, shape: Sequence[int], loc: ir.Location | None = None) -> ir.Value:
    """`value` under another shape; itself when it has that shape."""
    if shape_of(value) == tuple(shape):
        return value
    return create("reshape", (value,), tensor(shape, value.type.element_type), None, loc)


def transpose(
    value: ir.Value, permutation: Sequence[int], loc: ir.Location | None = None
) -> ir.Value:
    """`value` with dims permuted; itself when the permutation is the identity."""
    if list(permutation) == list(range(len(permutation))):
        return value
    shape = [value.type.shape[p] for p in permutation]
    attributes = {"permutation": integer_array(permutation)}
    return create("transpose", (value,), tensor(shape, value.type.element_type), attributes, loc)


def broadcast(
    value: ir.Value, shape: Sequence[int], dims: Sequence[int], loc: ir.Location | None = None
) -> ir.Value:
    """`value` repeated to `shape`; itself when nothing repeats."""
    if shape_of(value) == tuple(shape) and list(dims) == list(range(len(dims))):
        return value
    kind = tensor(shape, value.type.element_type)
    return create("broadcast", (value,), kind, {"dims": integer_array(dims)}, loc)


def slice_(
    value: ir.Value,
    start: Sequence[int],
    limit: Sequence[int],
    strides: Sequence[int] | None = None,
    loc: ir.Location | None = None,
) -> ir.Value:
    """value[start:limit:strides] in each dim."""
    strides = strides or [1] * len(start)
    sizes = [-(-(b - a) // s) for a, b, s in zip(start, limit, strides, strict=True)]
    attributes = {
        "start": integer_array(start),
        "limit": integer_array(limit),
        "strides": integer_array(strides),
    }
    return create("slice", (value,), tensor(sizes, value.type.element_type), attributes, loc)


def dynamic_slice(
    value: ir.Value,
    starts: ir.Value,
    dims: Sequence[int],
    start: Sequence[int],
    sizes: Sequence[int],
    loc: ir.Location | None = None,
) -> ir.Value:
    """`sizes` elements of `value` from starts[j] along dims[j], from `start` along other dims."""
    attributes = {
        "dims": integer_array(dims),
        "start": integer_array(start),
        "sizes": integer_array(sizes),
    }
    kind = tensor(sizes, value.type.element_type)
    return create("dynamic_slice", (value, starts), kind, attributes, loc)


def dynamic_update_slice(
    value: ir.Value,
    update: ir.Value,
    starts: ir.Value,
    dims: Sequence[int],
    start: Sequence[int],
    loc: ir.Location | None = None,
) -> ir.Value:
    """`value` with `update` at the place that `dynamic_slice` would read."""
    attributes = {"dims": integer_array(dims), "start": integer_array(start)}
    return create("dynamic_update_slice", (value, update, starts), value.type, attributes, loc)


def concatenate(
    values: Sequence[ir.Value], dimension: int, loc: ir.Location | None = None
) -> ir.Value:
    """Values one after the other; nested when their types change more than RUNS times."""
    if len(values) == 1:
        return values[0]
    head, rest = _first_runs(values)
    if rest:
        return concatenate([concatenate(head, dimension, loc), *rest], dimension, loc)
    shape = list(shape_of(values[0]))
    shape[dimension] = sum(shape_of(v)[dimension] for v in values)
    attributes = {
        "dimension": integer(dimension),
        "operandSegmentSizes": operand_runs([v.type for v in values]),
    }
    return create(
        "concatenate", values, tensor(shape, values[0].type.element_type), attributes, loc
    )


def _first_runs(values: Sequence[ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
    """The operands of the first RUNS runs, and the others."""
    runs = [list(group) for _, group in groupby(values, key=lambda v: str(v.type))]
    return sum(runs[:RUNS], []), sum(runs[RUNS:], [])


def operand_runs(kinds: Sequence[ir.Type]) -> ir.Attribute:
    """`operandSegmentSizes` for operands of these types.

    Raises:
        ValueError: the type changes more often than an operation can say.
    """
    sizes = [len(list(group)) for _, group in groupby(map(str, kinds))]
    if len(sizes) > RUNS:
        raise ValueError(
            f"operand types change {len(sizes)} times, at most {RUNS} runs are possible"
        )
    return ir.DenseI32ArrayAttr.get(sizes + [0] * (RUNS - len(sizes)))


def pad(
    value: ir.Value,
    filling: ir.Value,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int],
    loc: ir.Location | None = None,
) -> ir.Value:
    """`value` with copies of the scalar `filling` around and between its elements; itself when
    there are none."""
    if not any((*low, *high, *interior)):
        return value
    sizes = [
        a + size + max(size - 1, 0) * between + b
        for a, b, between, size in zip(low, high, interior, shape_of(value), strict=True)
    ]
    attributes = {
        "low": integer_array(low),
        "high": integer_array(high),
        "interior": integer_array(interior),
    }
    kind = tensor(sizes, value.type.element_type)
    return create("pad", (value, filling), kind, attributes, loc)


def reduce(
    value: ir.Value, kind: str, dims: Sequence[int], loc: ir.Location | None = None
) -> ir.Value:
    """`kind` over `dims`, which vanish."""
    shape = [s for i, s in enumerate(shape_of(value)) if i not in dims]
    attributes = {"kind": ir.StringAttr.get(kind), "dims": integer_array(dims)}
    return create("reduce", (value,), tensor(shape, value.type.element_type), attributes, loc)


Groups = Sequence[Sequence[int]]
"""Cores of each group; for collective_permute (source, target) pairs."""


def all_reduce(value: ir.Value, kind: str, groups: Groups) -> ir.Value:
    """`kind` over the cores of each group."""
    attributes = {"kind": ir.StringAttr.get(kind), "groups": integer_list_array(groups)}
    return create("all_reduce", (value,), value.type, attributes)


def all_gather(value: ir.Value, groups: Groups) -> ir.Value:
    """[size of a group, ...shape of value]."""
    kind = tensor((len(groups[0]), *shape_of(value)), value.type.element_type)
    return create("all_gather", (value,), kind, {"groups": integer_list_array(groups)})


def reduce_scatter(value: ir.Value, kind: str, groups: Groups) -> ir.Value:
    """The first dim of `value` is the size of a group; it vanishes."""
    attributes = {"kind": ir.StringAttr.get(kind), "groups": integer_list_array(groups)}
    result = tensor(shape_of(value)[1:], value.type.element_type)
    return create("reduce_scatter", (value,), result, attributes)


def all_to_all(value: ir.Value, groups: Groups) -> ir.Value:
    """The first dim of `value` is the size of a group."""
    return create("all_to_all", (value,), value.type, {"groups": integer_list_array(groups)})


def collective_permute(value: ir.Value, pairs: Groups) -> ir.Value:
    """`value` of the core that sends it here."""
    return create("collective_permute", (value,), value.type, {"pairs": integer_list_array(pairs)})


def partition_id() -> ir.Value:
    """The number of the core, a ui32."""
    return create("partition_id", (), tensor((), ir.IntegerType.get_unsigned(32)))


def gather_rows(table: ir.Value, indices: ir.Value, loc: ir.Location | None = None) -> ir.Value:
    """Rows of `table` by index."""
    kind = tensor(shape_of(indices) + shape_of(table)[1:], table.type.element_type)
    return create("gather_rows", (table, indices), kind, None, loc)


def scatter_rows(table: ir.Value, indices: ir.Value, rows: ir.Value, kind: str) -> ir.Value:
    """`table` with `rows` put, or combined by `kind`, where the indices say."""
    attributes = {"kind": ir.StringAttr.get(kind)}
    return create("scatter_rows", (table, indices, rows), table.type, attributes)


def dot_dims(op: ir.Operation) -> tuple[tuple[int, ...], ...]:
    """lhs_batch, rhs_batch, lhs_contract, rhs_contract of a `neuron.dot`."""
    return tuple(integers(op.attributes[name]) for name in DOT_DIMS)


def dot(
    lhs: ir.Value,
    rhs: ir.Value,
    dims: Sequence[Sequence[int]],
    element: ir.Type,
    loc: ir.Location | None = None,
) -> ir.Value:
    """A dot without epilogue; `dims` in the order of DOT_DIMS, `element` of the result."""
    kind = tensor(dot_shape(shape_of(lhs), shape_of(rhs), *map(tuple, dims)), element)
    return dot_with_epilogue(lhs, rhs, (), dims, kind, None, loc)


RegionBuilder = Callable[[Sequence[ir.Value]], ir.Value]
"""Given a region's arguments, emits its body and returns the value it yields."""


def dot_with_epilogue(
    lhs: ir.Value,
    rhs: ir.Value,
    extras: Sequence[ir.Value],
    dims: Sequence[Sequence[int]],
    kind: ir.RankedTensorType,
    epilogue: RegionBuilder | None,
    loc: ir.Location | None = None,
) -> ir.Value:
    """A dot; `epilogue` gets the f32 accumulator and the extras."""
    operands = [lhs, rhs, *extras]
    attributes: dict[str, ir.Attribute] = {
        name: integer_array(d) for name, d in zip(DOT_DIMS, dims, strict=True)
    }
    attributes["operandSegmentSizes"] = operand_runs([v.type for v in operands])
    op = ir.Operation.create("neuron.dot", [kind], operands, attributes, regions=1, loc=loc)
    if epilogue:
        accumulator = tensor(kind.shape, ir.F32Type.get())
        fill_region(op, [accumulator, *(e.type for e in extras)], epilogue)
    return op.results[0]


def fused(
    inputs: Sequence[ir.Value],
    kind: ir.RankedTensorType,
    body: RegionBuilder,
    loc: ir.Location | None = None,
) -> ir.Value:
    """A fused elementwise graph over `inputs`."""
    attributes = {"operandSegmentSizes": operand_runs([v.type for v in inputs])}
    op = ir.Operation.create("neuron.fused", [kind], list(inputs), attributes, regions=1, loc=loc)
    fill_region(op, [v.type for v in inputs], body)
    return op.results[0]


def fill_region(op: ir.Operation, kinds: Sequence[ir.Type], body: RegionBuilder) -> None:
    """Give `op` a region with arguments of these types; it yields what `body` returns."""
    block = op.regions[0].blocks.append(*kinds, arg_locs=[op.location] * len(kinds))
    with ir.InsertionPoint(block):
        result = body(list(block.arguments))
        ir.Operation.create("neuron.yield", [], [result], loc=op.location)


def sort(
    inputs: Sequence[ir.Value], number: int, count: int, comparator: RegionBuilder
) -> ir.Value:
    """The first elements of each row of input `number`, or their places, in order."""
    kinds = [tensor((), v.type.element_type) for v in inputs]
    elements = [*(kind.element_type for kind in kinds), ir.IntegerType.get_signless(32)]
    attributes = {
        "operandSegmentSizes": operand_runs([v.type for v in inputs]),
        "count": integer(count),
        "number": integer(number),
    }
    result = tensor((shape_of(inputs[0])[0], count), elements[number])
    op = ir.Operation.create("neuron.sort", [result], list(inputs), attributes, regions=1)
    fill_region(op, [kind for kind in kinds for _ in range(2)], comparator)
    return op.results[0]


def softmax(value: ir.Value, axis: int, loc: ir.Location | None = None) -> ir.Value:
    """Softmax along `axis`."""
    return create("softmax", (value,), value.type, {"axis": integer(axis)}, loc)


def masked_softmax(value: ir.Value, axis: int, loc: ir.Location | None = None) -> ir.Value:
    """Softmax along `axis`; zeros for a row of nothing but -inf."""
    return create("masked_softmax", (value,), value.type, {"axis": integer(axis)}, loc)


def layer_norm(
    value: ir.Value,
    gamma: ir.Value,
    beta: ir.Value,
    epsilon: float,
    loc: ir.Location | None = None,
) -> ir.Value:
    """Layer normalisation over the last axis."""
    return create("layer_norm", (value, gamma, beta), value.type, _epsilon(epsilon), loc)


def rms_norm(
    value: ir.Value, gamma: ir.Value, epsilon: float, loc: ir.Location | None = None
) -> ir.Value:
    """Root-mean-square normalisation over the last axis."""
    return create("rms_norm", (value, gamma), value.type, _epsilon(epsilon), loc)


def _epsilon(value: float) -> dict[str, ir.Attribute]:
    return {"epsilon": ir.FloatAttr.get(ir.F64Type.get(), value)}
