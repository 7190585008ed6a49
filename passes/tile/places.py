"""What a straight-line block leaves for others: new values in the places of old ones, and a number
for the sequencers.

A place is a tensor in device memory that a block reads and then writes. What is in it is lost with
the first store, so results that are read from places only when they are stored (an argument that
is returned as another result, a view of one) are copied to memory of their own first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.backends.numerics.dtypes import I32
from axonc.backends.program import TensorKind
from axonc.dialects.ntile.program import Pool, View
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.elementwise.elementwise_expression import machine_dtype
from axonc.passes.tile.move import cast, copy_device_memory, new_storage
from axonc.passes.tile.store_result import store_result
from axonc.passes.tile.values import Values, hbm_storage, is_whole


@dataclass
class Places:
    """Arguments of a block whose memory gets new contents at its end."""

    values: Values
    storages: dict[int, Storage] = field(default_factory=dict)
    """By the number of the result that goes there."""
    arguments: set[ir.Value] = field(default_factory=set)
    apart: dict[int, Storage] = field(default_factory=dict)
    """Copies of results that would be read too late."""

    def add(self, number: int, argument: ir.Value, storage: Storage) -> None:
        """Result `number` goes where `argument` is."""
        self.storages[number] = storage
        self.arguments.add(argument)

    def set_apart(self, results: Sequence[ir.Value]) -> None:
        """Copy what is read from places when it is stored. Before any result is stored."""
        for number, value in enumerate(results):
            if self.arguments and not self._is_there(number, value) and self._is_late(value):
                self.apart[number] = self._copy(value)

    def store(self, number: int, value: ir.Value) -> None:
        """Result `number` goes to its place."""
        place = self.storages[number]
        if not self._is_there(number, value) and 0 not in place.shape:
            self.store_at(place, number, value)

    def store_at(self, out: Storage, number: int, value: ir.Value) -> None:
        """Result `number` goes to `out`, from the copy that was made of it, if there is one."""
        if number in self.apart:
            copy_device_memory(self.values.builder, out, self.apart[number])
        else:
            store_result(self.values, out, value)

    def _is_there(self, number: int, value: ir.Value) -> bool:
        place = self.storages.get(number)
        if place is None:
            return False
        return any(s.buffer is place.buffer and is_whole(s) for s in self.values.known(value))

    def _is_late(self, value: ir.Value) -> bool:
        """Whether storing it may read a place."""
        if 0 in shape_of(value) or value in self.values.splats:
            return False
        known = self.values.known(value)
        buffers = {place.buffer for place in self.storages.values()}
        return (
            not known
            or any(storage.buffer in buffers for storage in known)
            or self._root(value) in self.arguments
        )

    def _root(self, value: ir.Value) -> ir.Value:
        """What a value relabels or converts."""
        values = self.values
        while value in values.derived or value in values.converted:
            below = values.converted.get(value)
            value = values.derived[value].operands[0] if below is None else below
        return value

    def _copy(self, value: ir.Value) -> Storage:
        shape = shape_of(value)
        kind = machine_dtype(value.type)
        view = self.values.builder.hbm("apart", shape, kind, TensorKind.SCRATCH)
        result = hbm_storage(view, shape)
        store_result(self.values, result, value)
        return result


def hand_to_sequencers(values: Values, value: ir.Value) -> None:
    """Leave an i32 scalar in SBUF, alive to the end of the program, where registers are loaded
    from."""
    source = values.get(value, ())
    slot = new_storage(values.builder, (), I32, (), "control", pool=Pool.RESIDENT)
    cast(values.builder, slot, source)
    values.builder.program.control = View(slot.buffer, I32, 0, 1, 0, ((1, 1),))
