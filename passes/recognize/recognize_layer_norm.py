"""Find layer norm and rms norm written out: one `neuron.layer_norm` or `neuron.rms_norm` instead.

Why: VectorE has an instruction for mean and variance at once; written out a norm is ten operations
with two reductions, two divisions and four broadcasts.

Precondition: neuron operations, constants folded, `merge-views` has run.
Postcondition: norms over the last axis around one rsqrt or sqrt, in whatever algebra (two-pass
variance, E[x^2] - E[x]^2, gamma multiplied early), are one operation.

Before:
    %n = "neuron.constant"() {value = dense<8.0> : tensor<4xf32>} : () -> tensor<4xf32>
    %e = "neuron.constant"() {value = dense<0.125> : tensor<4xf32>} : () -> tensor<4xf32>
    %0 = "neuron.multiply"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %1 = "neuron.reduce"(%0) {dims = [1], kind = "sum"} : (tensor<4x8xf32>) -> tensor<4xf32>
    %2 = "neuron.divide"(%1, %n) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %3 = "neuron.add"(%2, %e) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %4 = "neuron.rsqrt"(%3) : (tensor<4xf32>) -> tensor<4xf32>
    %5 = "neuron.broadcast"(%4) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
    %6 = "neuron.multiply"(%x, %5) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %7 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
    %8 = "neuron.multiply"(%6, %7) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
After:
    %8 = "neuron.rms_norm"(%x, %g) {epsilon = 1.25e-1 : f64}
         : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>

A norm without gamma or beta gets constants of ones and zeros. Decides by meaning: the cone, run in
float64 on rows of sizes from sqrt(epsilon) up, must agree within 1e-6 * (1 + |y|). Leaves alone:
norms over other axes, and norms whose rsqrt is read in two places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    AddOp,
    BroadcastOp,
    ConvertOp,
    DivideOp,
    MaximumOp,
    MultiplyOp,
    PowerOp,
    ReciprocalOp,
    ReshapeOp,
    RsqrtOp,
    SqrtOp,
    SubtractOp,
    isa,
    kind_of,
)
from axonc.passes.base import Pass
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.rewrite import in_place_of
from axonc.passes.graph.uses import defining_op, erase_dead, use_count
from axonc.passes.recognize.cone import REDUCING_OPS, Cone, Dominators, find_cone
from axonc.passes.recognize.few_rows import with_few_rows

_ANCHORS = frozenset({RsqrtOp, SqrtOp, PowerOp})
_ONWARD = frozenset(
    {BroadcastOp, ReshapeOp, MultiplyOp, DivideOp, ReciprocalOp, AddOp, SubtractOp, ConvertOp}
)
"""Operations a norm may go through after its root."""

_CHAIN = 8
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class RecognizeLayerNormPass(Pass, name="recognize-layer-norm", anchor="func.func"):
    """Find layer norm and rms norm written out."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        search = _Search(Dominators(block))
        changed = False
        for each in list(block.operations):
            if kind_of(each) in _ANCHORS:
                changed |= search.replace(each)
        return erase_dead(block) or changed


@dataclass(frozen=True)
class _Form:
    """What a cone turned out to be."""

    op: str
    gamma: int | None
    beta: int | None
    """With `gamma`: positions among its vectors; None for ones, zeros."""


@dataclass
class _Search:
    dominators: Dominators
    known: dict[str, _Form | None] = field(default_factory=dict)

    def replace(self, anchor: ir.Operation) -> bool:
        """Put a norm in the place of the last operation of the one around `anchor`, if there is
        one."""
        epsilon = _epsilon(anchor)
        if epsilon is None:
            return False
        sources = list(self.dominators.chain(anchor.results[0], _CHAIN))[::-1]
        for root in reversed(list(_roots(anchor))):
            for source in sources:
                if self._replace_between(root, source, anchor, epsilon):
                    return True
        return False

    def _replace_between(
        self, root: ir.Value, source: ir.Value, anchor: ir.Operation, epsilon: float
    ) -> bool:
        if source.type != root.type:
            return False
        if math.prod(build.shape_of(anchor.results[0])) >= math.prod(build.shape_of(root)):
            return False
        cone, vectors = _cone_with_vectors(root, source)
        form = self._form(cone, epsilon) if cone else None
        if form is None:
            return False
        op = root.owner
        with in_place_of(op):
            root.replace_all_uses_with(_build(form, source, vectors, epsilon))
        return True

    def _form(self, cone: Cone, epsilon: float) -> _Form | None:
        key = f"{epsilon}\n{cone.key()}"
        if key not in self.known:
            few = with_few_rows(cone, len(build.shape_of(cone.sources[0])) - 1)
            self.known[key] = None if few is None else _recognized(few, epsilon)
        return self.known[key]


def _epsilon(anchor: ir.Operation) -> float | None:
    """The constant added before the root; 0.0 without one; None when the anchor is another
    power."""
    if isa(anchor, PowerOp) and splat_of(anchor.operands[1]) not in (-0.5, 0.5):
        return None
    added = defining_op(anchor.operands[0], AddOp)
    if added is None:
        return 0.0
    numbers = [n for v in added.operands if (n := splat_of(v)) is not None]
    return float(numbers[0]) if numbers and numbers[0] >= 0 else None


def _roots(anchor: ir.Operation) -> Iterator[ir.Value]:
    """Values after the anchor that might be the whole norm, nearest first."""
    value = anchor.results[0]
    for _ in range(_CHAIN):
        if use_count(value) != 1:
            return
        user = next(iter(value.uses)).owner
        if kind_of(user) not in _ONWARD:
            return
        value = user.results[0]
        if not isa(user, BroadcastOp, ReshapeOp):
            yield value


