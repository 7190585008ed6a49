"""Tiling `neuron.repeat`: the block once, as operations that run several times.

Carried values live in storages made before the repeat; an iteration ends by putting its results
there. Invariant values are what they are outside. Varying values are device tensors, another one in
each iteration; collected results are stored into such tensors. See docs/design/0006.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.program import TensorKind
from axonc.context import source_location
from axonc.diagnostics import InternalError
from axonc.dialects.attributes import integers
from axonc.passes.choose_layouts import carried_rows, default_rows
from axonc.passes.elementwise_expression import machine_dtype
from axonc.passes.tensor_storage import PartitionDims, Storage
from axonc.passes.tile_move import cast, new_storage, store
from axonc.passes.tile_values import Values, hbm_storage
from axonc.passes.view_ops import shape_of

REPEAT = "neuron.repeat"


@dataclass(frozen=True)
class Repeated:
    """The parts of a `neuron.repeat`. varying[i][j]: value of slot j in iteration i. collected
    likewise, of results."""

    op: ir.Operation
    function: ir.Operation
    count: int
    carried: tuple[ir.Value, ...]
    invariant: tuple[ir.Value, ...]
    varying: tuple[tuple[ir.Value, ...], ...]
    carried_results: tuple[ir.Value, ...]
    collected: tuple[tuple[ir.Value, ...], ...]

    @property
    def block(self) -> ir.Block:
        return self.function.regions[0].blocks[0]


def repeated(op: ir.Operation) -> Repeated:
    """The parts of `op`, read off its attributes."""
    count = ir.IntegerAttr(op.attributes["count"]).value
    sizes = integers(op.attributes["operandSegmentSizes"])
    operands, results = list(op.operands), list(op.results)
    carried, invariant = sizes[0], sizes[0] + sizes[1]
    return Repeated(
        op,
        _callee(op),
        count,
        tuple(operands[:carried]),
        tuple(operands[carried:invariant]),
        _by_iteration(operands[invariant:], count),
        tuple(results[:carried]),
        _by_iteration(results[carried:], count),
    )


def _by_iteration(values: Sequence[ir.Value], count: int) -> tuple[tuple[ir.Value, ...], ...]:
    width = len(values) // count
    return tuple(tuple(values[i * width : (i + 1) * width]) for i in range(count))


def is_repeated(function: ir.Operation) -> bool:
    """Whether the function is the block of a repeat: a private one that is left after inlining."""
    attributes = function.attributes
    private = "sym_visibility" in attributes
    return private and ir.StringAttr(attributes["sym_visibility"]).value == "private"


def _callee(op: ir.Operation) -> ir.Operation:
    name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
    module = op
    while module.name != "builtin.module":
        parent = module.parent
        assert parent is not None, "an op of a function of a module"
        module = parent.operation
    for function in module.regions[0].blocks[0].operations:
        attributes = function.operation.attributes
        if "sym_name" in attributes and ir.StringAttr(attributes["sym_name"]).value == name:
            return function.operation
    raise InternalError(f"there is no function @{name}")


def only_varying(block: ir.Block) -> set[ir.Value]:
    """Arguments that nothing but the iterations of repeats uses, one each."""
    found: set[ir.Value] = set()
    for op in block.operations:
        if op.operation.name == REPEAT:
            parts = repeated(op.operation)
            found |= {value for values in parts.varying for value in values}
    return {v for v in found if all(u.owner.operation.name == REPEAT for u in v.uses)}


class RepeatTiler:
    """Tiles one repeat. tile: how the operations of the block are tiled. names: of @main's
    arguments; outputs: (number, name) of @main's results by value."""

    def __init__(
        self,
        values: Values,
        parts: Repeated,
        tile: Callable[[ir.Operation], None],
        names: dict[ir.Value, tuple[str, TensorKind]],
        outputs: dict[ir.Value, str],
    ) -> None:
        self.values, self.parts, self.tile = values, parts, tile
        self.names, self.outputs = names, outputs
        self.builder = values.builder

    def run(self) -> dict[ir.Value, Storage]:
        """Emits the repeat; the storages of collected results, which are stored already."""
        parts, block = self.parts, self.parts.block
        slots = [self._carry(i, value) for i, value in enumerate(parts.carried)]
        arguments = list(block.arguments)
        invariants = arguments[len(slots) : len(slots) + len(parts.invariant)]
        for argument, value in zip(invariants, parts.invariant, strict=True):
            self._share(argument, value)
        with self.builder.repeat(parts.count):
            for argument, slot in zip(arguments, slots, strict=False):
                self.values.add(argument, slot)
            self._declare_varying(arguments[len(slots) + len(invariants) :])
            *ops, final = [op.operation for op in block.operations]
            for op in ops:
                with self.builder.at(source_location(op)):
                    self.tile(op)
            with self.builder.at(source_location(final)):
                results = list(final.operands)
                found = self._collect(results[len(slots) :])
                self._hand_over(slots, results[: len(slots)])
        for value, slot in zip(parts.carried_results, slots, strict=True):
            self.values.add(value, slot)
        return found

    def _rows(self, number: int) -> PartitionDims:
        return carried_rows(self.parts.op)[number]

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

    def _collect(self, results: Sequence[ir.Value]) -> dict[ir.Value, Storage]:
        """Results of every iteration go to device tensors."""
        found = {}
        for slot, value in enumerate(results):
            outer = [values[slot] for values in self.parts.collected]
            names = [self.outputs[v] for v in outer]
            element = str(ir.RankedTensorType(value.type).element_type)
            view = self.builder.hbm(
                names[0],
                shape_of(value),
                machine_dtype(value.type),
                TensorKind.OUTPUT,
                host_dtype=element,
                each=names,
            )
            out = hbm_storage(view, shape_of(value))
            store(self.builder, out, self.values.get(value, default_rows(shape_of(value))))
            found.update(dict.fromkeys(outer, out))
        return found

    def _hand_over(self, slots: Sequence[Storage], results: Sequence[ir.Value]) -> None:
        """The results become what the next iteration begins with. A result that is another carried
        value is copied first, as its slot may be overwritten before it is read."""
        buffers = {slot.buffer for slot in slots}
        sources = []
        for number, (slot, value) in enumerate(zip(slots, results, strict=True)):
            source = self.values.get(value, self._rows(number))
            if source.buffer in buffers and source.buffer is not slot.buffer:
                moved = new_storage(
                    self.builder, source.shape, source.dtype, source.partition_dims, "handed"
                )
                cast(self.builder, moved, source)
                source = moved
            sources.append(source)
        for slot, source in zip(slots, sources, strict=True):
            if source.buffer is not slot.buffer:
                cast(self.builder, slot, source)
