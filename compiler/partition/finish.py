"""From a read module to an imported program: prepared, partitioned, named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxlib.mlir import ir
from jaxlib.mlir.passmanager import PassManager

from axonc.diagnostics import CompileError, UnsupportedOpError
from axonc.imported.aliases import state_of
from axonc.imported.constants import hoist_large_constants
from axonc.imported.foreign_parts import (
    refuse_foreign_types,
    replace_foreign_ops,
    strip_custom_calls,
)
from axonc.imported.inline_calls import refuse_recursion
from axonc.imported.lookups import mark_lookups
from axonc.imported.program import Argument, ImportedProgram
from axonc.imported.random_key import random_key
from axonc.imported.short_locations import use_project_paths
from axonc.imported.stablehlo_module import (
    COLLECTIVES,
    KEPT_CHLO_OPS,
    argument_names_of,
    deserialize,
    diagnostics,
    first_line,
    main_function,
    result_names_of,
    serialize,
    source_location,
    walk,
    write_names,
)
from axonc.imported.state_pairs import StatePairs
from axonc.partition.rank_tables import lift_rank_tables
from axonc.partition.shardy import Partitioned, is_sharded, partition
from axonc.sharding import Mesh, Sharding

_PREPARE = (
    f"builtin.module(stablehlo-wrap-in-composite{{op-names={','.join(KEPT_CHLO_OPS)} version=1}},"
    "func.func(chlo-legalize-to-stablehlo))"
)


def finish_import(
    module: ir.Module,
    *,
    argument_names: list[str] | None = None,
    result_names: list[str] | None = None,
    returned_names: Sequence[str] = (),
) -> ImportedProgram:
    """Keep or expand chlo, lift large constants to weights, name arguments, serialize.

    `module` is changed. Names not given are read from the module (attributes, then locations).
    returned_names: the variable each result is returned from, "" for none.

    Raises:
        CompileError: no `@main`, or the module does not verify.
        UnsupportedOpError: what Shardy cannot partition, a dynamic shape, an op of an unknown
            dialect.
    """
    with module.context, ir.Location.unknown():
        refuse_recursion(module)
        use_project_paths(module)
        main = main_function(module)
        names = _unique(argument_names or argument_names_of(main))
        results = _unique(result_names or result_names_of(main))
        state = state_of(main, names, results, returned_names)
        if is_sharded(module):
            return finish_partitioned(partition(module), names, results, state)
        _refuse_partitions(module)
        module, arguments = _prepare(module, names)
        return _named_program(module, arguments, results, state)


def finish_partitioned(
    parts: Partitioned,
    names: list[str],
    results: list[str],
    state: StatePairs | None = None,
) -> ImportedProgram:
    """The module is one rank's; arguments and results are described as the whole tensors."""
    module, arguments = _prepare(parts.module, names, parts.mesh)
    shardings = (*parts.arguments, *(a.sharding for a in arguments[len(parts.arguments) :]))
    described = [
        replace(a, shape=s.global_shape(a.shape), sharding=s) if a.sharding is None and s else a
        for a, s in zip(arguments, shardings, strict=True)
    ]
    count = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), parts.mesh.size)
    module.operation.attributes["mhlo.num_partitions"] = count
    program = _named_program(module, described, results, state or StatePairs())
    return replace(
        program, mesh=parts.mesh, result_shardings=parts.results, sharding_notes=parts.notes
    )


def _prepare(
    module: ir.Module, names: list[str], mesh: Mesh | None = None
) -> tuple[ir.Module, list[Argument]]:
    """Keep or expand chlo, lift constants and ranks; the module and its arguments, local shapes."""
    _drop_foreign_attributes(module, main_function(module))
    strip_custom_calls(module)
    mark_lookups(module)
    refuse_foreign_types(module, names)
    _run(PassManager.parse(_PREPARE), module)
    replace_foreign_ops(module)
    # The round trip turns `dense_resource` blobs, unreadable in Python, into dense elements.
    module = deserialize(serialize(module), module.context)
    main = main_function(module)
    arguments = [_argument(n, a) for n, a in zip(names, main.arguments, strict=True)]
    tables = lift_rank_tables(main, mesh, taken=set(names)) if mesh is not None else []
    tables += random_key(main, taken=set(names))
    hoisted = hoist_large_constants(main, taken=set(names))
    if mesh is not None:
        hoisted = [replace(a, sharding=Sharding.replicated(mesh, len(a.shape))) for a in hoisted]
    return module, [*arguments, *tables, *hoisted]


def _named_program(
    module: ir.Module, arguments: list[Argument], results: list[str], state: StatePairs
) -> ImportedProgram:
    write_names(main_function(module), [a.name for a in arguments], results, state)
    return ImportedProgram(
        serialize(module),
        tuple(arguments),
        tuple(results),
        aliases=state.pairs,
        open_state=state.open,
    )


def _run(passes: PassManager, module: ir.Module) -> None:
    with diagnostics(module.context) as complaints:
        try:
            passes.run(module.operation)
        except ir.MLIRError as error:
            place = source_location(str(error))
            raise CompileError(next(iter(complaints), first_line(error)), location=place) from None


def _refuse_partitions(module: ir.Module) -> None:
    """A program that is to be partitioned, but says nothing of how."""
    attributes = module.operation.attributes
    count = attributes["mhlo.num_partitions"].value if "mhlo.num_partitions" in attributes else 1
    sharded = [o for o in walk(module) if o.name.startswith("sdy.") and o.name != "sdy.mesh"]
    collective = any(o.name in COLLECTIVES for o in walk(module))
    if sharded or (count > 1 and not collective):
        raise UnsupportedOpError(
            f"the program is for {count} partitions but has no mesh of Shardy's (sdy.mesh)",
            location=next((source_location(str(o.location)) for o in sharded), None),
            hint="trace it with jax.config.update('jax_use_shardy_partitioner', True)",
        )


def _drop_foreign_attributes(module: ir.Module, main: ir.OpView) -> None:
    """Names have been read; the rest (layouts, donation, one-device meshes) is of no use here."""
    for which in ("arg_attrs", "res_attrs"):
        if which in main.operation.attributes:
            del main.operation.attributes[which]
    for op in [o for o in module.body.operations if o.operation.name == "sdy.mesh"]:
        op.operation.erase()


def _unique(names: list[str]) -> list[str]:
    """A second `x` becomes `x.1`: names are keys from here on."""
    seen: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        while name in seen:
            seen[name] += 1
            name = f"{name}.{seen[name]}"
        seen[name] = 0
        unique.append(name)
    return unique


def _argument(name: str, value: ir.Value) -> Argument:
    kind = ir.RankedTensorType(value.type)
    return Argument(name, tuple(kind.shape), str(kind.element_type))
