"""The `neuron` dialect: tensors with value semantics, close to what the engines do.

Every operation has one result, static shapes, and element types of `ELEMENT_TYPES`, and is pure
(but for those in which cores communicate). Elementwise operations need equal shapes; broadcasts are
explicit. `concatenate`, `dot` and `fused` carry `operandSegmentSizes`: an IRDL variadic takes
operands of one type only, so their operands are declared as RUNS runs of equal types
(builder.operand_runs; `context.parse_module` adds it to text). Shapes below are written
[d0, d1, ...]. The rules
`(Cn)` of an operation are in its docstring and in the verifier's message; (C1) is the same for all:

(C1) operands and results are tensors of static shape with an element type of the dialect.

Reference semantics: axonc.dialects.neuron.evaluate. Builders: axonc.dialects.neuron.builder.
"""
# No `from __future__ import annotations`: ext reads the annotations as objects.

import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch_mlir import ir
from torch_mlir.dialects import ext
from torch_mlir.dialects.ext import Operand, Region, Result

from axonc.dialects.attributes import python_attribute, python_value
from axonc.dialects.neuron import repeat_rules, rules, table, window_rules
from axonc.dialects.neuron.repeat import OPERAND_RUNS, RESULT_RUNS
from axonc.dialects.neuron.table import ELEMENTWISE

Tensor = ir.RankedTensorType


RUNS = 8
"""Most runs of equal types among the operands of an operation with any number of operands."""


class NeuronOp(ext.Operation):
    """Base of the operations: attributes are read and written as Python values, operands by name.

    for dot in ops_of(function, DotOp):
        dot.lhs_contract = (1,)   # not an ArrayAttr of IntegerAttrs
    """

    @classmethod
    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for field in cls._fields:
            if isinstance(field, ext.AttributeDef):
                setattr(cls, field.name, _value_of(field.name))


def _value_of(name: str) -> property:
    """An attribute of an operation as a Python value (`attributes.python_value`)."""

    def read(op: ir.Operation) -> object:
        return python_value(op.attributes[name])

    def write(op: ir.Operation, value: object) -> None:
        op.attributes[name] = python_attribute(value)

    return property(read, write)


def _operand(number: int) -> property:
    """An operand by its role."""

    def write(op: ir.Operation, value: ir.Value) -> None:
        op.operands[number] = value

    return property(lambda op: op.operands[number], write)


class VariadicOp(NeuronOp):
    """Base of operations with any number of operands of any types, at most RUNS runs of equal
    types."""

    __annotations__ = {f"run{i}": Sequence[Operand[Any]] for i in range(RUNS)}

    inputs = property(lambda op: tuple(op.operands))
    """All operands, whatever their runs."""


class ProductOp(VariadicOp):
    """Base of `DotOp` and `ConvolutionOp`: two factors, and what an epilogue reads besides."""

    __annotations__ = {}

    lhs = _operand(0)
    rhs = _operand(1)
    extras = property(lambda op: tuple(op.operands)[2:])


class Neuron(ext.Dialect, name="neuron"):
    """Tensor operations of a NeuronCore program."""


def _verifier(check: Callable[[ir.Operation], str]) -> type[ir.DynamicOpTrait]:
    """A trait that reports what `check` finds; `check` returns an empty string when all is well."""

    class Verifier(ir.DynamicOpTrait):
        @staticmethod
        def verify_invariants(op: ir.Operation) -> bool:
            problem = rules.run(check, op)
            if problem:
                op.location.emit_error(f"'{op.name}' op {problem}")
            return not problem

    return Verifier


def _pure(check: Callable[[ir.Operation], str]) -> list[type]:
    return [ext.Pure, _verifier(check)]


def _communicating(check: Callable[[ir.Operation], str]) -> list[type]:
    """Traits of operations in which cores communicate: not pure, see `table.COLLECTIVES`."""
    return [_verifier(check)]


def _repeat_verifier() -> type[ir.DynamicOpTrait]:
    """(C1) of the dialect does not hold: narrowing and legalisation come after outlining."""

    class Verifier(ir.DynamicOpTrait):
        @staticmethod
        def verify_invariants(op: ir.Operation) -> bool:
            problem = repeat_rules.run(op)
            if problem:
                op.location.emit_error(f"'{op.name}' op {problem}")
            return not problem

    return Verifier


