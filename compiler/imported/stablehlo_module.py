"""The common end of all frontends: a StableHLO module in jaxlib -> `ImportedProgram`.

jaxlib is the host here: it knows the dialects frontends emit (chlo, mhlo, sdy), torch_mlir does
not. What leaves is a portable artifact with debug locations, which torch_mlir reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from jax._src.interpreters.mlir import make_ir_context
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from jaxlib.mlir.passmanager import PassManager

from axonc.diagnostics import CompileError, SourceLocation, UnsupportedOpError
from axonc.imported.aliases import aliases_of, attribute_of
from axonc.imported.constants import hoist_large_constants
from axonc.imported.program import Argument, ImportedProgram
from axonc.partition.rank_tables import lift_rank_tables
from axonc.partition.shardy import Partitioned, is_sharded, partition
from axonc.sharding import Mesh, Sharding

# chlo ops that stay one `stablehlo.composite "chlo.*"`, their expansion attached as decomposition:
# the machine has instructions for these, or a better expansion than chlo's.
KEPT_CHLO_OPS = ("chlo.erf", "chlo.erfc", "chlo.erf_inv", "chlo.top_k")

_PREPARE = (
    f"builtin.module(stablehlo-wrap-in-composite{{op-names={','.join(KEPT_CHLO_OPS)} version=1}},"
    "func.func(chlo-legalize-to-stablehlo))"
)

# Attributes on arguments and results that say their name, strongest first.
_ARGUMENT_NAME_ATTRIBUTES = ("neuron.name", "jax.arg_info")
_RESULT_NAME_ATTRIBUTES = ("neuron.name", "jax.result_info")
_PYTREE_KEY = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(\d+))\]")
_FILE_LINE = re.compile(r'"(?P<file>[^"]+)":(?P<line>\d+):(?P<column>\d+)')


def new_context() -> ir.Context:
    """A jaxlib context with every dialect a frontend may emit."""
    context = make_ir_context()
    context.allow_unregistered_dialects = True
    stablehlo.register_stablehlo_passes()
    return context


def finish_import(
    module: ir.Module,
    *,
    argument_names: list[str] | None = None,
    result_names: list[str] | None = None,
) -> ImportedProgram:
    """Keep or expand chlo, lift large constants to weights, name arguments, serialize.

    `module` is changed. Names not given are read from the module (attributes, then locations).

    Raises:
        CompileError: no `@main`, or the module does not verify.
        UnsupportedOpError: what Shardy cannot partition, a dynamic shape, an op of an unknown
            dialect.
    """
    with module.context, ir.Location.unknown():
        main = main_function(module)
        names = _unique(argument_names or argument_names_of(main))
        results = _unique(result_names or result_names_of(main))
        aliases = {names[a]: results[r] for a, r in aliases_of(main).items()}
        if is_sharded(module):
            return finish_partitioned(partition(module), names, results, aliases)
        _refuse_partitions(module)
        module, arguments = _prepare(module, names)
        return _named_program(module, arguments, results, aliases)


def finish_partitioned(
    parts: Partitioned,
    names: list[str],
    results: list[str],
    aliases: Mapping[str, str] | None = None,
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
    program = _named_program(module, described, results, aliases or {})
    return replace(
        program, mesh=parts.mesh, result_shardings=parts.results, sharding_notes=parts.notes
    )


def _prepare(
    module: ir.Module, names: list[str], mesh: Mesh | None = None
) -> tuple[ir.Module, list[Argument]]:
    """Keep or expand chlo, lift constants and ranks; the module and its arguments, local shapes."""
    _drop_foreign_attributes(module, main_function(module))
    _run(PassManager.parse(_PREPARE), module)
    # The round trip turns `dense_resource` blobs, unreadable in Python, into dense elements.
    module = deserialize(serialize(module), module.context)
    main = main_function(module)
    arguments = [_argument(n, a) for n, a in zip(names, main.arguments, strict=True)]
    tables = lift_rank_tables(main, mesh, taken=set(names)) if mesh is not None else []
    hoisted = hoist_large_constants(main, taken=set(names))
    if mesh is not None:
        hoisted = [replace(a, sharding=Sharding.replicated(mesh, len(a.shape))) for a in hoisted]
    return module, [*arguments, *tables, *hoisted]


def _named_program(
    module: ir.Module, arguments: list[Argument], results: list[str], aliases: Mapping[str, str]
) -> ImportedProgram:
    write_names(main_function(module), [a.name for a in arguments], results, aliases)
    return ImportedProgram(serialize(module), tuple(arguments), tuple(results), aliases=aliases)


def serialize(module: ir.Module) -> bytes:
    """Portable artifact of the StableHLO version of jaxlib, with locations.

    Raises:
        UnsupportedOpError: an op or attribute outside StableHLO.
    """
    _refuse_foreign_ops(module)
    with _diagnostics(module.context) as complaints:
        try:
            return stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())
        except (ir.MLIRError, ValueError) as error:
            found = "; ".join(complaints) or first_line(error)
    _refuse_custom_calls(module)
    raise UnsupportedOpError(f"no StableHLO portable artifact of this program: {found}")


def _refuse_custom_calls(module: ir.Module) -> None:
    """What jaxlib calls on the host is tied to its version of the host's libraries."""
    calls = [op for op in walk(module) if op.name == "stablehlo.custom_call"]
    if calls:
        targets = {ir.StringAttr(op.attributes["call_target_name"]).value for op in calls}
        raise UnsupportedOpError(
            f"custom call {', '.join('@' + name for name in sorted(targets))}",
            location=source_location(str(calls[0].location)),
            op="stablehlo.custom_call",
            hint="LAPACK (cholesky, solve, eigh, svd) and callbacks run on the host: leave them to "
            "it, outside of the program",
        )


