"""Reductions of what cores have gathered: each reduces its part, and only the results are gathered.

    v = all_gather(x), p = all_gather(places)   along d
    stablehlo.reduce(v, p) across dimensions = [d]

is how an argmax over a vocabulary is written that is cut over cores. A core reduces its own x and
places to one element, these are gathered instead, and reduced by the same region.

Proof: parts are gathered in the order of the group, so every part is a run of neighbours, and the
tree which combines parts first keeps the order.
"""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.stablehlo import dense_integers
from axonc.passes.prepare import words
from axonc.passes.prepare.regions.arg_extremes import extreme_and_place
from axonc.passes.prepare.regions.reduction_tree import combined_along, reduced
from axonc.passes.prepare.regions.scalar_body import ScalarBody, Tensors

_GATHER = "stablehlo.all_gather"


def reduced_before_gathering(op: ir.Operation, body: ScalarBody) -> Tensors | None:
    """The results; None where something is not gathered for this reduction alone, along its one
    dim, by the same groups."""
    count, dims = len(op.results), dense_integers(op.attributes["dimensions"])
    gathers = _gathers(list(op.operands)[:count])
    if gathers is None or len(dims) != 1 or not _are_alike(gathers, dims[0]):
        return None
    (dim,) = dims
    parts = [words.convert(g.operands[0], body.element(n)) for n, g in enumerate(gathers)]
    if not parts[0].type.shape[dim]:
        return None
    shape = [1 if d == dim else n for d, n in enumerate(parts[0].type.shape)]
    own = extreme_and_place(body, parts, dims) or combined_along(body.combine, parts, dim)
    pairs = zip(gathers, own, strict=True)
    whole = [_gathered(g, words.reshape(v, shape), dim) for g, v in pairs]
    initial = [words.convert(v, body.element(n)) for n, v in enumerate(list(op.operands)[count:])]
    return reduced(body.combine, whole, initial, dims)


def erase_unread_gathers(tensors: Tensors) -> None:
    """Of these: what cores exchange is never taken for dead elsewhere."""
    owners = {v.owner.operation for v in tensors if not isinstance(v.owner, ir.Block)}
    for each in owners:
        if each.name == _GATHER and not list(each.results[0].uses):
            each.erase()


def _gathers(tensors: Tensors) -> list[ir.Operation] | None:
    """The operation that gathers each tensor, for one reader alone."""
    owners = [v.owner for v in tensors]
    if any(isinstance(owner, ir.Block) for owner in owners):
        return None
    gathers: list[ir.Operation] = [owner.operation for owner in owners]
    is_for_one = all(
        g.name == _GATHER and len(g.operands) == 1 and len(list(g.results[0].uses)) == 1
        for g in gathers
    )
    return gathers if is_for_one else None


def _are_alike(gathers: list[ir.Operation], dim: int) -> bool:
    """Whether all are along `dim`, by the same groups."""
    along = {ir.IntegerAttr(g.attributes["all_gather_dim"]).value for g in gathers}
    groups = {str(g.attributes["replica_groups"]) for g in gathers}
    ways = {"use_global_device_ids" in g.attributes for g in gathers}
    return along == {dim} and len(groups) == len(ways) == 1


def _gathered(like: ir.Operation, value: ir.Value, dim: int) -> ir.Value:
    """One element of every core of the group along `dim`."""
    cores = like.results[0].type.shape[dim] // like.operands[0].type.shape[dim]
    shape = [cores if d == dim else n for d, n in enumerate(value.type.shape)]
    kind = ir.RankedTensorType.get(shape, value.type.element_type)
    return words.create("all_gather", (value,), kind, dict(like.attributes.items()))