def _make_elementwise(name: str) -> type[ext.Operation]:
    """The operation class of one entry of the table: n operands and a result, all of one type."""
    entry = ELEMENTWISE[name]
    operands = ("operand",) if entry.arity == 1 else ("lhs", "rhs")
    annotations: dict[str, object] = {n: Operand[Tensor] for n in operands}
    annotations["result"] = Result[Tensor]
    body = {
        "__annotations__": annotations,
        "__module__": __name__,
        "__doc__": f"{entry.summary}.\n\n(C2) operands and result have one type. (C3) its element "
        f"type is one of {', '.join(sorted(entry.dtypes))}.",
    }
    return types.new_class(
        "".join(part.capitalize() for part in name.split("_")) + "Op",
        (NeuronOp,),
        {"dialect": Neuron, "name": name, "traits": _pure(rules.elementwise)},
        lambda namespace: namespace.update(body),
    )


for _name in ELEMENTWISE:
    _class = _make_elementwise(_name)
    globals()[_class.__name__] = _class


class CompareOp(NeuronOp, dialect=Neuron, name="compare", traits=_pure(rules.compare)):
    """lhs `direction` rhs. NaN compares unequal to everything.

    (C2) operands have one type. (C3) the result has their shape and element type i1.
    (C4) direction is EQ, NE, LT, LE, GT or GE.
    """

    lhs: Operand[Tensor]
    rhs: Operand[Tensor]
    result: Result[Tensor]
    direction: ir.StringAttr


class SelectOp(NeuronOp, dialect=Neuron, name="select", traits=_pure(rules.select)):
    """on_true where pred is true, else on_false.

    (C2) pred is i1 of the result's shape. (C3) on_true, on_false and the result have one type.
    """

    pred: Operand[Tensor]
    on_true: Operand[Tensor]
    on_false: Operand[Tensor]
    result: Result[Tensor]


class ConvertOp(NeuronOp, dialect=Neuron, name="convert", traits=_pure(rules.convert)):
    """Elements in another type: to floats round to nearest even, to integers towards zero, to i1
    is x != 0.

    (C2) operand and result have one shape.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]


class BitcastOp(NeuronOp, dialect=Neuron, name="bitcast", traits=_pure(rules.bitcast)):
    """The bits of every element as a number of another type of the same width.

    (C2) operand and result have one shape. (C3) their element types are equally wide, and none of
    them is i1, unless both are.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]


class ConstantOp(NeuronOp, dialect=Neuron, name="constant", traits=_pure(rules.constant)):
    """A splat, or a small tensor of numbers; large ones are weights.

    (C2) `value` is a dense elements attribute of the result's type.
    """

    result: Result[Tensor]
    value: Any


class IotaOp(NeuronOp, dialect=Neuron, name="iota", traits=_pure(rules.iota)):
    """Each element is its index along `dimension`.

    (C2) dimension is one of the result's. (C3) the element type is not i1.
    """

    result: Result[Tensor]
    dimension: ir.IntegerAttr


class BroadcastOp(NeuronOp, dialect=Neuron, name="broadcast", traits=_pure(rules.broadcast)):
    """Operand dim i becomes result dim dims[i]; its other dims repeat, as do operand dims of size
    1.

    (C2) dims names one distinct result dim for each operand dim. (C3) operand dim i has size 1 or
    the size of result dim dims[i]. (C4) element types are equal.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    dims: ir.ArrayAttr


class ReshapeOp(NeuronOp, dialect=Neuron, name="reshape", traits=_pure(rules.reshape)):
    """The same elements in row-major order under another shape.

    (C2) operand and result have as many elements. (C3) element types are equal.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]


class TransposeOp(NeuronOp, dialect=Neuron, name="transpose", traits=_pure(rules.transpose)):
    """Result dim i is operand dim permutation[i].

    (C2) permutation holds each operand dim once. (C3) the result has the permuted shape and the
    same element type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    permutation: ir.ArrayAttr


class SliceOp(NeuronOp, dialect=Neuron, name="slice", traits=_pure(rules.slice_)):
    """Elements start, start + stride, ... below limit, in each dim.

    (C2) start, limit and strides have one entry for each dim, 0 <= start <= limit <= size, stride
    >= 1.
    (C3) the result has size ceil((limit - start) / stride) in each dim and the same element type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    start: ir.ArrayAttr
    limit: ir.ArrayAttr
    strides: ir.ArrayAttr


