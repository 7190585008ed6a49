"""The arguments of a traced program are those of the model: jax.jit drops what nothing reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jax import ShapeDtypeStruct
from jax._src.interpreters.mlir import dtype_to_ir_type
from jaxlib.mlir import ir

from axonc.imported.stablehlo_module import main_function

_CALL = re.compile(r"call\[(\d+)\]")


def restore_inputs(module: ir.Module, inputs: Mapping[int, ShapeDtypeStruct]) -> None:
    """Give `@main`, traced from `run(weights, call)`, the arguments `call[i]` for all `i` of
    `inputs` that it does not have, each in its place; they come after the weights."""
    main = main_function(module)
    block = main.regions[0].blocks[0]
    old = list(block.arguments)
    call = {int(m[1]): a for a in old if (m := _CALL.fullmatch(a.location.name_str))}
    missing = inputs.keys() - call.keys()
    if not missing:
        return
    places = sorted({*call, *missing})
    with module.context, ir.Location.unknown():
        for argument in (a for a in old if a not in call.values()):
            argument.replace_all_uses_with(block.add_argument(argument.type, argument.location))
        for place in places:
            _append(block, place, call.get(place), inputs)
        for number in reversed(range(len(old))):
            block.erase_argument(number)
        _describe(main, block)


def _append(
    block: ir.Block,
    place: int,
    old: ir.BlockArgument | None,
    inputs: Mapping[int, ShapeDtypeStruct],
) -> None:
    if old is not None:
        old.replace_all_uses_with(block.add_argument(old.type, old.location))
        return
    struct = inputs[place]
    kind = ir.RankedTensorType.get(struct.shape, dtype_to_ir_type(struct.dtype))
    location = ir.Location.name(f"call[{place}]", ir.Location.unknown())
    block.add_argument(kind, location)


def _describe(main: ir.OpView, block: ir.Block) -> None:
    """The signature. Attributes of arguments say nothing that is needed later."""
    attributes = main.operation.attributes
    if "arg_attrs" in attributes:
        del attributes["arg_attrs"]
    kind = ir.FunctionType.get([a.type for a in block.arguments], main.type.results)
    attributes["function_type"] = ir.TypeAttr.get(kind)
