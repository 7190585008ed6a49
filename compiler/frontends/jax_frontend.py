"""JAX programs: `jax.stages.Lowered` and `jax.export.Exported` -> `ImportedProgram`.

Prefer `jax.jit(f).lower(...)`: `jax.export` has expanded erfc and friends by the time we see them.
"""

from __future__ import annotations

import io

import jax
import numpy as np
from jax import export, stages
from jaxlib.mlir import ir

from axonc.diagnostics import UnsupportedOpError, UsageError
from axonc.frontends.returned_names import TracedFunction, returned_names
from axonc.imported import stablehlo_module
from axonc.imported.program import ImportedProgram, bind_arrays
from axonc.partition.finish import finish_import

__all__ = ["bind_arrays", "import_exported", "import_lowered"]


def import_lowered(lowered: stages.Lowered) -> ImportedProgram:
    """Import what `jax.jit(f).lower(...)` gives; the arguments f does not read are gone.

    Names come from the pytree: `params['encoder'][0]` is `params.encoder.0`.

    Raises:
        UnsupportedOpError: sharded program, or a primitive outside StableHLO.
    """
    context = stablehlo_module.new_context()
    module = copy_module(lowered.compiler_ir("stablehlo"), context)
    imported = finish_import(module, returned_names=_returned_names(lowered))
    return _bind_leading_constants(imported, list(lowered._lowering.const_args))


def _returned_names(lowered: stages.Lowered) -> list[str]:
    """The variables the traced function returns; none where JAX does not say what it traced."""
    info = lowered._lowering.compile_args.get("all_args_info")
    traced = getattr(info, "debug_info", None)
    if traced is None or traced.result_paths is None:
        return []
    paths = [str(path) for path in traced.result_paths]
    arguments = [name for name in traced.arg_names if name is not None]
    return returned_names(TracedFunction(traced.func_src_info, arguments, paths))


def import_exported(exported: export.Exported) -> ImportedProgram:
    """Import what `jax.export.export(jax.jit(f))(...)` gives.

    Raises:
        UnsupportedOpError: several platforms, shape polymorphism, or sharding.
        UsageError: it was exported for 64-bit or other calling conventions axonc cannot follow.
    """
    if len(exported.platforms) > 1:
        raise UnsupportedOpError(
            f"exported for {len(exported.platforms)} platforms: {', '.join(exported.platforms)}",
            hint="export for one: jax.export.export(f, platforms=['cpu'])",
        )
    if exported.ordered_effects:
        raise UsageError(f"exported program has ordered effects: {exported.ordered_effects}")
    context = stablehlo_module.new_context()
    module = stablehlo_module.deserialize(exported.mlir_module_serialized, context)
    return finish_import(module)


def copy_module(module: ir.Module, context: ir.Context) -> ir.Module:
    """`Lowered` keeps its module and may compile it later: work on a copy."""
    buffer = io.BytesIO()
    module.operation.write_bytecode(buffer)
    return ir.Module.parse(buffer.getvalue(), context=context)


def _bind_leading_constants(
    imported: ImportedProgram, constants: list[jax.Array]
) -> ImportedProgram:
    """Newer JAX may pass closed-over arrays as leading arguments; they are weights."""
    leading = {imported.arguments[i].name: np.asarray(value) for i, value in enumerate(constants)}
    return bind_arrays(imported, leading) if leading else imported