class DynamicSliceOp(
    NeuronOp, dialect=Neuron, name="dynamic_slice", traits=_pure(rules.dynamic_slice)
):
    """A box of `sizes` elements that begins where `starts` says when the program runs.

    starts[j] is the first index along dims[j]; it is clamped so that the box lies within the
    operand. `start` is the first index along all other dims (and 0 along dims).
    (C2) starts is a vector of i32 or ui32 with one entry for each of dims, which are distinct dims
    of the operand. (C3) start and sizes have one entry for each dim; start is 0 along dims;
    0 <= start, 1 <= sizes, start + sizes <= size. (C4) the result has shape sizes and the operand's
    element type.
    """

    operand: Operand[Tensor]
    starts: Operand[Tensor]
    result: Result[Tensor]
    dims: ir.ArrayAttr
    start: ir.ArrayAttr
    sizes: ir.ArrayAttr


class DynamicUpdateSliceOp(
    NeuronOp,
    dialect=Neuron,
    name="dynamic_update_slice",
    traits=_pure(rules.dynamic_update_slice),
):
    """The operand with a box replaced by `update`; where it lies is said as in `DynamicSliceOp`.

    (C2), (C3) as there, with the shape of update for sizes. (C4) operand and result have one type,
    update has its element type.
    """

    operand: Operand[Tensor]
    update: Operand[Tensor]
    starts: Operand[Tensor]
    result: Result[Tensor]
    dims: ir.ArrayAttr
    start: ir.ArrayAttr


class ConcatenateOp(
    VariadicOp, dialect=Neuron, name="concatenate", traits=_pure(rules.concatenate)
):
    """Operands one after the other along `dimension`.

    (C2) at least one operand; dimension is one of theirs. (C3) operands agree in the other dims
    and the element type. (C4) the result has the sum of their sizes along dimension.
    """

    result: Result[Tensor]
    dimension: ir.IntegerAttr


class PadOp(NeuronOp, dialect=Neuron, name="pad", traits=_pure(rules.pad)):
    """`low` copies of `value` before, `high` after, `interior` between the elements of each dim.

    (C2) value is a tensor of rank 0 with the operand's element type. (C3) low, high and interior
    have one entry >= 0 for each dim. (C4) the result's size is low + size + (size - 1) * interior
    + high.
    """

    operand: Operand[Tensor]
    value: Operand[Tensor]
    result: Result[Tensor]
    low: ir.ArrayAttr
    high: ir.ArrayAttr
    interior: ir.ArrayAttr


class ReverseOp(NeuronOp, dialect=Neuron, name="reverse", traits=_pure(rules.reverse)):
    """The elements along `dims` in reverse order.

    (C2) dims are distinct dims of the operand. (C3) operand and result have one type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    dims: ir.ArrayAttr


class ReduceOp(NeuronOp, dialect=Neuron, name="reduce", traits=_pure(rules.reduce)):
    """`kind` (sum, max, min, product, and, or) over `dims`, which vanish. Floats accumulate in
    float32.

    (C2) kind is one of these; `and` and `or` need integers or i1. (C3) dims are distinct dims of
    the operand, at least one. (C4) the result has the remaining dims and the operand's element
    type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    kind: ir.StringAttr
    dims: ir.ArrayAttr


class DotOp(ProductOp, dialect=Neuron, name="dot", traits=[
    ir.IsIsolatedFromAboveTrait, *_pure(rules.dot)
]):  # fmt: skip
    """Sum of products over the contract dims, for each batch index: [batch, lhs free, rhs free].

    inputs: lhs, rhs, extras. Accumulates in float32 (integers: int32), rounds to the result's type
    once. With an epilogue region, the region computes the result from the float32 accumulator and
    the extras.
    (C2) batch and contract dims are distinct dims, as many for lhs as for rhs, of equal sizes.
    (C3) the dims of the product are batch, lhs free, rhs free; without epilogue it has the
    result's shape.
    (C4) lhs and rhs are both floats, or both integers. (C5) without epilogue there are no extras;
    with one, its first argument is the f32 product and the others have the types of the extras.
    (C6) the region is an elementwise graph, see `FusedOp`.
    """

    result: Result[Tensor]
    lhs_batch: ir.ArrayAttr
    rhs_batch: ir.ArrayAttr
    lhs_contract: ir.ArrayAttr
    rhs_contract: ir.ArrayAttr
    epilogue: Region


