"""Annotate an unsharded program with shardings of its arguments, and have it partitioned: what the
choices of `tensor_parallel` and `data_parallel` share.
"""

from __future__ import annotations

from dataclasses import replace

from jaxlib.mlir import ir
from jaxlib.mlir.passmanager import PassManager

from axonc.diagnostics import UsageError
from axonc.imported import stablehlo_module
from axonc.imported.inline_calls import inline_calls
from axonc.imported.program import ImportedProgram
from axonc.imported.state_pairs import StatePairs
from axonc.partition import opaque_ops
from axonc.partition.finish import finish_partitioned
from axonc.partition.shardy import partition
from axonc.partition.shardy_attributes import KEY, add_mesh, from_sharding
from axonc.partition.shardy_guard import RULE_KEY
from axonc.sharding import Mesh, Sharding


def analysable(program: ImportedProgram) -> ir.Module:
    """One function in which Shardy knows every operation.

    Raises:
        UsageError: the program is sharded already.
    """
    if program.mesh is not None:
        raise UsageError(
            f"the program is sharded already, over {program.mesh}",
            hint="leave the parallel option out; its own shardings say how",
        )
    context = stablehlo_module.new_context()
    module = stablehlo_module.deserialize(program.module_bytes, context)
    with context, ir.Location.unknown():
        inline_calls(module, is_kept=opaque_ops.is_opaque)
        found = [op for op in stablehlo_module.walk(module) if opaque_ops.is_opaque(op)]
        opaque_ops.hide(found)
        inline_calls(module, is_kept=opaque_ops.is_opaque)
    return module


def populate_rules(module: ir.Module) -> None:
    """Write `sdy.sharding_rule` on every operation that has one."""
    passes = "builtin.module(func.func(sdy-populate-op-sharding-rules))"
    PassManager.parse(passes, context=module.context).run(module.operation)


Cuts = dict[str, dict[int, int]]
"""By axis of the mesh: the dim that is cut along it, by the number of an argument."""


def annotate_arguments(module: ir.Module, main: ir.OpView, mesh: Mesh, cuts: Cuts) -> None:
    """Declare the mesh and give every argument its sharding, whole where `cuts` has no dim."""
    add_mesh(module, mesh)
    shardings = [
        sharding_of(mesh, ir.RankedTensorType(kind).rank, cuts, i)
        for i, kind in enumerate(main.type.inputs)
    ]
    main.operation.attributes["arg_attrs"] = ir.ArrayAttr.get(
        [ir.DictAttr.get({KEY: from_sharding(s)}) for s in shardings]
    )
    for view in main.entry_block.operations:
        if RULE_KEY in view.operation.attributes and not opaque_ops.is_hidden(view.operation):
            del view.operation.attributes[RULE_KEY]


def sharding_of(mesh: Mesh, rank: int, cuts: Cuts, argument: int) -> Sharding:
    """Of an argument: each dim is cut along the axes that name it, in the order of the mesh."""
    axes = [[a for a, _ in mesh.axes if cuts.get(a, {}).get(argument) == d] for d in range(rank)]
    return Sharding(mesh, tuple(map(tuple, axes)))


def partitioned(
    module: ir.Module, program: ImportedProgram, notes: tuple[str, ...]
) -> ImportedProgram:
    """Partition an annotated module; weights are those of `program`."""
    names = [a.name for a in program.arguments]
    with module.context, ir.Location.unknown():
        parts = partition(module)
        state = StatePairs(program.aliases, program.open_state)
        sharded = finish_partitioned(parts, names, list(program.result_names), state)
    bound = {a.name: a.weight for a in program.arguments if a.weight is not None}
    arguments = tuple(
        a if a.weight is not None else replace(a, weight=bound.get(a.name))
        for a in sharded.arguments
    )
    return replace(sharded, arguments=arguments, sharding_notes=notes + sharded.sharding_notes)
