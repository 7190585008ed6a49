"""The numbered rules of the neuron operations: what the verifier checks.

A check gets an operation and returns the first broken rule as text, "" when there is none. It may
run before the attributes were checked: what is missing or of the wrong kind raises, and `run` sees
to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch_mlir import ir

from axonc.dialects.attributes import element_name, integer_lists, integers
from axonc.dialects.neuron.table import (
    ANY,
    COMPARISONS,
    CORE_REDUCTIONS,
    ELEMENTWISE,
    FLOAT,
    INTEGER,
    REDUCTIONS,
    SCATTERED,
)

ELEMENTWISE_OPS = (
    *(f"neuron.{name}" for name in ELEMENTWISE),
    "neuron.compare",
    "neuron.select",
    "neuron.convert",
    "neuron.bitcast",
)
REGION_OPS = frozenset((*ELEMENTWISE_OPS, "neuron.broadcast", "neuron.constant"))
Check = Callable[[ir.Operation], str]


def run(check: Check, op: ir.Operation) -> str:
    """(C1), then `check`; an attribute of the wrong kind is reported too."""
    try:
        return _tensors(op) or check(op)
    except KeyError:
        return ""  # a declared attribute is missing: the generated verifier runs next and names it
    except (IndexError, ValueError, TypeError) as error:
        return f"has operands or attributes of the wrong kind or number: {error}"


def _tensors(op: ir.Operation) -> str:
    for value in (*op.operands, *op.results):
        kind = value.type
        if not isinstance(kind, ir.RankedTensorType) or not kind.has_static_shape:
            return f"(C1) needs tensors of static shape, got {kind}"
        if element_name(kind) not in ANY:
            return f"(C1) element type {element_name(kind)} is none of {', '.join(sorted(ANY))}"
    return ""


def _shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(value.type.shape)


def _same_elements(rule: str, values: Sequence[ir.Value]) -> str:
    names = [element_name(v.type) for v in values]
    return "" if len(set(names)) == 1 else f"({rule}) element types differ: {' and '.join(names)}"


def _same_types(rule: str, values: Sequence[ir.Value]) -> str:
    kinds = [v.type for v in values]
    if all(kind == kinds[0] for kind in kinds):
        return ""
    return f"({rule}) needs one type, got {', '.join(map(str, kinds))}"


def _result_shape(rule: str, op: ir.Operation, expected: Sequence[int]) -> str:
    found = _shape(op.results[0])
    return (
        ""
        if found == tuple(expected)
        else (f"({rule}) result shape is {list(found)}, expected {list(expected)}")
    )


def _distinct_dims(rule: str, name: str, dims: Sequence[int], rank: int) -> str:
    if len(set(dims)) == len(dims) and all(0 <= d < rank for d in dims):
        return ""
    return f"({rule}) {name} {list(dims)} are not distinct dims of a tensor of rank {rank}"


def elementwise(op: ir.Operation) -> str:
    entry = ELEMENTWISE[op.name.removeprefix("neuron.")]
    if problem := _same_types("C2", (*op.operands, *op.results)):
        return problem
    name = element_name(op.results[0].type)
    if name not in entry.dtypes:
        return f"(C3) element type {name} is none of {', '.join(sorted(entry.dtypes))}"
    return ""


def compare(op: ir.Operation) -> str:
    direction = ir.StringAttr(op.attributes["direction"]).value
    if problem := _same_types("C2", op.operands):
        return problem
    if _shape(op.results[0]) != _shape(op.operands[0]) or element_name(op.results[0].type) != "i1":
        return f"(C3) result is {op.results[0].type}, expected i1 of shape {_shape(op.operands[0])}"
    return "" if direction in COMPARISONS else f"(C4) direction '{direction}' is unknown"


def select(op: ir.Operation) -> str:
    pred, on_true, on_false = op.operands
    if element_name(pred.type) != "i1" or _shape(pred) != _shape(op.results[0]):
        return f"(C2) pred is {pred.type}, expected i1 of shape {list(_shape(op.results[0]))}"
    return _same_types("C3", (on_true, on_false, op.results[0]))


def convert(op: ir.Operation) -> str:
    return _result_shape("C2", op, _shape(op.operands[0]))


def bitcast(op: ir.Operation) -> str:
    if problem := _result_shape("C2", op, _shape(op.operands[0])):
        return problem
    kinds = [v.type.element_type for v in (op.operands[0], op.results[0])]
    if kinds[0].width != kinds[1].width:
        widths = f"{kinds[0].width} and {kinds[1].width}"
        return f"(C3) {kinds[0]} and {kinds[1]} have {widths} bits, expected equal widths"
    return ""


def constant(op: ir.Operation) -> str:
    value = op.attributes["value"]
    if getattr(value, "type", None) != op.results[0].type:
        return f"(C2) value of type {value.type}, expected {op.results[0].type}"
    return ""


def iota(op: ir.Operation) -> str:
    dimension = ir.IntegerAttr(op.attributes["dimension"]).value
    rank = op.results[0].type.rank
    if not 0 <= dimension < rank:
        return f"(C2) dimension {dimension} is not a dim of a tensor of rank {rank}"
    return "(C3) element type i1" if element_name(op.results[0].type) == "i1" else ""


def broadcast(op: ir.Operation) -> str:
    dims = integers(op.attributes["dims"])
    source, target = _shape(op.operands[0]), _shape(op.results[0])
    if len(dims) != len(source):
        return f"(C2) {len(dims)} dims for an operand of rank {len(source)}"
    if problem := _distinct_dims("C2", "dims", dims, len(target)):
        return problem
    for i, dim in enumerate(dims):
        if source[i] not in (1, target[dim]):
            return f"(C3) operand dim {i} of size {source[i]} cannot become size {target[dim]}"
    return _same_elements("C4", (op.operands[0], op.results[0]))


def reshape(op: ir.Operation) -> str:
    before, after = _shape(op.operands[0]), _shape(op.results[0])
    if math.prod(before) != math.prod(after):
        return f"(C2) {math.prod(before)} elements cannot become {math.prod(after)}"
    return _same_elements("C3", (op.operands[0], op.results[0]))


def transpose(op: ir.Operation) -> str:
    permutation = integers(op.attributes["permutation"])
    shape = _shape(op.operands[0])
    if sorted(permutation) != list(range(len(shape))):
        return f"(C2) {list(permutation)} is no permutation of {len(shape)} dims"
    permuted = [shape[p] for p in permutation]
    return _result_shape("C3", op, permuted) or _same_elements(
        "C3", (op.operands[0], op.results[0])
    )


def slice_(op: ir.Operation) -> str:
    start, limit, strides = (integers(op.attributes[n]) for n in ("start", "limit", "strides"))
    shape = _shape(op.operands[0])
    if not len(start) == len(limit) == len(strides) == len(shape):
        return f"(C2) needs {len(shape)} entries in start, limit and strides"
    for i, size in enumerate(shape):
        if not (0 <= start[i] <= limit[i] <= size and strides[i] >= 1):
            return f"(C2) dim {i} of size {size}: bad range [{start[i]}:{limit[i]}:{strides[i]}]"
    sizes = [-(-(b - a) // s) for a, b, s in zip(start, limit, strides, strict=True)]
    return _result_shape("C3", op, sizes) or _same_elements("C3", (op.operands[0], op.results[0]))


def dynamic_slice(op: ir.Operation) -> str:
    sizes = integers(op.attributes["sizes"])
    return (
        _box(op, op.operands[1], sizes)
        or _result_shape("C4", op, sizes)
        or _same_elements("C4", (op.operands[0], op.results[0]))
    )


def dynamic_update_slice(op: ir.Operation) -> str:
    operand, update, starts = op.operands
    return (
        _box(op, starts, _shape(update))
        or _same_types("C4", (operand, op.results[0]))
        or _same_elements("C4", (operand, update))
    )


def _box(op: ir.Operation, starts: ir.Value, sizes: Sequence[int]) -> str:
    """(C2), (C3) of a box within operand 0 whose place is known when the program runs."""
    dims, start = (integers(op.attributes[n]) for n in ("dims", "start"))
    shape = _shape(op.operands[0])
    if _shape(starts) != (len(dims),) or element_name(starts.type) not in ("i32", "ui32"):
        return f"(C2) starts is {starts.type}, expected {len(dims)} numbers of type i32 or ui32"
    if problem := _distinct_dims("C2", "dims", dims, len(shape)):
        return problem
    if not len(start) == len(sizes) == len(shape):
        return f"(C3) needs {len(shape)} entries in start and sizes"
    for i, total in enumerate(shape):
        if start[i] < 0 or sizes[i] < 1 or start[i] + sizes[i] > total:
            return f"(C3) dim {i} of size {total}: {sizes[i]} elements from {start[i]}"
        if i in dims and start[i]:
            return f"(C3) start is {start[i]} along dim {i}, where `starts` says it"
    return ""


def concatenate(op: ir.Operation) -> str:
    axis = ir.IntegerAttr(op.attributes["dimension"]).value
    shapes = [_shape(v) for v in op.operands]
    if not shapes or not 0 <= axis < len(shapes[0]):
        return f"(C2) dimension {axis} of {len(shapes)} operands"
    others = {s[:axis] + s[axis + 1 :] for s in shapes}
    if len(others) > 1:
        return f"(C3) operand shapes differ outside dim {axis}: {', '.join(map(str, shapes))}"
    if problem := _same_elements("C3", (*op.operands, op.results[0])):
        return problem
    total = sum(s[axis] for s in shapes)
    return _result_shape("C4", op, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))


def pad(op: ir.Operation) -> str:
    low, high, interior = (integers(op.attributes[n]) for n in ("low", "high", "interior"))
    shape = _shape(op.operands[0])
    if op.operands[1].type.rank != 0:
        return f"(C2) value has rank {op.operands[1].type.rank}, expected 0"
    if problem := _same_elements("C2", (*op.operands, op.results[0])):
        return problem
    if not len(low) == len(high) == len(interior) == len(shape):
        return f"(C3) needs {len(shape)} entries in low, high and interior"
    if min((*low, *high, *interior), default=0) < 0:
        return "(C3) negative padding"
    padded = [
        a + size + max(size - 1, 0) * between + b
        for a, b, between, size in zip(low, high, interior, shape, strict=True)
    ]
    return _result_shape("C4", op, padded)


def reverse(op: ir.Operation) -> str:
    dims = integers(op.attributes["dims"])
    return _distinct_dims("C2", "dims", dims, op.operands[0].type.rank) or _same_types(
        "C3", (op.operands[0], op.results[0])
    )


def reduce(op: ir.Operation) -> str:
    kind = ir.StringAttr(op.attributes["kind"]).value
    dims = integers(op.attributes["dims"])
    shape = _shape(op.operands[0])
    if kind not in REDUCTIONS:
        return f"(C2) kind '{kind}' is none of {', '.join(REDUCTIONS)}"
    if kind in ("and", "or") and element_name(op.operands[0].type) in FLOAT:
        return f"(C2) kind '{kind}' needs integers"
    if not dims:
        return "(C3) no dims to reduce"
    if problem := _distinct_dims("C3", "dims", dims, len(shape)):
        return problem
    rest = [size for i, size in enumerate(shape) if i not in dims]
    return _result_shape("C4", op, rest) or _same_elements("C4", (op.operands[0], op.results[0]))


def dot(op: ir.Operation) -> str:
    lhs, rhs, *extras = op.operands
    lists = [
        integers(op.attributes[n])
        for n in ("lhs_batch", "rhs_batch", "lhs_contract", "rhs_contract")
    ]
    if problem := _dot_dims(_shape(lhs), _shape(rhs), *lists):
        return problem
    kinds = {element_name(lhs.type) in FLOAT, element_name(rhs.type) in FLOAT}
    if len(kinds) != 1:
        return f"(C4) operands {lhs.type} and {rhs.type} mix floats and integers"
    shape = dot_shape(_shape(lhs), _shape(rhs), *lists)
    if not op.regions[0].blocks:
        return "(C5) extras without epilogue" if extras else _result_shape("C3", op, shape)
    return epilogue(op, shape, extras, ("C3", "C5", "C6"))


def epilogue(
    op: ir.Operation,
    shape: tuple[int, ...],
    extras: Sequence[ir.Value],
    names: tuple[str, str, str],
) -> str:
    """The rules of an epilogue on a product of this shape. names: those about the result's shape,
    the arguments of the region, and its body."""
    of_shape, of_arguments, of_body = names
    first, *others = [a.type for a in op.regions[0].blocks[0].arguments]
    if tuple(first.shape) != shape or element_name(first) != "f32":
        return (
            f"({of_arguments}) the region's first argument is {first}, "
            f"expected f32 of shape {list(shape)}"
        )
    expected = [e.type for e in extras]
    if others != expected:
        return (
            f"({of_arguments}) region arguments {_list(others)} after the first, "
            f"expected {_list(expected)}"
        )
    return _result_shape(of_shape, op, shape) or _region(of_body, of_body, op)


def _list(values: Sequence[object]) -> str:
    return "(" + ", ".join(map(str, values)) + ")"


def _dot_dims(
    lhs: tuple[int, ...],
    rhs: tuple[int, ...],
    lhs_batch: tuple[int, ...],
    rhs_batch: tuple[int, ...],
    lhs_contract: tuple[int, ...],
    rhs_contract: tuple[int, ...],
) -> str:
    if len(lhs_batch) != len(rhs_batch) or len(lhs_contract) != len(rhs_contract):
        return "(C2) lhs and rhs have different numbers of batch or contract dims"
    problem = _distinct_dims("C2", "lhs dims", lhs_batch + lhs_contract, len(lhs))
    if problem := problem or _distinct_dims("C2", "rhs dims", rhs_batch + rhs_contract, len(rhs)):
        return problem
    for a, b in zip(lhs_batch + lhs_contract, rhs_batch + rhs_contract, strict=True):
        if lhs[a] != rhs[b]:
            return f"(C2) lhs dim {a} has size {lhs[a]}, rhs dim {b} has size {rhs[b]}"
    return ""


def dot_shape(
    lhs: tuple[int, ...],
    rhs: tuple[int, ...],
    lhs_batch: tuple[int, ...],
    rhs_batch: tuple[int, ...],
    lhs_contract: tuple[int, ...],
    rhs_contract: tuple[int, ...],
) -> tuple[int, ...]:
    """Shape of the product: batch, lhs free, rhs free."""
    free = [s for i, s in enumerate(lhs) if i not in (*lhs_batch, *lhs_contract)]
    free += [s for i, s in enumerate(rhs) if i not in (*rhs_batch, *rhs_contract)]
    return (*(lhs[i] for i in lhs_batch), *free)


def gather_rows(op: ir.Operation) -> str:
    table, indices = op.operands
    if element_name(indices.type) not in INTEGER:
        return f"(C2) indices have element type {element_name(indices.type)}, expected an integer"
    if not _shape(table) or _shape(table)[0] < 1:
        return f"(C2) table {table.type} has no rows"
    expected = _shape(indices) + _shape(table)[1:]
    return _result_shape("C3", op, expected) or _same_elements("C3", (table, op.results[0]))


def scatter_rows(op: ir.Operation) -> str:
    table, indices, rows = op.operands
    kind, element = ir.StringAttr(op.attributes["kind"]).value, element_name(table.type)
    if element_name(indices.type) != "i32" or len(_shape(indices)) != 1:
        return f"(C2) indices are {indices.type}, expected a vector of i32"
    if not _shape(table) or _shape(table)[0] < 1:
        return f"(C2) table {table.type} has no rows"
    if _shape(rows) != _shape(indices) + _shape(table)[1:]:
        return f"(C3) rows are {rows.type} for {indices.type} and {table.type}"
    if problem := _same_types("C4", (table, op.results[0])):
        return problem
    if problem := _same_elements("C4", (table, rows)):
        return problem
    if element not in SCATTERED.get(kind, frozenset()):
        return f"(C5) kind {kind} of {element}"
    return ""


def _float_in_and_out(op: ir.Operation) -> str:
    name = element_name(op.operands[0].type)
    if name not in FLOAT:
        return f"(C2) element type {name} is no float"
    return _same_types("C2", (op.operands[0], op.results[0]))


def softmax(op: ir.Operation) -> str:
    axis = ir.IntegerAttr(op.attributes["axis"]).value
    rank = op.operands[0].type.rank
    if not 0 <= axis < rank:
        return f"(C3) axis {axis} is not a dim of a tensor of rank {rank}"
    return _float_in_and_out(op)


def norm(op: ir.Operation) -> str:
    epsilon = ir.FloatAttr(op.attributes["epsilon"]).value
    if problem := _float_in_and_out(op):
        return problem
    shape = _shape(op.operands[0])
    if not shape:
        return "(C2) needs rank >= 1"
    for vector in list(op.operands)[1:]:
        if _shape(vector) != shape[-1:] or element_name(vector.type) not in FLOAT:
            return f"(C3) {vector.type} is no float vector of size {shape[-1]}"
    return "" if epsilon >= 0 else f"(C4) epsilon is {epsilon}"


# ---- several cores -------------------------------------------------------------------------------


def _groups(op: ir.Operation) -> str:
    groups = integer_lists(op.attributes["groups"])
    ranks = [rank for group in groups for rank in group]
    if not ranks or sorted(ranks) != list(range(len(ranks))):
        return f"(C2) groups {list(map(list, groups))} do not hold each core once"
    if len({len(group) for group in groups}) != 1:
        return "(C2) groups have different sizes"
    return ""


def _core_reduction(op: ir.Operation) -> str:
    kind = ir.StringAttr(op.attributes["kind"]).value
    if kind not in CORE_REDUCTIONS:
        return f"(C3) kind '{kind}' is none of {', '.join(CORE_REDUCTIONS)}"
    name = element_name(op.operands[0].type)
    return "" if name in FLOAT else f"(C3) element type {name} is no float"


def _group_size(op: ir.Operation) -> int:
    return len(integer_lists(op.attributes["groups"])[0])


def all_reduce(op: ir.Operation) -> str:
    problem = _groups(op) or _core_reduction(op)
    return problem or _same_types("C4", (op.operands[0], op.results[0]))


def all_gather(op: ir.Operation) -> str:
    if problem := _groups(op):
        return problem
    expected = (_group_size(op), *_shape(op.operands[0]))
    elements = _same_elements("C3", (op.operands[0], op.results[0]))
    return _result_shape("C3", op, expected) or elements


def reduce_scatter(op: ir.Operation) -> str:
    if problem := _groups(op) or _core_reduction(op) or _blocks("C4", op):
        return problem
    elements = _same_elements("C4", (op.operands[0], op.results[0]))
    return _result_shape("C4", op, _shape(op.operands[0])[1:]) or elements


def all_to_all(op: ir.Operation) -> str:
    problem = _groups(op) or _blocks("C3", op)
    return problem or _same_types("C3", (op.operands[0], op.results[0]))


def _blocks(rule: str, op: ir.Operation) -> str:
    shape, size = _shape(op.operands[0]), _group_size(op)
    if shape[:1] == (size,):
        return ""
    return f"({rule}) operand shape {list(shape)} does not begin with the group size {size}"


def collective_permute(op: ir.Operation) -> str:
    pairs = integer_lists(op.attributes["pairs"])
    for place in (0, 1):
        ranks = [pair[place] for pair in pairs]
        if len(set(ranks)) != len(ranks) or min(ranks, default=0) < 0:
            return f"(C2) {('sources', 'targets')[place]} {ranks} are not distinct cores"
    if any(len(pair) != 2 for pair in pairs):
        return "(C2) pairs are (source, target)"
    return _same_types("C3", (op.operands[0], op.results[0]))


def partition_id(op: ir.Operation) -> str:
    kind = op.results[0].type
    is_number = _shape(op.results[0]) == () and element_name(kind) == "ui32"
    return "" if is_number else f"(C2) result is {kind}, expected tensor<ui32>"


def fused(op: ir.Operation) -> str:
    if not op.regions[0].blocks:
        return "(C3) the region is empty"
    arguments = [a.type for a in op.regions[0].blocks[0].arguments]
    expected = [v.type for v in op.operands]
    if arguments != expected:
        return f"(C2) region arguments {_list(arguments)}, expected {_list(expected)}"
    return _region("C3", "C4", op)


MOST_SORTED = 2**24


def sort(op: ir.Operation) -> str:
    with op.location:  # types are made
        return _sort(op)


def _sort(op: ir.Operation) -> str:
    inputs, result = [v.type for v in op.operands], op.results[0].type
    if not inputs or len(_shape(op.operands[0])) != 2:
        return f"(C2) inputs are {_list(inputs)}, expected tensors [rows, n]"
    rows, length = _shape(op.operands[0])
    if any(_shape(v) != (rows, length) for v in op.operands) or length > MOST_SORTED:
        return f"(C2) inputs are {_list(inputs)}: not of one shape, or rows too long"
    if not op.regions[0].blocks:
        return "(C3) the region is empty"
    scalars = [ir.RankedTensorType.get([], kind.element_type) for kind in inputs]
    expected = [kind for kind in scalars for _ in range(2)]
    arguments = [a.type for a in op.regions[0].blocks[0].arguments]
    if arguments != expected:
        return f"(C3) region arguments {_list(arguments)}, expected {_list(expected)}"
    boolean = ir.RankedTensorType.get([], ir.IntegerType.get_signless(1))
    if problem := _region("C3", "C4", op, boolean):
        return problem
    count, number = (ir.IntegerAttr(op.attributes[n]).value for n in ("count", "number"))
    if not 1 <= count <= length or not 0 <= number <= len(inputs):
        return f"(C5) count is {count} of {length}, number {number} of {len(inputs)} inputs"
    elements = [kind.element_type for kind in inputs] + [ir.IntegerType.get_signless(32)]
    wanted = ir.RankedTensorType.get([rows, count], elements[number])
    return "" if result == wanted else f"(C5) the result is {result}, expected {wanted}"


def _region(
    content_rule: str, shape_rule: str, op: ir.Operation, yielded: ir.Type | None = None
) -> str:
    """The body is an elementwise graph that yields a value of this type, else of the result's."""
    yielded = op.results[0].type if yielded is None else yielded
    if len(op.regions[0].blocks) != 1:
        return f"({content_rule}) the region has {len(op.regions[0].blocks)} blocks"
    *body, last = op.regions[0].blocks[0].operations
    if last.operation.name != "neuron.yield" or len(last.operation.operands) != 1:
        return f"({content_rule}) the region must end with a neuron.yield of one value"
    if last.operation.operands[0].type != yielded:
        return f"({content_rule}) yields {last.operation.operands[0].type}, expected {yielded}"
    shape = tuple(yielded.shape)
    for inner in body:
        if problem := _region_op(content_rule, shape_rule, inner.operation, shape):
            return problem
    return ""


def _region_op(
    content_rule: str, shape_rule: str, inner: ir.Operation, shape: tuple[int, ...]
) -> str:
    if inner.name not in REGION_OPS:
        return f"({content_rule}) {inner.name} is not allowed in a region"
    if inner.name == "neuron.constant" and not inner.attributes["value"].is_splat:
        return f"({content_rule}) a constant in a region must be a splat"
    if _shape(inner.results[0]) != shape:
        return (
            f"({shape_rule}) {inner.name} has shape {list(_shape(inner.results[0]))}, "
            f"expected {list(shape)}"
        )
    return ""
