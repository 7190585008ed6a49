"""The common end of all frontends: a StableHLO module in jaxlib -> `ImportedProgram`.

jaxlib is the host here: it knows the dialects frontends emit (chlo, mhlo, sdy), torch_mlir does
not. What leaves is a portable artifact with debug locations, which torch_mlir reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from jaxlib.mlir import ir
from jaxlib.mlir._mlir_libs import _jax_mlir_ext
from jaxlib.mlir.dialects import chlo, mhlo, mpmd, sdy, stablehlo

from axonc.diagnostics import (
    CompileError,
    Finding,
    SourceLocation,
    UnsupportedOpError,
    unsupported_error,
)
from axonc.dialects.neuron.argument_names import NAME
from axonc.imported.aliases import attribute_of, donated
from axonc.imported.state_pairs import StatePairs

# chlo ops that stay one `stablehlo.composite "chlo.*"`, their expansion attached as decomposition:
# the machine has instructions for these, or a better expansion than chlo's.
KEPT_CHLO_OPS = ("chlo.erf", "chlo.erfc", "chlo.erf_inv", "chlo.top_k")


# Attributes on arguments and results that say their name, strongest first.
_ARGUMENT_NAME_ATTRIBUTES = (NAME, "jax.arg_info")
_RESULT_NAME_ATTRIBUTES = (NAME, "jax.result_info")
_PYTREE_KEY = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(\d+))\]")
_FILE_LINE = re.compile(r'"(?P<file>[^"]+)":(?P<line>\d+):(?P<column>\d+)')


_REGISTER_DIALECT = (
    stablehlo.register_dialect,
    chlo.register_dialect,
    mhlo.register_mhlo_dialect,
    sdy.register_dialect,
    mpmd.register_dialect,
)


class _BareContext(ir.Context):
    """Without what `ir.Context` does when it is made: loading each dialect in jaxlib."""

    def __init__(self) -> None:
        super(ir.Context, self).__init__()


def new_context() -> ir.Context:
    """A jaxlib context with every dialect a frontend may emit, as JAX makes its own: importing JAX
    for it would take longer than compiling a small program."""
    context = _BareContext()
    context.enable_multithreading(False)  # a pool of threads a context is more than they bring
    dialects = ir.DialectRegistry()
    _jax_mlir_ext.register_dialects(dialects)
    context.append_dialect_registry(dialects)
    context.load_all_available_dialects()
    for register in _REGISTER_DIALECT:
        register(context)
    context.allow_unregistered_dialects = True
    stablehlo.register_stablehlo_passes()
    return context


def serialize(module: ir.Module) -> bytes:
    """Portable artifact of the StableHLO version of jaxlib, with locations.

    Raises:
        UnsupportedOpError: an op or attribute outside StableHLO.
    """
    _refuse_foreign_ops(module)
    with diagnostics(module.context) as complaints:
        try:
            return stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())
        except (ir.MLIRError, ValueError) as error:
            found = "; ".join(complaints) or first_line(error)
    raise UnsupportedOpError(f"no StableHLO portable artifact of this program: {found}")


def deserialize(artifact: bytes, context: ir.Context) -> ir.Module:
    """Read a portable artifact.

    Raises:
        CompileError: damaged, or written by a newer StableHLO than jaxlib reads.
    """
    with diagnostics(context) as complaints:
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
def diagnostics(context: ir.Context) -> Iterator[list[str]]:
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


COLLECTIVES = (
    "stablehlo.all_reduce",
    "stablehlo.all_gather",
    "stablehlo.reduce_scatter",
    "stablehlo.all_to_all",
    "stablehlo.collective_permute",
    "stablehlo.collective_broadcast",
)
_KNOWN_DIALECTS = ("stablehlo.", "func.", "builtin.")


def is_known(op: ir.Operation) -> bool:
    """Whether an operation may be part of a portable artifact."""
    return op.name.startswith(_KNOWN_DIALECTS)


def _refuse_foreign_ops(module: ir.Module) -> None:
    foreign = [op for op in walk(module) if not is_known(op)]
    hint = "lower the program to StableHLO (and func) ops first"
    if foreign:
        places = [source_location(str(op.location)) or SourceLocation() for op in foreign]
        raise unsupported_error(
            [
                Finding(op.name, "not StableHLO", place, hint)
                for op, place in zip(foreign, places, strict=True)
            ]
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


def _attribute_names(main: ir.OpView, which: str, keys: tuple[str, ...]) -> dict[int, str]:
    if which not in main.operation.attributes:
        return {}
    names: dict[int, str] = {}
    for i, attributes in enumerate(main.operation.attributes[which]):
        given = [attributes[k] for k in keys if k in attributes]
        spelled = [a.value for a in given if isinstance(a, ir.StringAttr)]
        if given and not spelled:
            raise CompileError(f"the name of number {i} is {given[0]}, not a string", op=which)
        if spelled:
            names[i] = spelled[0]
    return names


def _name_of_location(location: ir.Location) -> str:
    return location.name_str if isinstance(location, ir.NameLoc) else ""


def write_names(
    main: ir.OpView,
    arguments: list[str],
    results: list[str],
    state: StatePairs,
) -> None:
    """Names and state travel with the module, so that an artifact on disk can be imported again."""
    marks = {a: attribute_of(results.index(r)) for a, r in state.pairs.items()}
    marks |= {a: donated() for a in state.open}

    def named(name: str) -> dict[str, ir.Attribute]:
        return {_ARGUMENT_NAME_ATTRIBUTES[0]: ir.StringAttr.get(name)}

    attributes = [ir.DictAttr.get(named(name) | marks.get(name, {})) for name in arguments]
    main.operation.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)
    main.operation.attributes["res_attrs"] = ir.ArrayAttr.get(
        [ir.DictAttr.get(named(name)) for name in results]
    )