def deserialize(artifact: bytes, context: ir.Context) -> ir.Module:
    """Read a portable artifact.

    Raises:
        CompileError: damaged, or written by a newer StableHLO than jaxlib reads.
    """
    with _diagnostics(context) as complaints:
        try:
            return stablehlo.deserialize_portable_artifact(context, artifact)
        except (ir.MLIRError, ValueError) as error:
            found = "; ".join(complaints) or first_line(error)
    raise CompileError(
        f"cannot read the StableHLO portable artifact: {found}",
        hint="it must be whole, and of StableHLO version "
        f"{stablehlo.get_current_version()} or older",
    )


@contextmanager
def _diagnostics(context: ir.Context) -> Iterator[list[str]]:
    """Collect what MLIR would otherwise print to stderr."""
    complaints: list[str] = []

    def collect(diagnostic: ir.Diagnostic) -> bool:
        complaints.append(diagnostic.message)
        return True

    handler = context.attach_diagnostic_handler(collect)
    try:
        yield complaints
    finally:
        handler.detach()


_COLLECTIVES = (
    "stablehlo.all_reduce",
    "stablehlo.all_gather",
    "stablehlo.reduce_scatter",
    "stablehlo.all_to_all",
    "stablehlo.collective_permute",
    "stablehlo.collective_broadcast",
)
_KNOWN_DIALECTS = ("stablehlo.", "func.", "builtin.")


def _refuse_foreign_ops(module: ir.Module) -> None:
    foreign = [op for op in walk(module) if not op.name.startswith(_KNOWN_DIALECTS)]
    if foreign:
        names = ", ".join(sorted({op.name for op in foreign}))
        raise UnsupportedOpError(
            f"not StableHLO: {names}",
            location=source_location(str(foreign[0].location)),
            hint="lower the program to StableHLO (and func) ops first",
        )


def main_function(module: ir.Module) -> ir.OpView:
    """The function the program enters: `@main`, or the only public function.

    Raises:
        CompileError: there is none, or the choice is open.
    """
    functions = [o for o in module.body.operations if o.operation.name == "func.func"]
    named = [f for f in functions if f.name.value == "main"]
    public = [f for f in functions if not _is_private(f)]
    found = named or public
    if len(found) != 1:
        names = ", ".join("@" + f.name.value for f in functions) or "none"
        raise CompileError(f"the module needs one public function or @main; functions: {names}")
    return found[0]


def argument_names_of(main: ir.OpView) -> list[str]:
    """`params.layer.0.w` for each argument: from attributes, locations, or `arg<number>`."""
    attributes = _attribute_names(main, "arg_attrs", _ARGUMENT_NAME_ATTRIBUTES)
    return [
        path_name(attributes.get(i) or _name_of_location(a.location)) or f"arg{i}"
        for i, a in enumerate(main.arguments)
    ]


