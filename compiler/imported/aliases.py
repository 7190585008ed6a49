"""Which arguments give their memory to which results: state that a program updates.

JAX says it when arguments are donated: `tf.aliasing_output` (a result's number) on an argument, or
`jax.buffer_donor`, which leaves the choice of a result of equal type to the compiler. Ours is
`neuron.alias`, so that an artifact on disk can be imported again.
"""

from __future__ import annotations

from jaxlib.mlir import ir

from axonc.dialects.neuron.argument_names import ALIAS

NUMBERED = (ALIAS, "tf.aliasing_output")
DONATED = "jax.buffer_donor"


def aliases_of(main: ir.OpView) -> dict[int, int]:
    """The result's number by the argument's, for arguments whose memory a result may take."""
    if "arg_attrs" not in main.operation.attributes:
        return {}
    attributes = list(main.operation.attributes["arg_attrs"])
    found: dict[int, int] = {}
    for number, given in enumerate(attributes):
        values = [int(given[name].value) for name in NUMBERED if name in given]
        if values:
            found[number] = values[0]
    for number, given in enumerate(attributes):
        if number not in found and DONATED in given and given[DONATED].value:
            _give(main, number, found)
    return found


def _give(main: ir.OpView, argument: int, found: dict[int, int]) -> None:
    """The first result of the argument's type that takes no other's memory; there may be none."""
    kind = main.type.inputs[argument]
    free = [r for r, t in enumerate(main.type.results) if t == kind and r not in found.values()]
    if free:
        found[argument] = free[0]


def attribute_of(number: int) -> dict[str, ir.Attribute]:
    """What marks an argument whose memory result `number` may take."""
    return {ALIAS: ir.IntegerAttr.get(ir.IntegerType.get_signless(64), number)}
