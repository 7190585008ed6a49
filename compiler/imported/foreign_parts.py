"""Parts of a module that are not StableHLO's: named all at once, where they can be named later
together with everything else that cannot be compiled.

An operation of another dialect becomes a custom call with its name (`FOREIGN`), on the same
operands, at the same place; legalisation refuses custom calls. What has a type outside of
StableHLO cannot leave this host, so it is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from axonc.diagnostics import FOREIGN, Finding, SourceLocation, unsupported_error
from axonc.imported.stablehlo_module import (
    is_known,
    main_function,
    new_context,
    source_location,
    walk,
)

_FIXED_SIZES = "trace the model with fixed sizes, once for each size needed"
_TENSORS = "arguments and results of a program are tensors"
_STANDARD = "use an element type of StableHLO"


def replace_foreign_ops(module: ir.Module) -> None:
    """Make a custom call of every operation of another dialect, in place; those that cannot be one
    (they end a block, or stand outside of functions) are left."""
    while (op := next((op for op in walk(module) if _may_be_call(op)), None)) is not None:
        _replace_by_call(op)


def strip_custom_calls(module: ir.Module) -> None:
    """Drop what other dialects say of custom calls: calls that are known here need none of it."""
    for op in [op for op in walk(module) if op.name == "stablehlo.custom_call"]:
        for name in [name for name in op.attributes if "." in name]:
            del op.attributes[name]


def _may_be_call(op: ir.Operation) -> bool:
    """The outermost such operation comes first, and takes what is inside along."""
    if is_known(op) or op.parent is None or op.parent.name == "builtin.module":
        return False
    return not op.successors and op.operation != list(op.block.operations)[-1].operation


def _replace_by_call(op: ir.Operation) -> None:
    with ir.InsertionPoint(op), op.location:
        call = ir.Operation.create(
            "stablehlo.custom_call",
            results=[result.type for result in op.results],
            operands=list(op.operands),
            attributes={
                "call_target_name": ir.StringAttr.get(FOREIGN + op.name),
                "has_side_effect": ir.BoolAttr.get(True),  # not to be dropped without uses
            },
        )
    for old, new in zip(op.results, call.results, strict=True):
        old.replace_all_uses_with(new)
    op.erase()


def refuse_foreign_types(module: ir.Module, names: Sequence[str]) -> None:
    """names: of the arguments.

    Raises:
        UnsupportedOpError: an argument or result is no tensor of fixed shape, or a value has a type
            that StableHLO has not; with every other such.
    """
    main = main_function(module)
    findings = [*_boundary_findings(main, names), *_value_findings(module)]
    if findings:
        raise unsupported_error(findings)


def _boundary_findings(main: ir.OpView, names: Sequence[str]) -> Iterator[Finding]:
    place = _place(main.operation)
    for name, value in zip(names, main.arguments, strict=True):
        if problem := _boundary_problem(value.type, is_argument=True):
            yield Finding(f"argument '{name}'", problem[0], place, problem[1])
    for number, kind in enumerate(main.type.results):
        if problem := _boundary_problem(kind, is_argument=False):
            yield Finding(f"result {number}", problem[0], place, problem[1])


def _boundary_problem(kind: ir.Type, *, is_argument: bool) -> tuple[str, str] | None:
    """(reason, hint). The shape of a result may still be found."""
    if not isinstance(kind, ir.RankedTensorType):
        return f"type {kind}", _TENSORS
    if is_argument and not kind.has_static_shape:
        return f"dynamic type {kind}", _FIXED_SIZES
    if str(kind.element_type) == "tf32":
        return f"type {kind}, which no array has", "pass float32; tf32 is a type to compute in"
    return None if _is_stablehlo(kind) else (f"type {kind}", _STANDARD)


def _value_findings(module: ir.Module) -> Iterator[Finding]:
    known: dict[ir.Type, bool] = {}
    for op in walk(module):
        for result in op.results:
            kind = result.type
            if kind not in known:
                known[kind] = _is_stablehlo(kind)
            if not known[kind]:
                yield Finding(op.name, f"type {kind}", _place(op), _STANDARD)


def _place(op: ir.Operation) -> SourceLocation:
    return source_location(str(op.location)) or SourceLocation()


def _is_stablehlo(kind: ir.Type) -> bool:
    """Whether a portable artifact can hold values of this type: tried on a function of one."""
    context = new_context()
    with context, ir.Location.unknown():
        context.attach_diagnostic_handler(lambda _: True)
        module = ir.Module.parse(f"func.func private @f({kind})")
        try:
            stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())
        except (ir.MLIRError, ValueError):
            return False
    return True
