"""Tiling `neuron.repeat`: the block once, as operations that run several times.

Carried values live in storages made before the repeat; an iteration ends by putting its results
there. Invariant values are what they are outside. Varying values are device tensors, another one in
each iteration; collected results are stored into such tensors. See docs/design/0006.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch_mlir import ir

from axonc.backends.program import TensorKind
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.ops import RepeatOp
from axonc.dialects.neuron.repeat import Repeat, block_function
from axonc.passes.graph.shapes import PartitionDims, shape_of
from axonc.passes.layout.choose_layouts import carried_rows
from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.elementwise.elementwise_expression import machine_dtype
from axonc.passes.tile.move import cast, new_storage
from axonc.passes.tile.ops.hand_over import hand_over
from axonc.passes.tile.store_result import store_result
from axonc.passes.tile.update_in_place import plan_updates
from axonc.passes.tile.values import Values, hbm_storage, is_whole


def only_varying(block: ir.Block) -> set[ir.Value]:
    """Arguments that nothing but the iterations of repeats uses, one each."""
    found: set[ir.Value] = set()
    for op in block.operations:
        if isinstance(op, RepeatOp):
            varying = Repeat.of(op).varying
            found |= {value for values in varying for value in values}
    return {v for v in found if all(isinstance(u.owner, RepeatOp) for u in v.uses)}


class RepeatTiler:
    """Tiles one repeat. tile: how the operations of the block are tiled. names: of @main's
    arguments; outputs: of @main's results by value; taken: of the results that may take the memory
    of an argument."""

    def __init__(
        self,
        values: Values,
        op: ir.Operation,
        tile: Callable[[ir.Operation], None],
        names: dict[ir.Value, tuple[str, TensorKind]],
        outputs: dict[ir.Value, str],
        taken: dict[ir.Value, str],
    ) -> None:
        self.values, self.op, self.tile = values, op, tile
        self.parts = Repeat.of(op)
        self.names, self.outputs, self.taken = names, outputs, taken
        self.builder = values.builder
        self.first = 0
        self.donated = self._donated()

    def run(self) -> dict[ir.Value, Storage]:
        """Emits the repeat; the storages of collected results, which are stored already."""
        parts, block = self.parts, block_function(self.op).regions[0].blocks[0]
        slots = [self._carry(i, value) for i, value in enumerate(parts.carried)]
        arguments = list(block.arguments)
        invariants = arguments[len(slots) : len(slots) + len(parts.invariant)]
        for argument, value in zip(invariants, parts.invariant, strict=True):
            self._share(argument, value)
        varying = arguments[len(slots) + len(invariants) :]
        self._plan_updates(varying)
        self.first = len(self.builder.program.ops)
        with self.builder.repeat(parts.count):
            for argument, slot in zip(arguments, slots, strict=False):
                self.values.add(argument, slot)
            self._declare_varying(varying)
            *ops, final = list(block.operations)
            for op in ops:
                with self.builder.at(source_location(op)):
                    self.tile(op)
            with self.builder.at(source_location(final)):
                results = list(final.operands)
                found = self._collect(results[len(slots) :], varying)
                self._hand_over(slots, results[: len(slots)])
        for value, slot in zip(parts.carried_out, slots, strict=True):
            self.values.add(value, slot)
        return found

    def _rows(self, number: int) -> PartitionDims:
        return carried_rows(self.op)[number]

    def _carry(self, number: int, value: ir.Value) -> Storage:
        """A storage for a carried value, with its first contents."""
        rows = self._rows(number)
        dtype = machine_dtype(value.type)
        slot = new_storage(self.builder, shape_of(value), dtype, rows, "carried")
        cast(self.builder, slot, self.values.get(value, rows))
        return slot

    def _share(self, argument: ir.Value, value: ir.Value) -> None:
        """An invariant is made, if need be, before the repeat."""
        if value in self.values.splats:
            self.values.splats[argument] = self.values.splats[value]
            return
        if not self.values.known(value):
            self.values.get(value, default_rows(shape_of(value)))
        for storage in self.values.known(value):
            self.values.add(argument, storage)

    def _declare_varying(self, arguments: Sequence[ir.Value]) -> None:
        for slot, argument in enumerate(arguments):
            given = [self.names[values[slot]] for values in self.parts.varying]
            element = str(ir.RankedTensorType(argument.type).element_type)
            view = self.builder.hbm(
                given[0][0],
                shape_of(argument),
                machine_dtype(argument.type),
                given[0][1],
                host_dtype=element,
                each=[name for name, _ in given],
            )
            self.values.add(argument, hbm_storage(view, shape_of(argument)))

    # ---- results of every iteration ---------------------------------------------------------

    def _plan_updates(self, arguments: Sequence[ir.Value]) -> None:
        """Which updates in the block write into the memory of a varying argument, because in every
        iteration the result that they lead to may take it."""
        first = len(self.parts.carried)
        donated = {arguments[slot]: first + taker for taker, slot in self.donated.items()}
        block = block_function(self.op).regions[0].blocks[0]
        self.values.updates.in_place |= plan_updates(block, donated).in_place

    def _donated(self) -> dict[int, int]:
        """Slots of varying arguments that are donated, by the slot of collected results that may
        take their memory."""
        takers = {
            tuple(self.taken.get(v, "") for v in values): slot
            for slot, values in enumerate(zip(*self.parts.varying, strict=True))
        }
        results = enumerate(zip(*self.parts.collected, strict=True))
        names = {number: tuple(self.outputs[v] for v in values) for number, values in results}
        return {number: takers[found] for number, found in names.items() if found in takers}

    def _collect(
        self, results: Sequence[ir.Value], arguments: Sequence[ir.Value]
    ) -> dict[ir.Value, Storage]:
        """Results of every iteration go to device tensors, if they were not made there."""
        found = {}
        for number, value in enumerate(results):
            outer = [values[number] for values in self.parts.collected]
            out = self._made_in_place(number, value, arguments, outer)
            if out is None:
                names = [self.outputs[v] for v in outer]
                out = self._declare_output(value, names[0], each=names)
                store_result(self.values, out, value)
            found.update(dict.fromkeys(outer, out))
        return found

    def _made_in_place(
        self,
        number: int,
        value: ir.Value,
        arguments: Sequence[ir.Value],
        outer: Sequence[ir.Value],
    ) -> Storage | None:
        """The storage of a result that lies in the argument's memory; declares it for all
        iterations."""
        if number not in self.donated:
            return None
        slot = self.donated[number]
        memory = self.values.storages[arguments[slot]][0].buffer
        for storage in self.values.known(value):
            if storage.buffer is memory and is_whole(storage):
                for values, result in zip(self.parts.varying, outer, strict=True):
                    alias, _ = self.names[values[slot]]
                    self._declare_output(value, self.outputs[result], alias=alias)
                return storage
        return None

    def _declare_output(
        self, value: ir.Value, name: str, *, alias: str = "", each: Sequence[str] = ()
    ) -> Storage:
        view = self.builder.hbm(
            name,
            shape_of(value),
            machine_dtype(value.type),
            TensorKind.OUTPUT,
            host_dtype=str(ir.RankedTensorType(value.type).element_type),
            alias=alias,
            each=each,
        )
        return hbm_storage(view, shape_of(value))

    def _hand_over(self, slots: Sequence[Storage], results: Sequence[ir.Value]) -> None:
        """The results become what the next iteration begins with. A result that lies in a slot, but
        is not what that slot holds (another carried value, or a view of its own: turned, reversed),
        is copied first, as the slot may be overwritten before it is read."""
        buffers = {slot.buffer for slot in slots}
        sources = []
        for number, (slot, value) in enumerate(zip(slots, results, strict=True)):
            source = self.values.get(value, self._rows(number))
            if source.buffer in buffers and source != slot:
                moved = new_storage(
                    self.builder, source.shape, source.dtype, source.partition_dims, "handed"
                )
                cast(self.builder, moved, source)
                source = moved
            sources.append(source)
        for number, slot in enumerate(slots):
            made = sources[number].buffer
            if made is not slot.buffer and hand_over(
                self.builder, self.first, slot, sources[number], buffers
            ):
                sources = [
                    replace(s, buffer=slot.buffer) if s.buffer is made else s for s in sources
                ]
