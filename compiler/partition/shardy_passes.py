"""The passes that make one rank's program of a sharded module, in this process.

Precondition: a module with a mesh, shardings on arguments, results, `sdy.sharding_constraint`s or
`sdy.manual_computation`s. Postcondition: one function with local types, StableHLO collectives, no
Shardy left. Shardy propagates and converts; `shardy_guard` stands between the two.
"""

from __future__ import annotations

import sys

from jaxlib.mlir import ir
from jaxlib.mlir.passmanager import PassManager

from axonc.diagnostics import InternalError, UnsupportedOpError
from axonc.imported.inline_calls import inline_calls
from axonc.imported.stablehlo_module import first_line, main_function, source_location
from axonc.partition import opaque_ops, shardy_guard
from axonc.partition.shardy import STEP_MARK, Partitioned
from axonc.partition.shardy_attributes import function_shardings, mesh_of
from axonc.sharding import Mesh, Sharding

_PROPAGATE = (
    "sdy-propagation-pipeline",
    "sdy-remove-sub-axes-in-input-output-shardings",
    "func.func(sdy-populate-op-sharding-rules)",
)
_EXPORT = (
    # Without enable-full-version sdy-convert-global-to-local meets what it cannot convert.
    "func.func(sdy-insert-explicit-reshards{enable-full-version=true})",
    "func.func(sdy-reshard-to-collectives)",
    "func.func(sdy-drop-sharding-rules)",
    "sdy-convert-global-to-local",
)


def partition_here(module: ir.Module) -> Partitioned:
    """What the worker does; `module` is changed."""
    mesh = mesh_of(module)
    if mesh is None:
        raise InternalError("a module without mesh was given to the partitioner")
    inline_calls(module, is_kept=opaque_ops.is_opaque)
    main = main_function(module)
    opaque_ops.hide([op for op in _all_ops(main) if opaque_ops.is_opaque(op)])
    _run(module, "func.func(chlo-legalize-to-stablehlo)")
    for step in _PROPAGATE:
        _run(module, step)
    main = main_function(module)
    shardy_guard.strip_regions(main)
    notes = shardy_guard.make_whole(main, mesh)
    arguments, results = function_shardings(main, mesh)
    _check_divisible(main, arguments, results)
    whole = list(main.type.inputs)
    for step in _EXPORT:
        _run(module, step)
        if "insert-explicit" in step:
            _check_guarded(main, mesh)
    main = main_function(module)
    _check_local_types(main, whole, arguments)
    opaque_ops.restore(_all_ops(main))
    _drop_shardy(module, main)
    return Partitioned(module, mesh, arguments, results, tuple(notes))


def _run(module: ir.Module, step: str) -> None:
    print(f"{STEP_MARK}{step}", file=sys.stderr, flush=True)
    try:
        with module.context:
            PassManager.parse(f"builtin.module({step})").run(module.operation)
    except ir.MLIRError as error:
        text = str(error)
        raise UnsupportedOpError(
            f"Shardy cannot partition this program: {first_line(error)}",
            location=source_location(text),
            hint="replicate the tensor concerned before the operation",
        ) from None


def _all_ops(main: ir.OpView) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op)
        return ir.WalkResult.ADVANCE

    main.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _check_divisible(
    main: ir.OpView, arguments: tuple[Sharding, ...], results: tuple[Sharding, ...]
) -> None:
    """Raises:
    UsageError: an argument or a result that its sharding does not divide evenly.
    """
    types = (*main.type.inputs, *main.type.results)
    for kind, sharding in zip(types, (*arguments, *results), strict=True):
        sharding.local_shape(tuple(ir.RankedTensorType(kind).shape))


def _check_guarded(main: ir.OpView, mesh: Mesh) -> None:
    """What the guard ruled out must not have come back."""
    for violation in shardy_guard.violations(main, mesh):
        raise UnsupportedOpError(
            "Shardy cuts a dim that the operation needs whole",
            op=violation.op.name,
            location=source_location(str(violation.op.location)),
            hint="replicate its operand: with_sharding_constraint(x, P()) before it",
        )


def _check_local_types(
    main: ir.OpView, whole: list[ir.Type], shardings: tuple[Sharding, ...]
) -> None:
    for before, after, sharding in zip(whole, main.type.inputs, shardings, strict=True):
        expected = sharding.local_shape(tuple(ir.RankedTensorType(before).shape))
        found = tuple(ir.RankedTensorType(after).shape)
        if found != expected:
            raise InternalError(f"argument {before} became {after}; {sharding} says {expected}")


def _drop_shardy(module: ir.Module, main: ir.OpView) -> None:
    """Attributes and meshes go; an operation of Shardy's that is left is an error."""
    for op in _all_ops(main):
        if op.name.startswith("sdy."):
            raise UnsupportedOpError(
                f"Shardy left a {op.name}", location=source_location(str(op.location))
            )
        for name in [n for n in op.attributes if n.startswith("sdy.")]:
            del op.attributes[name]
    for which in ("arg_attrs", "res_attrs"):
        if which in main.operation.attributes:
            del main.operation.attributes[which]
    for op in [o for o in module.body.operations if o.operation.name == "sdy.mesh"]:
        op.operation.erase()