class ConvolutionOp(ProductOp, dialect=Neuron, name="convolution", traits=[
    ir.IsIsolatedFromAboveTrait, *_pure(window_rules.convolution)
]):  # fmt: skip
    """Sum of products of an image and a kernel that slides over its spatial dims.

    inputs: image, kernel, extras. lhs_dims, result_dims: which dims are (batch, feature, spatial
    ...); rhs_dims: which are (output feature, input feature, spatial ...). The other lists have an
    entry for each spatial dim: the image is spread out by lhs_dilation with zeros, padded by low
    and high (negative: cut); the kernel steps by strides, its elements lie rhs_dilation apart, in
    reverse order where reversal is 1. groups: of features, each convolved apart. Accumulates in
    float32, then rounds once, or computes the epilogue region from the f32 sums and the extras.
    (C2) image and kernel have one rank >= 2; the dims lists are permutations. (C3) one entry for
    each spatial dim; strides and dilations are at least 1, reversal 0 or 1. (C4) the image has
    groups times the kernel's input features; groups divides its output features. (C5) floats.
    (C6) the result has the shape of the product. (C7) without epilogue there are no extras; with
    one, its first argument is the f32 product and the others have the types of the extras.
    (C8) the region is an elementwise graph, see `FusedOp`.
    """

    result: Result[Tensor]
    lhs_dims: ir.ArrayAttr
    rhs_dims: ir.ArrayAttr
    result_dims: ir.ArrayAttr
    strides: ir.ArrayAttr
    low: ir.ArrayAttr
    high: ir.ArrayAttr
    lhs_dilation: ir.ArrayAttr
    rhs_dilation: ir.ArrayAttr
    reversal: ir.ArrayAttr
    groups: ir.IntegerAttr
    epilogue: Region


class ReduceWindowOp(
    NeuronOp, dialect=Neuron, name="reduce_window", traits=_pure(window_rules.reduce_window)
):
    """`kind` (sum, max, min, product, and, or) over windows that slide along the dims. Padding
    counts for nothing. Floats accumulate in float32.

    (C2) kind is one of these; `and` and `or` need integers or i1. (C3) window, strides, low, high
    and dilation have one entry for each dim; window, strides and dilation are at least 1, low and
    high at least 0. (C4) the result has one element for each window and the operand's element type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    kind: ir.StringAttr
    window: ir.ArrayAttr
    strides: ir.ArrayAttr
    low: ir.ArrayAttr
    high: ir.ArrayAttr
    dilation: ir.ArrayAttr


class GatherRowsOp(NeuronOp, dialect=Neuron, name="gather_rows", traits=_pure(rules.gather_rows)):
    """Rows of `table` [n, ...] by index; indices are clamped to [0, n - 1].

    (C2) indices are integers; the table has rank >= 1 and n >= 1. (C3) the result has shape
    indices.shape + table.shape[1:] and the table's element type.
    """

    table: Operand[Tensor]
    indices: Operand[Tensor]
    result: Result[Tensor]


class ScatterRowsOp(
    NeuronOp, dialect=Neuron, name="scatter_rows", traits=_pure(rules.scatter_rows)
):
    """`table` [n, ...] after row i of `rows` [m, ...] was put at row indices[i], for one i after
    the other: in the place of what is there, or combined with it by `kind` (set, add, max, min).
    An index outside of [0, n - 1] changes nothing.

    Combined in float32 and rounded to the table's type every time: where integers are not set, all
    of them, and their sums, are at most 2^24 in magnitude.
    (C2) indices [m] are i32; the table has rank >= 1 and n >= 1. (C3) rows has shape [m] +
    table.shape[1:]. (C4) table, rows and result have one element type. (C5) kind is one of these;
    booleans are not added.
    """

    table: Operand[Tensor]
    indices: Operand[Tensor]
    rows: Operand[Tensor]
    result: Result[Tensor]
    kind: ir.StringAttr


class SoftmaxOp(NeuronOp, dialect=Neuron, name="softmax", traits=_pure(rules.softmax)):
    """exp(x - max) / sum(exp(x - max)) along `axis`, in float32.

    (C2) operand and result have one float type. (C3) axis is one of its dims.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    axis: ir.IntegerAttr


class MaskedSoftmaxOp(SoftmaxOp, name="masked_softmax", traits=_pure(rules.softmax)):
    """`softmax`, but a row of nothing but -inf gives zeros, not NaN.

    (C2) operand and result have one float type. (C3) axis is one of its dims.
    """


