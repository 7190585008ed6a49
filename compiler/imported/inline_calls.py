"""Inline calls and composites of a jaxlib module, so that `@main` is everything.

jaxlib's own `inline` pass leaves `func.call` alone (the context has no inliner for it), and knows
no composites at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import networkx
from jaxlib.mlir import ir

from axonc.diagnostics import CompileError

CALLEE_ATTRIBUTE = {"func.call": "callee", "stablehlo.composite": "decomposition"}


def inline_calls(module: ir.Module, is_kept: Callable[[ir.Operation], bool]) -> None:
    """Replace every call and composite in public functions by the body of what it calls, except
    those `is_kept` says to leave; private functions without calls are erased then.
    """
    functions = {f.name.value: f for f in module.body.operations if f.operation.name == "func.func"}
    for function in functions.values():
        if "sym_visibility" in function.operation.attributes and _is_private(function):
            continue
        while calls := [op for op in calls_in(function.operation) if not is_kept(op)]:
            for call in calls:
                _inline(call, functions[_callee(call)])
    _erase_unused(module, functions)


def refuse_recursion(module: ir.Module) -> None:
    """Raises: CompileError when a function calls itself, at once or by way of others."""
    functions = [f for f in module.body.operations if f.operation.name == "func.func"]
    calls = {f.name.value: [_callee(c) for c in calls_in(f.operation)] for f in functions}
    graph = networkx.DiGraph((caller, callee) for caller in calls for callee in calls[caller])
    try:
        cycle = [caller for caller, _ in networkx.find_cycle(graph)]
    except networkx.NetworkXNoCycle:
        return
    way = " calls ".join(f"@{name}" for name in (*cycle, cycle[0]))
    raise CompileError(f"recursion: {way}", hint="write it as a loop: stablehlo.while")


def calls_in(op: ir.Operation) -> Iterator[ir.Operation]:
    """The calls and composites in an operation's regions."""
    found: list[ir.Operation] = []

    def visit(inner: ir.Operation) -> ir.WalkResult:
        if inner.name in CALLEE_ATTRIBUTE:
            found.append(inner)
        return ir.WalkResult.ADVANCE

    op.walk(visit, ir.WalkOrder.PRE_ORDER)
    return iter(found)


def _inline(call: ir.Operation, callee: ir.OpView) -> None:
    body = callee.entry_block
    values = dict(zip(body.arguments, call.operands, strict=True))
    *operations, terminator = body.operations
    for op in operations:
        with ir.InsertionPoint(call):
            copy = op.operation.clone()
        copy.location = ir.Location.callsite(copy.location, [call.location])
        _map_operands(copy, values)
        values.update(zip(op.operation.results, copy.results, strict=True))
    for old, new in zip(call.results, terminator.operation.operands, strict=True):
        old.replace_all_uses_with(values[new])
    call.erase()


def _map_operands(op: ir.Operation, values: dict[ir.Value, ir.Value]) -> None:
    """Point the operands of a copied operation, and of those in its regions, at the copies."""

    def visit(inner: ir.Operation) -> ir.WalkResult:
        for i, operand in enumerate(inner.operands):
            if operand in values:
                inner.operands[i] = values[operand]
        return ir.WalkResult.ADVANCE

    op.walk(visit, ir.WalkOrder.PRE_ORDER)


def _callee(call: ir.Operation) -> str:
    name: str = ir.FlatSymbolRefAttr(call.attributes[CALLEE_ATTRIBUTE[call.name]]).value
    return name


def _is_private(function: ir.OpView) -> bool:
    return bool(function.operation.attributes["sym_visibility"].value == "private")


def _erase_unused(module: ir.Module, functions: dict[str, ir.OpView]) -> None:
    called = {_callee(call) for call in calls_in(module.operation)}
    for name, function in functions.items():
        is_private = "sym_visibility" in function.operation.attributes and _is_private(function)
        if is_private and name not in called:
            function.operation.erase()