def _cone_with_vectors(
    root: ir.Value, source: ir.Value
) -> tuple[Cone | None, tuple[ir.Value, ...]]:
    """The cone over `source` and the vectors broadcast along the last axis, such as gamma and
    beta."""
    vectors: dict[ir.Value, None] = {}
    seen: set[ir.Value] = set()
    stack = [root]
    while stack:
        value = stack.pop()
        op = defining_op(value)
        if value in seen or value == source or op is None or kind_of(op) not in REDUCING_OPS:
            continue
        seen.add(value)
        if _is_vector_broadcast(op):
            vectors[op.operands[0]] = None
        else:
            stack.extend(op.operands)
    leaves = tuple(vectors)
    if len(leaves) > 2:
        return None, ()
    return find_cone(root, (source, *leaves), REDUCING_OPS), leaves


def _is_vector_broadcast(op: ir.Operation) -> bool:
    if not isa(op, BroadcastOp):
        return False
    shape, last = build.shape_of(op.operands[0]), op.results[0].type.rank - 1
    dims = op.dims
    wide = [d for d, size in zip(dims, shape, strict=True) if size != 1]
    return wide == [last]


def _recognized(cone: Cone, epsilon: float) -> _Form | None:
    """The norm the cone computes."""
    source, *vectors = cone.sources
    rng = np.random.default_rng(0)
    x = _probe(build.shape_of(source), epsilon, rng)
    values = [rng.uniform(-1.5, 1.5, build.shape_of(v)) for v in vectors]
    arrays = dict(zip(cone.sources, (x, *values), strict=True))
    with np.errstate(all="ignore"):
        inert = _bounds_below_squares(cone, arrays)
        found = list(cone.evaluate(arrays, elementwise=False, inert=inert))
        flat = [v.reshape(-1) for v in values]
        for form in _FORMS[len(vectors)]:
            expected = _norm(form, x, flat, epsilon)
            if found and all(_agree(f, expected) for f in found):
                return form
    return None


def _agree(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.all(np.abs(found - expected) <= _TOLERANCE * (1 + np.abs(expected))))


def _bounds_below_squares(cone: Cone, arrays: Mapping[ir.Value, np.ndarray]) -> dict[ir.Value, int]:
    """Results of maximum(v, c), c <= 0, with the number of v, where v is a variance or a mean of
    squares: these are never below 0, so the bound does nothing. (In floats E[x^2] - E[x]^2 may be;
    then the norm, which subtracts the mean first, is nearer to the truth.)"""
    x = arrays[cone.sources[0]]
    squares = [np.square(x).mean(-1), np.square(x - x.mean(-1, keepdims=True)).mean(-1)]
    found = {}
    for op in [o for o in cone.ops if isa(o, MaximumOp)]:
        for number in (0, 1):
            bound = splat_of(op.operands[1 - number])
            if bound is None or bound > 0:
                continue
            below = find_cone(op.operands[number], cone.sources, REDUCING_OPS)
            values = list(below.evaluate(arrays, elementwise=False)) if below else []
            if values and any(all(_is_same(v, s) for v in values) for s in squares):
                found[op.results[0]] = number
    return found


def _is_same(found: np.ndarray, rows: np.ndarray) -> bool:
    return found.size == rows.size and _agree(found.reshape(rows.shape), rows)


def _probe(shape: Sequence[int], epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """Rows whose variance goes from about epsilon to 1 or above, their means as far from 0 as they
    are wide."""
    small = math.sqrt(max(epsilon, 1e-12))
    large = max(1.0, 3 * small)
    scale = np.exp(rng.uniform(math.log(small), math.log(large), (*shape[:-1], 1)))
    scale.reshape(-1)[0] = small
    return scale * (rng.standard_normal(shape) + rng.uniform(-1, 1, (*shape[:-1], 1)))


def _norm(form: _Form, x: np.ndarray, vectors: list[np.ndarray], epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True) if form.op == "layer_norm" else x
    result = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + epsilon)
    if form.gamma is not None:
        result = result * vectors[form.gamma]
    return result if form.beta is None else result + vectors[form.beta]


_FORMS: tuple[tuple[_Form, ...], ...] = (
    (_Form("layer_norm", None, None), _Form("rms_norm", None, None)),
    (
        _Form("layer_norm", 0, None),
        _Form("layer_norm", None, 0),
        _Form("rms_norm", 0, None),
    ),
    (_Form("layer_norm", 0, 1), _Form("layer_norm", 1, 0)),
)
"""What a cone with 0, 1 or 2 vectors may be."""


def _build(form: _Form, source: ir.Value, vectors: Sequence[ir.Value], epsilon: float) -> ir.Value:
    kind = build.tensor(source.type.shape[-1:], source.type.element_type)
    gamma = _vector(form.gamma, vectors, kind, 1.0)
    if form.op == "rms_norm":
        return build.rms_norm(source, gamma, epsilon)
    return build.layer_norm(source, gamma, _vector(form.beta, vectors, kind, 0.0), epsilon)


def _vector(
    position: int | None, vectors: Sequence[ir.Value], kind: ir.RankedTensorType, default: float
) -> ir.Value:
    if position is None:
        return build.splat_constant(default, kind)
    return build.reshape(vectors[position], kind.shape)