class LayerNormOp(NeuronOp, dialect=Neuron, name="layer_norm", traits=_pure(rules.norm)):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis, in float32.

    (C2) operand and result have one float type of rank >= 1. (C3) gamma and beta are float vectors
    of the size of the last axis. (C4) epsilon is a float >= 0.
    """

    operand: Operand[Tensor]
    gamma: Operand[Tensor]
    beta: Operand[Tensor]
    result: Result[Tensor]
    epsilon: ir.FloatAttr


class RmsNormOp(NeuronOp, dialect=Neuron, name="rms_norm", traits=_pure(rules.norm)):
    """x / sqrt(mean(x * x) + epsilon) * gamma over the last axis, in float32.

    (C2) operand and result have one float type of rank >= 1. (C3) gamma is a float vector of the
    size of the last axis. (C4) epsilon is a float >= 0.
    """

    operand: Operand[Tensor]
    gamma: Operand[Tensor]
    result: Result[Tensor]
    epsilon: ir.FloatAttr


class AllReduceOp(
    NeuronOp, dialect=Neuron, name="all_reduce", traits=_communicating(rules.all_reduce)
):
    """`kind` (sum, max, min) of the operands of the cores of a group, in float32, for each of them.

    (C2) groups hold each core of the program once and have one size. (C3) kind is one of these,
    elements are floats. (C4) operand and result have one type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    kind: ir.StringAttr
    groups: ir.ArrayAttr


class AllGatherOp(
    NeuronOp, dialect=Neuron, name="all_gather", traits=_communicating(rules.all_gather)
):
    """The operands of the cores of a group, stacked along a new first dim.

    (C2) groups hold each core of the program once and have one size. (C3) the result has shape
    [size, ...operand shape] and the operand's element type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    groups: ir.ArrayAttr


class ReduceScatterOp(
    NeuronOp, dialect=Neuron, name="reduce_scatter", traits=_communicating(rules.reduce_scatter)
):
    """`kind` (sum, max, min) of the operands [size, ...] of a group; core i of it gets part i.

    (C2) groups hold each core of the program once and have one size. (C3) kind is one of these,
    elements are floats. (C4) the operand's first dim is the group's size; the result has the others
    and the same element type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    kind: ir.StringAttr
    groups: ir.ArrayAttr


