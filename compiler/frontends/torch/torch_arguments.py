"""Which arguments of a traced program stay."""

from __future__ import annotations

from collections.abc import Set

from jaxlib.mlir import ir

from axonc.imported.stablehlo_module import main_function


def drop_unread(module: ir.Module, kept: Set[str]) -> None:
    """Drop the arguments of `@main` that nothing reads, but those of these names: what a caller
    passes to the model is passed to the program, weights that do not matter need not be."""
    main = main_function(module)
    block = main.regions[0].blocks[0]
    dropped = [
        number
        for number, argument in enumerate(block.arguments)
        if not list(argument.uses) and argument.location.name_str not in kept
    ]
    if not dropped:
        return
    left = [n for n in range(len(block.arguments)) if n not in set(dropped)]
    attributes = main.operation.attributes
    if "arg_attrs" in attributes:
        given = list(attributes["arg_attrs"])
        attributes["arg_attrs"] = ir.ArrayAttr.get([given[n] for n in left])
    inputs = [block.arguments[n].type for n in left]
    for number in reversed(dropped):
        block.erase_argument(number)
    with module.context:
        kind = ir.FunctionType.get(inputs, main.type.results)
    attributes["function_type"] = ir.TypeAttr.get(kind)
