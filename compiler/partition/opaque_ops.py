"""Operations Shardy does not know, as custom calls with a sharding rule, and back.

`chlo.erf` and its like stay whole through the front end (`stablehlo_module.KEPT_CHLO_OPS`), as ops
or as composites. Shardy partitions neither. A custom call with `sdy.sharding_rule` it does
partition; afterwards each becomes the chlo op of the local types.
"""

from __future__ import annotations

from collections.abc import Iterable

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy

PREFIX = "axonc."

# All dims pass through, except the last of top_k, which has to be whole.
_POINTWISE = ("chlo.erf", "chlo.erfc", "chlo.erf_inv")
_WHOLE_LAST_DIM = ("chlo.top_k",)


def name_of(op: ir.Operation) -> str:
    """`chlo.erf` for the op and for the composite of that name."""
    if op.name == "stablehlo.composite":
        name: str = op.attributes["name"].value
        return name
    return str(op.name)


def is_opaque(op: ir.Operation) -> bool:
    """Whether `hide` takes it."""
    return name_of(op) in _POINTWISE + _WHOLE_LAST_DIM


def hide(ops: Iterable[ir.Operation]) -> None:
    """Replace each by a custom call."""
    for op in list(ops):
        attributes = {
            "call_target_name": ir.StringAttr.get(PREFIX + name_of(op)),
            "sdy.sharding_rule": _rule(op),
            "axonc.attributes": _own_attributes(op),
        }
        call = ir.Operation.create(
            "stablehlo.custom_call",
            results=[r.type for r in op.results],
            operands=list(op.operands),
            attributes=attributes,
            loc=op.location,
            ip=ir.InsertionPoint(op),
        )
        _replace(op, call)


def restore(ops: Iterable[ir.Operation]) -> None:
    """Replace each custom call that `hide` made by the chlo op."""
    for op in list(ops):
        if not is_hidden(op):
            continue
        kept = op.attributes["axonc.attributes"]
        chlo = ir.Operation.create(
            op.attributes["call_target_name"].value.removeprefix(PREFIX),
            results=[r.type for r in op.results],
            operands=list(op.operands),
            attributes={named.name: named.attr for named in kept},
            loc=op.location,
            ip=ir.InsertionPoint(op),
        )
        _replace(op, chlo)


def is_hidden(op: ir.Operation) -> bool:
    """Whether `hide` made it."""
    return bool(
        op.name == "stablehlo.custom_call"
        and op.attributes["call_target_name"].value.startswith(PREFIX)
        and "axonc.attributes" in op.attributes
    )


def _replace(old: ir.Operation, new: ir.Operation) -> None:
    for before, after in zip(old.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    old.erase()


def _own_attributes(op: ir.Operation) -> ir.Attribute:
    if op.name == "stablehlo.composite":
        key = "composite_attributes"
        return op.attributes[key] if key in op.attributes else ir.DictAttr.get({})
    own = [name for name in op.attributes if not name.startswith(("sdy.", "mhlo."))]
    return ir.DictAttr.get({name: op.attributes[name] for name in own})


def _rule(op: ir.Operation) -> sdy.OpShardingRuleAttr:
    """One factor a dim, shared by operand and results; the last dim of top_k is two, both whole."""
    sizes = list(ir.RankedTensorType(op.operands[0].type).shape)
    inside = list(range(len(sizes)))
    outside, whole = inside, []
    if name_of(op) in _WHOLE_LAST_DIM:
        sizes.append(ir.RankedTensorType(op.results[0].type).shape[-1])
        outside, whole = [*inside[:-1], len(inside)], [inside[-1], len(inside)]
    return sdy.OpShardingRuleAttr.get(
        sizes,
        [_mapping(inside)],
        [_mapping(outside)] * len(op.results),
        need_replication_factors=whole,
        is_custom=True,
    )


def _mapping(factors: list[int]) -> sdy.TensorMappingAttr:
    return sdy.TensorMappingAttr.get([sdy.DimMappingAttr.get([f]) for f in factors])
