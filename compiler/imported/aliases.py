"""Which arguments give their memory to which results: state that a program updates.

JAX says which arguments are donated: `tf.aliasing_output` (the number of some result of the same
type) on an argument, or `jax.buffer_donor`, which leaves the choice to the compiler. Ours is
`neuron.alias`, the number of the result that *is* the new value (`state_pairs`), so that an
artifact on disk can be imported again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxlib.mlir import ir

from axonc.dialects.neuron.argument_names import ALIAS
from axonc.imported.dependence import arguments_read, returned_values
from axonc.imported.state_pairs import Donation, Slot, StatePairs, pair_state

NUMBERED = "tf.aliasing_output"
DONATED = "jax.buffer_donor"


def state_of(
    main: ir.OpView, names: Sequence[str], results: Sequence[str], written: Sequence[str] = ()
) -> StatePairs:
    """The new values of the donated arguments of `main`. names, results: of arguments and results;
    written: the variables a function returns its results from."""
    attributes = _attributes(main)
    donors = [n for n, given in attributes.items() if _is_donated(given)]
    if not donors:
        return StatePairs()
    types = main.type
    values = returned_values(main)
    said = {place: _number(attributes[n], ALIAS) for place, n in enumerate(donors)}
    donation = Donation(
        arguments=[Slot(names[n], types.inputs[n], n) for n in donors],
        results=[
            Slot(name, types.results[i], values.index(values[i]), written[i] if written else "")
            for i, name in enumerate(results)
        ],
        said={place: number for place, number in said.items() if number is not None},
        order=_order(main, attributes, donors),
        reads=lambda: [
            frozenset(donors.index(n) for n in read if n in donors) for read in arguments_read(main)
        ],
    )
    return pair_state(donation)


Attributes = Mapping[int, ir.DictAttr]


def _attributes(main: ir.OpView) -> Attributes:
    if "arg_attrs" not in main.operation.attributes:
        return {}
    return dict(enumerate(main.operation.attributes["arg_attrs"]))


def _is_donated(given: ir.DictAttr) -> bool:
    return ALIAS in given or NUMBERED in given or (DONATED in given and given[DONATED].value)


def _number(given: ir.DictAttr, key: str) -> int | None:
    return int(given[key].value) if key in given else None


def _order(main: ir.OpView, attributes: Attributes, donors: Sequence[int]) -> dict[int, int]:
    """JAX's choice, by place of the donor: the number it gives, else the first result of the
    argument's type that takes no other's memory; there may be none."""
    numbers = {p: _number(attributes[n], NUMBERED) for p, n in enumerate(donors)}
    found = {place: number for place, number in numbers.items() if number is not None}
    for place, argument in enumerate(donors):
        kind = main.type.inputs[argument]
        free = [r for r, t in enumerate(main.type.results) if t == kind and r not in found.values()]
        if place not in found and free:
            found[place] = free[0]
    return found


def attribute_of(number: int) -> dict[str, ir.Attribute]:
    """What marks an argument whose memory result `number` may take."""
    return {ALIAS: ir.IntegerAttr.get(ir.IntegerType.get_signless(64), number)}


def donated() -> dict[str, ir.Attribute]:
    """What marks an argument whose new value is some result, open which."""
    return {DONATED: ir.BoolAttr.get(True)}
