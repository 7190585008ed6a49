"""Reductions to the place of the largest or smallest element.

    v, i = stablehlo.reduce(x, places) across dimensions = [d], choosing by x    (argmax, argmin)

becomes v = max(x) along d, and i the least place at which x is v. NaN counts as the extreme, as
frameworks say; the first of several extremes is meant.

Proof: where places count 0, 1, 2 ... the least place of the extremes is the first of them, whether
the region takes the first or compares places. Where they are any numbers, the region has to compare
them when values are equal; of two NaN it may take the first, which is then found by counting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import NUMPY_DTYPES, dense_to_numpy, element_name, integer
from axonc.dialects.neuron.table import FLOAT
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.graph.comparator_region import Ties, extreme_of, ties_of
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import of_type
from axonc.passes.prepare.regions.plain_reductions import neutral, plain_reduce
from axonc.passes.prepare.regions.scalar_body import ScalarBody, Tensors

_OPERATION = {"max": "maximum", "min": "minimum"}


def arg_extreme(op: ir.Operation, body: ScalarBody) -> Tensors | None:
    """(extreme, its place) of a reduction of two tensors; None when it is no argmax or argmin."""
    dims = dense_integers(op.attributes["dimensions"])
    count = len(op.results)
    found = extreme_and_place(body, list(op.operands)[:count], dims)
    if found is None:
        return None
    initial = list(op.operands)[count:]
    kind = extreme_of(op.regions[0], element_name(initial[0].type)) or ""
    if _counts(op.operands[1], dims[0]) and _changes_nothing(_OPERATION[kind], *initial):
        return found
    shape = list(found[0].type.shape)
    return body.combine([words.broadcast(v, shape, ()) for v in initial], found)


def extreme_and_place(body: ScalarBody, tensors: Tensors, dims: Sequence[int]) -> Tensors | None:
    """(extreme, its place) of values and places along one dim, without initial values; None when
    the region does something else."""
    if len(tensors) != 2 or len(dims) != 1 or not tensors[0].type.shape[dims[0]]:
        return None
    (values, places), (dim,) = tensors, dims
    element = element_name(values.type)
    kind, ties = extreme_of(body.region, element), ties_of(body.region, element)
    if kind is None or any(body.element(n) != v.type.element_type for n, v in enumerate(tensors)):
        return None
    is_counted = _counts(places, dim)
    if not is_counted and (ties is None or ties.equal != "least"):
        return None
    extreme = plain_reduce(values, _OPERATION[kind], dims)
    if is_counted or ties is None:
        return [extreme, _first_place(values, places, extreme, dim)]
    return [extreme, _least_place(values, places, extreme, dim, ties)]


def _first_place(values: ir.Value, places: ir.Value, extreme: ir.Value, dim: int) -> ir.Value:
    """The least of `places`, which count along `dim`, at which `values` is `extreme` or NaN."""
    count, kind = values.type.shape[dim], places.type.element_type
    found = _equal(values, extreme, dim)
    if element_name(values.type) in FLOAT:
        found = words.either(found, words.compare(values, "NE", values))
    # Counts fit in 32 bits, so this is not one for two words.
    narrow = words.convert(places, words.i32()) if _is_wide(kind) else places
    chosen = words.select(found, narrow, count - 1)
    return words.convert(plain_reduce(chosen, "minimum", [dim]), kind)


def _least_place(
    values: ir.Value, places: ir.Value, extreme: ir.Value, dim: int, ties: Ties
) -> ir.Value:
    """The least of `places`, which are any numbers, at which `values` is `extreme`. Where that is
    NaN, of the first NaN or of all, as `ties` says."""
    found = _equal(values, extreme, dim)
    is_float = element_name(values.type) in FLOAT
    nan = words.compare(values, "NE", values) if is_float else None
    if nan is not None and ties.nan == "least":
        found = words.either(found, nan)
    beyond = neutral("minimum", element_name(places.type))
    least = plain_reduce(words.select(found, places, beyond), "minimum", [dim])
    if nan is None or ties.nan == "least":
        return least
    numbers = words.create(
        "iota", (), words.of_shape(values, words.i32()), {"iota_dimension": integer(dim)}
    )
    first = plain_reduce(words.select(nan, numbers, values.type.shape[dim] - 1), "minimum", [dim])
    here = _equal(numbers, first, dim)
    below = neutral("maximum", element_name(places.type))
    of_nan = plain_reduce(words.select(here, places, below), "maximum", [dim])
    return words.select(words.compare(extreme, "NE", extreme), of_nan, least)


def _equal(values: ir.Value, reduced: ir.Value, dim: int) -> ir.Value:
    """Whether each is what its row was reduced to."""
    shape = list(values.type.shape)
    kept = [d for d in range(len(shape)) if d != dim]
    return words.compare(values, "EQ", words.broadcast(reduced, shape, kept))


def _is_wide(kind: ir.Type) -> bool:
    return NUMPY_DTYPES[str(kind)].itemsize == 8


def _changes_nothing(kind: str, first_value: ir.Value, first_place: ir.Value) -> bool:
    """Whether the initial value is beaten by every element, or is equal to it at place 0."""
    worst = neutral(kind, element_name(first_value.type))
    return words.number_of(first_value) == worst and words.number_of(first_place) == 0


# ---- places --------------------------------------------------------------------------------------


def _counts(value: ir.Value, dim: int) -> bool:
    """Whether the elements are 0, 1, 2 ... along `dim`, the same along the others."""
    if isinstance(value.owner, ir.Block) or not _holds(value.type, value.type.shape[dim]):
        return False
    op = value.owner.operation
    rule = _RULES.get(op.name)
    return rule is not None and rule(op, dim)


def _holds(kind: ir.RankedTensorType, count: int) -> bool:
    """Whether an element of the type holds 0 ... count - 1."""
    limits = of_type(element_name(kind))
    return limits is not None and count - 1 <= limits.high


def _constant(op: ir.Operation, dim: int) -> bool:
    if not isinstance(op.attributes["value"], ir.DenseElementsAttr):
        return False
    array = dense_to_numpy(op.attributes["value"])
    shape = [-1 if d == dim else 1 for d in range(array.ndim)]
    return bool((array == np.arange(array.shape[dim]).reshape(shape)).all())


def _iota(op: ir.Operation, dim: int) -> bool:
    return bool(ir.IntegerAttr(op.attributes["iota_dimension"]).value == dim)


def _broadcast(op: ir.Operation, dim: int) -> bool:
    dims = dense_integers(op.attributes["broadcast_dimensions"])
    if dim not in dims:
        return False
    source, before = op.operands[0], dims.index(dim)
    return source.type.shape[before] == op.results[0].type.shape[dim] and _counts(source, before)


def _reshape(op: ir.Operation, dim: int) -> bool:
    """One that only adds or drops dims of one element."""
    new, old = list(op.results[0].type.shape), list(op.operands[0].type.shape)
    if new[dim] == 1 or [n for n in new if n != 1] != [n for n in old if n != 1]:
        return False
    place = sum(n != 1 for n in new[:dim])
    return _counts(op.operands[0], [d for d, n in enumerate(old) if n != 1][place])


def _convert(op: ir.Operation, dim: int) -> bool:
    return _counts(op.operands[0], dim)


_RULES: Mapping[str, Callable[[ir.Operation, int], bool]] = {
    "stablehlo.broadcast_in_dim": _broadcast,
    "stablehlo.constant": _constant,
    "stablehlo.convert": _convert,
    "stablehlo.iota": _iota,
    "stablehlo.reshape": _reshape,
}