def result_names_of(main: ir.OpView) -> list[str]:
    """`result.logits` for each result: from attributes, or `result<number>`."""
    attributes = _attribute_names(main, "res_attrs", _RESULT_NAME_ATTRIBUTES)
    count = len(main.type.results)
    default = ["result"] if count == 1 else [f"result{i}" for i in range(count)]
    return [path_name(attributes.get(i, "")) or default[i] for i in range(count)]


def path_name(spelled: str) -> str:
    """`p['encoder'][0].w` -> `p.encoder.0.w`."""
    return _PYTREE_KEY.sub(lambda m: "." + next(g for g in m.groups() if g is not None), spelled)


def walk(module: ir.Module) -> Iterator[ir.Operation]:
    """Every operation of the module, outermost first."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return iter(found)


def first_line(error: Exception) -> str:
    """The first line of an MLIR error that says something."""
    lines = [line.strip(" -:") for line in str(error).splitlines()]
    useful = [line for line in lines if line and not line.startswith("Unable to parse module")]
    return useful[0] if useful else type(error).__name__


def source_location(text: str) -> SourceLocation | None:
    """The first `"file":line:column` of a location or a diagnostic."""
    found = _FILE_LINE.search(text)
    return (
        SourceLocation("", found["file"], int(found["line"]), int(found["column"]))
        if found
        else None
    )


def _is_private(function: ir.OpView) -> bool:
    attributes = function.operation.attributes
    return "sym_visibility" in attributes and attributes["sym_visibility"].value == "private"


def _run(passes: PassManager, module: ir.Module) -> None:
    try:
        passes.run(module.operation)
    except ir.MLIRError as error:
        raise CompileError(first_line(error), location=source_location(str(error))) from None


def _refuse_partitions(module: ir.Module) -> None:
    """A program that is to be partitioned, but says nothing of how."""
    attributes = module.operation.attributes
    count = attributes["mhlo.num_partitions"].value if "mhlo.num_partitions" in attributes else 1
    sharded = [o for o in walk(module) if o.name.startswith("sdy.") and o.name != "sdy.mesh"]
    collective = any(o.name in _COLLECTIVES for o in walk(module))
    if sharded or (count > 1 and not collective):
        raise UnsupportedOpError(
            f"the program is for {count} partitions but has no mesh of Shardy's (sdy.mesh)",
            location=next((source_location(str(o.location)) for o in sharded), None),
            hint="trace it with jax.config.update('jax_use_shardy_partitioner', True)",
        )


def _attribute_names(main: ir.OpView, which: str, keys: tuple[str, ...]) -> dict[int, str]:
    if which not in main.operation.attributes:
        return {}
    names: dict[int, str] = {}
    for i, attributes in enumerate(main.operation.attributes[which]):
        spelled = [attributes[k].value for k in keys if k in attributes]
        if spelled:
            names[i] = spelled[0]
    return names


def _name_of_location(location: ir.Location) -> str:
    return location.name_str if isinstance(location, ir.NameLoc) else ""


def _drop_foreign_attributes(module: ir.Module, main: ir.OpView) -> None:
    """Names have been read; the rest (layouts, donation, one-device meshes) is of no use here."""
    for which in ("arg_attrs", "res_attrs"):
        if which in main.operation.attributes:
            del main.operation.attributes[which]
    for op in [o for o in module.body.operations if o.operation.name == "sdy.mesh"]:
        op.operation.erase()


def write_names(
    main: ir.OpView,
    arguments: list[str],
    results: list[str],
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Names and aliases travel with the module, so that an artifact on disk can be imported
    again."""
    numbers = {a: results.index(r) for a, r in (aliases or {}).items()}

    def named(name: str, number: int | None = None) -> ir.Attribute:
        attributes = {_ARGUMENT_NAME_ATTRIBUTES[0]: ir.StringAttr.get(name)}
        return ir.DictAttr.get(attributes | ({} if number is None else attribute_of(number)))

    attributes = [named(name, numbers.get(name)) for name in arguments]
    main.operation.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)
    main.operation.attributes["res_attrs"] = ir.ArrayAttr.get([named(name) for name in results])


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
    if not kind.has_static_shape:
        raise UnsupportedOpError(
            f"argument '{name}' has the dynamic type {kind}",
            hint="trace the model with fixed sizes, once for each size needed",
        )
    return Argument(name, tuple(kind.shape), str(kind.element_type))
