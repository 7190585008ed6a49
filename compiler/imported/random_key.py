"""The key of programs that draw with `stablehlo.rng`, which says nothing of where from."""

from __future__ import annotations

from jaxlib.mlir import ir

from axonc.dialects.neuron.argument_names import RANDOM_KEY
from axonc.imported.constants import add_argument
from axonc.imported.program import Argument

SHAPE, DTYPE = (2,), "ui32"


def random_key(main: ir.OpView, taken: set[str]) -> list[Argument]:
    """A further argument of `main` for the key, unless the program draws nothing or has one: the
    host gives it with every call (`Executable.seed`)."""
    if RANDOM_KEY in taken or not _draws(main.operation.parent.operation):
        return []
    kind = ir.RankedTensorType.get(SHAPE, ir.IntegerType.get_unsigned(32, main.context))
    add_argument(main, kind, main.location)
    return [Argument(RANDOM_KEY, SHAPE, DTYPE)]


def _draws(module: ir.Operation) -> bool:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "stablehlo.rng":
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.walk(visit, ir.WalkOrder.PRE_ORDER)
    return bool(found)
