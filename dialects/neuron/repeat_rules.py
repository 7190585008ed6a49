"""The numbered rules of `neuron.repeat`; see `axonc.dialects.neuron.ops.RepeatOp`."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.neuron.repeat import Repeat, Values, function_named, module_of


def run(op: ir.Operation) -> str:
    """The first broken rule as text, "" when there is none."""
    try:
        return _tensors(op) or _counts(op) or _types(op)
    except KeyError:
        return ""  # a declared attribute is missing: the generated verifier runs next and names it
    except (IndexError, ValueError, TypeError) as error:
        return f"has operands or attributes of the wrong kind or number: {error}"


def _tensors(op: ir.Operation) -> str:
    for value in (*op.operands, *op.results):
        if not isinstance(value.type, ir.RankedTensorType) or not value.type.has_static_shape:
            return f"(C1) needs tensors of static shape, got {value.type}"
    return ""


def _counts(op: ir.Operation) -> str:
    names = ("count", "carried", "invariant")
    count, carried, invariant = (ir.IntegerAttr(op.attributes[n]).value for n in names)
    if count < 1 or carried < 0 or invariant < 0:
        return f"(C2) count is {count}, carried {carried}, invariant {invariant}"
    varying, collected = len(op.operands) - carried - invariant, len(op.results) - carried
    if varying < 0 or collected < 0 or varying % count or collected % count:
        return f"(C3) {varying} varying operands and {collected} collected results of {count} calls"
    return ""


def _types(op: ir.Operation) -> str:
    parts = Repeat.of(op)
    if _kinds(parts.carried) != _kinds(parts.carried_out):
        return "(C4) carried operands and results have different types"
    for slots in (parts.varying, parts.collected):
        if any(_kinds(slot) != _kinds(slots[0]) for slot in slots):
            return "(C4) a slot has values of different types"
    return _callee(op, parts)


def _callee(op: ir.Operation, parts: Repeat) -> str:
    module = module_of(op)
    if module is None:
        return ""
    function = function_named(module, parts.callee)
    if function is None:
        return f"(C5) the module has no function @{parts.callee}"
    kind = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
    inputs = _kinds((*parts.carried, *parts.arguments(0)))
    results = _kinds((*parts.carried_out, *parts.collected[0]))
    if list(kind.inputs) != inputs or list(kind.results) != results:
        expected = ir.FunctionType.get(inputs, results, context=op.context)
        return f"(C5) @{parts.callee} is {kind}, expected {expected}"
    return ""


def _kinds(values: Values | Sequence[ir.Value]) -> list[ir.Type]:
    return [v.type for v in values]
