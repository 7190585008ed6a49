"""Find softmax written out: one `neuron.softmax` instead.

Why: the tile stage computes a softmax with one maximum, one exponential that sums on the way, and
one scaling, all in SBUF; written out it is six operations with two reductions and two broadcasts.

Precondition: neuron operations, constants folded, `merge-views` has run.
Postcondition: exp(x - max) / sum, in whatever form, is one operation.

Before:
    %0 = "neuron.reduce"(%x) {dims = [1], kind = "max"} : (tensor<4x8xf32>) -> tensor<4xf32>
    %1 = "neuron.broadcast"(%0) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
    %2 = "neuron.subtract"(%x, %1) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %3 = "neuron.exp"(%2) : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %4 = "neuron.reduce"(%3) {dims = [1], kind = "sum"} : (tensor<4x8xf32>) -> tensor<4xf32>
    %5 = "neuron.broadcast"(%4) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
    %6 = "neuron.divide"(%3, %5) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
After:
    %6 = "neuron.softmax"(%x) {axis = 1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>

Proof (docs/design/0014): the cone is a function of x and of the maximum m that is subtracted. With
independent random numbers for both it must be softmax(x), so it is for every m, as both are
analytic; and m is the maximum of the rows of x, so that no exponential overflows and a row with an
infinity or NaN gives what softmax gives: -inf - m is -inf, and exp of it 0; a row of nothing but
-inf, or with +inf or NaN, has NaN for inf - inf.

Leaves alone: what subtracts no maximum (it overflows where softmax does not), the maximum of
another tensor or dim, clips and selects in between, sums over several dims.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    BroadcastOp,
    ConvertOp,
    DivideOp,
    ExpOp,
    MultiplyOp,
    ReciprocalOp,
    ReduceOp,
    ReshapeOp,
    isa,
    kind_of,
)
from axonc.passes.base import Pass
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.uses import defining_op, erase_dead
from axonc.passes.recognize.cone import REDUCING_OPS, Cone, Dominators, find_cone
from axonc.passes.recognize.few_rows import with_few_rows

_CHAIN = 6
_TOLERANCE = 1e-9
_THROUGH = frozenset({BroadcastOp, ReshapeOp, ConvertOp, ReciprocalOp})


@dataclass(frozen=True)
class RecognizeSoftmaxPass(Pass, name="recognize-softmax", anchor="func.func"):
    """Find softmax written out in elementwise operations and reductions."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        search = _Search(Dominators(block))
        changed = False
        for each in list(block.operations):
            if isa(each, DivideOp, MultiplyOp):
                changed |= search.replace(each)
        return erase_dead(block) or changed


@dataclass
class _Search:
    dominators: Dominators
    known: dict[str, bool] = field(default_factory=dict)

    def replace(self, op: ir.Operation) -> bool:
        """Put a softmax in the place of `op` if it is one."""
        root = op.results[0]
        axis = _summed_axis(op)
        if axis is None:
            return False
        source = self._farthest_source(root, axis)
        if source is None:
            return False
        with ir.InsertionPoint(op):
            root.replace_all_uses_with(build.softmax(source, axis, op.location))
        return True

    def _farthest_source(self, root: ir.Value, axis: int) -> ir.Value | None:
        found = None
        for source in self.dominators.chain(root, _CHAIN):
            if source.type != root.type:
                continue
            maximum = _row_maximum(source, axis)
            cone = find_cone(root, (source, maximum), REDUCING_OPS) if maximum else None
            if cone is not None and self._is_softmax(cone, axis):
                found = source
        return found

    def _is_softmax(self, cone: Cone, axis: int) -> bool:
        key = f"{axis}\n{cone.key()}"
        if key not in self.known:
            few = with_few_rows(cone, axis) if cone.contains(frozenset({ExpOp})) else None
            self.known[key] = few is not None and _agrees(few, axis)
        return self.known[key]


def _row_maximum(source: ir.Value, axis: int) -> ir.Value | None:
    """The maximum of `source` along `axis`, if the program computes it."""
    for use in source.uses:
        op = use.owner
        if isa(op, ReduceOp) and op.kind == "max" and op.dims == (axis,):
            return op.results[0]
    return None


def _agrees(cone: Cone, axis: int) -> bool:
    """Whether the cone is a softmax of its first source whatever its second is."""
    source, maximum = cone.sources
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, build.shape_of(source))
    shift = rng.uniform(-4, 4, build.shape_of(maximum))
    powers = np.exp(x)
    expected = powers / powers.sum(axis, keepdims=True)
    found = list(cone.evaluate({source: x, maximum: shift}, elementwise=False))
    is_used = any(maximum in op.operands for op in cone.ops)
    return is_used and bool(found) and all(np.abs(f - expected).max() <= _TOLERANCE for f in found)


def _summed_axis(op: ir.Operation) -> int | None:
    """The dim of the sum this operation divides by, None when there is no such sum."""
    divisors = list(op.operands)[1:] if isa(op, DivideOp) else list(op.operands)
    for value in divisors:
        reduced = _sum_behind(value)
        dims: tuple[int, ...] = reduced.dims if reduced else ()
        if reduced and len(dims) == 1 and reduced.operands[0].type.rank == op.results[0].type.rank:
            return dims[0]
    return None


def _sum_behind(value: ir.Value) -> ir.Operation | None:
    """The reduction of kind sum behind broadcasts, unit reshapes, conversions and reciprocals."""
    op = defining_op(value)
    while op is not None:
        if isa(op, ReduceOp):
            return op if op.kind == "sum" else None
        is_inverse = isa(op, DivideOp) and splat_of(op.operands[0]) == 1
        if kind_of(op) not in _THROUGH and not is_inverse:
            return None
        op = defining_op(op.operands[1 if is_inverse else 0])
    return None