class AllToAllOp(
    NeuronOp, dialect=Neuron, name="all_to_all", traits=_communicating(rules.all_to_all)
):
    """Part j of the result of core i of a group is part i of the operand of its core j.

    (C2) groups hold each core of the program once and have one size. (C3) operand and result have
    one type, whose first dim is the group's size.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    groups: ir.ArrayAttr


class CollectivePermuteOp(
    NeuronOp,
    dialect=Neuron,
    name="collective_permute",
    traits=_communicating(rules.collective_permute),
):
    """The operand of the core that the pairs (source, target) send here; zeros if none does.

    (C2) no core is a source twice or a target twice. (C3) operand and result have one type.
    """

    operand: Operand[Tensor]
    result: Result[Tensor]
    pairs: ir.ArrayAttr


class PartitionIdOp(
    NeuronOp, dialect=Neuron, name="partition_id", traits=_pure(rules.partition_id)
):
    """The number of the core.

    (C2) the result is a ui32 of rank 0.
    """

    result: Result[Tensor]


class FusedOp(VariadicOp, dialect=Neuron, name="fused", traits=[
    ir.IsIsolatedFromAboveTrait, *_pure(rules.fused)
]):  # fmt: skip
    """An elementwise graph computed in one go; the region's arguments are the inputs.

    (C2) the region's arguments have the types of the inputs. (C3) the body holds elementwise
    operations, `broadcast`, splat `constant`s and ends with one `yield` of one value of the
    result's type.
    (C4) every value in it has the result's shape, except the arguments, which `broadcast` brings
    to it.
    """

    result: Result[Tensor]
    body: Region


class SortOp(VariadicOp, dialect=Neuron, name="sort", traits=[
    ir.IsIsolatedFromAboveTrait, *_pure(rules.sort)
]):  # fmt: skip
    """The first `count` elements of each row of operand `number`, in the order that the comparator
    gives to the places of a row; for `number` = operands: the places themselves, in i32.

    inputs: tensors [rows, n]. The region gets, for two places a and b of a row, the elements of
    each input at a and at b (a0, b0, a1, b1 ...), and says whether a comes before b. Places of
    which neither comes before the other stay in order. It is a strict weak order.
    (C2) the inputs have one shape [rows, n]; n <= 2^24, which f32 counts to. (C3) the region has
    two arguments for each input, of rank 0 and its element type, and yields one i1 of rank 0. (C4)
    it is an elementwise graph, see `FusedOp`. (C5) 1 <= count <= n; 0 <= number <= inputs; the
    result is [rows, count] of that input's element type, of i32 for the places.
    """

    result: Result[Tensor]
    count: ir.IntegerAttr
    number: ir.IntegerAttr
    comparator: Region


class RepeatOp(NeuronOp, dialect=Neuron, name="repeat", traits=[_repeat_verifier()]):
    """Calls `callee` `count` times: each call gets the carried values of the one before.

    operands: c carried values as the first call gets them; the invariant ones, which every call
    gets; then slot by slot the varying ones, one per call: all calls of slot 0, all of slot 1.
    results: the carried values the last call returns; then slot by slot what is collected of each
    call. The function takes (carried, invariant, varying) and returns (carried, collected). Other
    element types than those of the dialect are allowed: the calls may still be StableHLO.
    `axonc.dialects.neuron.repeat` builds and reads it.
    (C1) operands and results are tensors of static shape. (C2) count >= 1; carried and invariant
    are >= 0. (C3) the varying operands and the collected results are multiples of count. (C4)
    carried operands and results have equal types; a slot has one type. (C5) callee is a function of
    the module with the types that follow.
    """

    __annotations__ = {
        **{f"run{i}": Sequence[Operand[Any]] for i in range(OPERAND_RUNS)},
        **{f"out{i}": Sequence[Result[Any]] for i in range(RESULT_RUNS)},
        "callee": Any,
        "count": ir.IntegerAttr,
        "carried": ir.IntegerAttr,
        "invariant": ir.IntegerAttr,
    }


class YieldOp(NeuronOp, dialect=Neuron, name="yield", traits=[ext.Pure, ir.IsTerminatorTrait]):
    """The value a region computes."""

    value: Operand[Tensor]


# ---- sets of operations, and questions about one -----------------------------------------------

OpClass = type[ext.Operation]

if TYPE_CHECKING:  # the elementwise classes are made from the table

    def __getattr__(name: str) -> OpClass: ...


def _classes(names: Iterable[str]) -> frozenset[OpClass]:
    """The classes of operations given by full name."""
    by_name = {op.OPERATION_NAME: op for op in Neuron.operations}
    return frozenset(by_name[name] for name in names)


ELEMENTWISE_OPS = _classes(rules.ELEMENTWISE_OPS)
"""What a fused region may compute with."""

REGION_OPS = _classes(rules.REGION_OPS)
"""What a fused region may hold."""

VIEWS = frozenset({ReshapeOp, TransposeOp, SliceOp, BroadcastOp, ReverseOp})
"""Each element of the result is an element of the operand: only places change."""

PRODUCTS = frozenset({DotOp, ConvolutionOp})
"""What the tensor engine computes."""

COLLECTIVES = _classes(table.COLLECTIVES)
"""Operations in which cores communicate: not dropped even if their results have no uses, as another
core waits for this one."""


def kind_of(op: ir.Operation | ir.OpView) -> OpClass:
    """The class of an operation, of this dialect or another."""
    return type(op.operation.opview)


def isa(op: ir.Operation | ir.OpView | None, *kinds: OpClass) -> bool:
    """Whether an operation is one of `kinds`; None is none of them."""
    return op is not None and isinstance(op.operation.opview, kinds)


def short_name(op: ir.Operation | ir.OpView) -> str:
    """The name of an operation without its dialect: `dot`."""
    return str(op.operation.name).partition(".")[2]


def full_name(short: str) -> str:
    """The name of an operation of this dialect: `neuron.dot`."""
    return f"{Neuron.DIALECT_NAMESPACE}.{short}"


def is_neuron(op: ir.Operation | ir.OpView) -> bool:
    """Whether an operation belongs to this dialect."""
    return issubclass(kind_of(op), NeuronOp)


def neuron_op_list() -> list[tuple[str, str]]:
    """(full name, first line of its description) of every operation, by name."""
    return sorted(
        (op.OPERATION_NAME, (op.__doc__ or "").splitlines()[0]) for op in Neuron.operations
    )
