"""Tiling: from tensors with chosen rows to tile operations on buffers.

Precondition: `neuron` ops annotated by choose-layouts. Postcondition: a `TileProgram` in a legal
sequential order, without addresses; every computation of the graph is in its operations.

One rule per op, in `RULES`. Relabelling ops and conversions become nothing until a consumer asks
(tile_values.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.backends.program import TensorKind
from axonc.backends.targets.target import Engine, Target
from axonc.context import source_location
from axonc.diagnostics import AxoncError, UnsupportedOpError
from axonc.dialects.attributes import dense_to_numpy, integers
from axonc.dialects.neuron.repeat import REPEAT
from axonc.dialects.neuron.table import COLLECTIVES
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import TileProgram
from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.layout.view_ops import VIEW_OPS, shape_of
from axonc.passes.legalize.collectives import cores_of
from axonc.passes.tile.elementwise.elementwise_expression import (
    machine_dtype,
    region_expression,
    supported_elementwise,
)
from axonc.passes.tile.elementwise.emit import emit_expression
from axonc.passes.tile.move import (
    cast,
    free_loops,
    load,
    new_storage,
    row_blocks,
    store,
)
from axonc.passes.tile.ops.collective import COLLECTIVE_RULES
from axonc.passes.tile.ops.concatenate import tile_concatenate
from axonc.passes.tile.ops.convolution import tile_convolution
from axonc.passes.tile.ops.dot import DotTiler
from axonc.passes.tile.ops.dynamic import (
    DYNAMIC_RULES,
    MAX_EXACT_IMMEDIATE,
)
from axonc.passes.tile.ops.pool import tile_reduce_window
from axonc.passes.tile.ops.reduce import tile_layer_norm, tile_reduce, tile_rms_norm, tile_softmax
from axonc.passes.tile.ops.repeat import RepeatTiler, only_varying
from axonc.passes.tile.region_operands import RegionOperands
from axonc.passes.tile.returned_pieces import CONCATENATE, places, returned_concatenations
from axonc.passes.tile.store_result import for_output, store_result
from axonc.passes.tile.stored_dtype import is_float_conversion, narrowing_uses, raises_bytes
from axonc.passes.tile.update_in_place import ALIAS, plan_updates
from axonc.passes.tile.values import Values, hbm_storage, is_whole

Rule = Callable[[Values, ir.Operation, DType], Storage]


def tile_fused(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    root = region_expression(op.regions[0].blocks[0])
    rows = integers(op.attributes["layout.rows"])
    shape = shape_of(op.results[0])
    result = new_storage(values.builder, shape, dtype, rows, "fused")
    leaves = RegionOperands(values, root, list(op.operands), shape, result.partition_dims)
    partitions = values.builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        lanes = leaves.lanes(row, count, loops, partitions, None)
        out = result.lane(row, count, loops, partitions)
        sizes = [lp.size for lp in loops]
        emit_expression(values.builder, root, sizes, lanes, leaves.keys, out)
    return result


def tile_dot(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    if any(0 in shape_of(operand) for operand in list(op.operands)[:2]):
        raise UnsupportedOpError("contraction of length 0", hint="its result is constant: fold it")
    return DotTiler(values, op).run(dtype)


def tile_gather_rows(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """Indirect DMA: each partition fetches the table row its index names (hardware.md 3.5)."""
    builder = values.builder
    table, indices = op.operands[0], op.operands[1]
    source = values.in_device_memory(table, "table")
    shape = shape_of(op.results[0])
    rank = len(shape_of(indices))
    rows = tuple(d for d in range(rank) if shape[d] > 1)
    where = _clamped(values, values.get(indices, rows), source.shape[0])
    result = new_storage(builder, shape, dtype, rows, "gathered")
    partitions = builder.target.partitions
    width = tuple(shape[rank:])
    dims = [(source.strides[d], source.shape[d]) for d in range(len(source.shape))]
    for first in range(0, result.rows if rows else 1, partitions):
        count = min(partitions, result.rows - first) if rows else partitions
        loops = tuple(Loop(rank + d, n) for d, n in enumerate(width))
        dst = result.lane(first, count, loops, partitions).view(width)
        index = where.lane(first, count, (), partitions).view(())
        builder.dma(dst, source.hbm_view(dims, 0), index=index, indirect="gather")
    return result


def _clamped(values: Values, indices: Storage, size: int) -> Storage:
    """Indices limited to the table, as StableHLO's gather does; exact on GpSimdE."""
    if size > MAX_EXACT_IMMEDIATE:
        raise UnsupportedOpError(
            f"a table of {size} rows: immediates are float32, exact up to {MAX_EXACT_IMMEDIATE}",
            hint="split the table",
        )
    builder = values.builder
    result = new_storage(builder, indices.shape, DTYPES["i32"], indices.partition_dims, "indices")
    partitions = builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        sizes = tuple(lp.size for lp in loops)
        views = [s.lane(row, count, loops, partitions).view(sizes) for s in (result, indices)]
        builder.emit(
            "tensor_scalar",
            Engine.GPSIMD,
            dst=views[0],
            src=views[1],
            op0="max",
            imm0=0.0,
            op1="min",
            imm1=float(size - 1),
        )
    return result


def tile_pad(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """Fill, then copy the operand into a strided slice of the result: on chip, or in device memory
    when padded dims lie on partitions."""
    builder = values.builder
    shape, size = shape_of(op.results[0]), shape_of(op.operands[0])
    rows = integers(op.attributes["layout.rows"])
    low, interior = integers(op.attributes["low"]), integers(op.attributes["interior"])
    high = integers(op.attributes["high"])
    if min((*low, *high)) < 0:
        raise UnsupportedOpError("negative padding", hint="slice the operand instead")
    result = new_storage(builder, shape, dtype, rows, "padded")
    fill = values.get(op.operands[1], ()).broadcast((), shape)
    assert fill is not None
    cast(builder, result, fill)
    if 0 in size:
        return result
    steps = tuple(i + 1 for i in interior)
    limit = tuple(a + (n - 1) * s + 1 for a, n, s in zip(low, size, steps, strict=True))
    place = result.sliced(low, limit, steps)
    if place is not None:
        cast(builder, place, values.get(op.operands[0], rows))
        return result
    outside = values.to_device_memory(result, "padded")
    place = outside.sliced(low, limit, steps)
    assert place is not None, "device memory has no partition dims"
    store(builder, place, values.get(op.operands[0], default_rows(size)))
    whole = new_storage(builder, shape, dtype, rows, "padded")
    load(builder, whole, outside)
    return whole


def tile_iota(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """GpSimdE counts along the dim, which is free."""
    dim = ir.IntegerAttr(op.attributes["dimension"]).value
    result = new_storage(
        values.builder,
        shape_of(op.results[0]),
        dtype,
        integers(op.attributes["layout.rows"]),
        "iota",
    )
    partitions = values.builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        sizes = tuple(lp.size for lp in loops)
        steps = {f"step{i}": int(lp.dim == dim) for i, lp in enumerate(loops)}
        dst = result.lane(row, count, loops, partitions).view(sizes)
        values.builder.emit("iota", Engine.GPSIMD, dst=dst, offset=0, **steps)
    return result


RULES: dict[str, Rule] = {
    "neuron.fused": tile_fused,
    "neuron.dot": tile_dot,
    "neuron.softmax": tile_softmax,
    "neuron.layer_norm": tile_layer_norm,
    "neuron.rms_norm": tile_rms_norm,
    "neuron.reduce": tile_reduce,
    "neuron.gather_rows": tile_gather_rows,
    "neuron.concatenate": tile_concatenate,
    "neuron.pad": tile_pad,
    "neuron.iota": tile_iota,
    **DYNAMIC_RULES,
    "neuron.convolution": tile_convolution,
    "neuron.reduce_window": tile_reduce_window,
    **COLLECTIVE_RULES,
}

IN_OWN_DTYPE = frozenset((*COLLECTIVE_RULES, "neuron.dynamic_update_slice"))
"""Ops whose result is not made in the narrower type its readers want."""


class Tiler:
    """Tiles one function."""

    def __init__(
        self, function: ir.Operation, target: Target, *, exact_transposes: bool = False
    ) -> None:
        self.function = function
        self.builder = KernelBuilder(target, exact_transposes=exact_transposes)
        if function.parent is not None:
            self.builder.program.cores = cores_of(function.parent.operation)
        self.values = Values(self.builder)
        self.arguments: dict[ir.Value, tuple[str, TensorKind]] = {}
        # Arguments that the caller gave away: the number of the result that may take their memory.
        self.given_away: dict[ir.Value, int] = {}
        self.aliases: dict[int, Storage] = {}
        self.outputs: dict[int, Storage] = {}
        self.pieces: dict[ir.Value, list[Storage]] = {}

    def run(self, progress: Callable[[int, int], None] = lambda done, total: None) -> TileProgram:
        block = self.function.regions[0].blocks[0]
        self._declare_arguments(block)
        self._plan_updates(block)
        self._plan_pieces(block)
        ops = [op.operation for op in block.operations]
        for number, op in enumerate(ops):
            progress(number, len(ops))
            location = source_location(op)
            with self.builder.at(location):
                try:
                    self._tile(op)
                except AxoncError as error:
                    raise _located(error, op, location) from None
        self._drop_unused()
        return self.builder.program

    def _tile(self, op: ir.Operation) -> None:
        if op.name in ("func.return", "return"):
            self._return(op)
        elif op.name == "neuron.constant":
            self._constant(op)
        elif op.name == REPEAT:
            self._repeat(op)
        elif op.name in VIEW_OPS:
            self.values.derived[op.results[0]] = op
        elif op.name == CONCATENATE and op.results[0] in self.values.returned:
            self._finish_pieces(op)
        elif is_float_conversion(op) or raises_bytes(op):
            if op.results[0] not in self.values.storages:
                self.values.converted[op.results[0]] = op.operands[0]
        else:
            self._compute(op)

    def _compute(self, op: ir.Operation) -> None:
        if op.name not in RULES:
            raise UnsupportedOpError(
                "no tiling rule for this op",
                op=op.name,
                hint=f"there are rules for {', '.join(sorted(RULES))}",
            )
        result = op.results[0]
        is_read = op.name in COLLECTIVES or bool(list(result.uses))
        if not is_read or 0 in shape_of(result):
            return
        casts = [] if op.name in IN_OWN_DTYPE else narrowing_uses(op)
        dtype = machine_dtype((casts[0].results[0] if casts else result).type)
        storage = RULES[op.name](self.values, op, dtype)
        for value in [c.results[0] for c in casts] or [result]:
            self.values.add(value, storage)
            self._store_piece(value)

    def _repeat(self, op: ir.Operation) -> None:
        final = list(self.function.regions[0].blocks[0].operations)[-1].operation
        numbers = {value: number for number, value in enumerate(final.operands)}
        names = {value: self._result_names[number] for value, number in numbers.items()}
        taken = {a: self._result_names[n] for a, n in self.given_away.items()}
        tiler = RepeatTiler(self.values, op, self._tile, self.arguments, names, taken)
        for value, storage in tiler.run().items():
            self.values.add(value, storage)
            self.outputs[numbers[value]] = storage

    # ---- the edges of the program -----------------------------------------------------------

    def _declare_arguments(self, block: ir.Block) -> None:
        attributes = (
            ir.ArrayAttr(self.function.attributes["arg_attrs"])
            if ("arg_attrs" in self.function.attributes)
            else [ir.DictAttr.get({})] * len(block.arguments)
        )
        repeated_only = only_varying(block)
        for number, argument in enumerate(block.arguments):
            given = ir.DictAttr(attributes[number])
            name = _string(given, "neuron.name", f"arg{number}")
            element = str(ir.RankedTensorType(argument.type).element_type)
            kind = TensorKind.WEIGHT if "neuron.weight" in given else TensorKind.INPUT
            self.arguments[argument] = (name, kind)
            if ALIAS in given:
                self.given_away[argument] = ir.IntegerAttr(given[ALIAS]).value
            if argument in repeated_only:
                continue
            view = self.builder.hbm(
                name,
                shape_of(argument),
                machine_dtype(argument.type),
                kind,
                host_dtype=_string(given, "neuron.host_dtype", element),
            )
            storage = hbm_storage(view, shape_of(argument))
            self.values.add(argument, storage)
            if argument in self.given_away:
                self.aliases[self.given_away[argument]] = storage

    def _plan_updates(self, block: ir.Block) -> None:
        """What is updated in place; results that begin as a copy of something have their memory
        from the start."""
        declared = {a: n for a, n in self.given_away.items() if a in self.values.storages}
        self.values.updates = plan_updates(block, declared)
        results = list(block.operations)[-1].operation.operands
        for value, number in self.values.updates.ends.items():
            storage = self._declare_result(number, results[number])
            self.values.outputs[value] = self.outputs[number] = storage

    def _plan_pieces(self, block: ir.Block) -> None:
        """Results that are stored piece by piece, each as it is made."""
        results = list(block.operations)[-1].operation.operands
        for value, number in returned_concatenations(block).items():
            if number not in self.outputs:
                out = self._declare_result(number, results[number])
                whole = out.reshaped(shape_of(value))
                assert whole is not None, "contiguous memory allows every reshape"
                self.outputs[number] = out
                self.values.returned[value] = whole
                for operand, place in places(value.owner.operation, whole):
                    self.pieces.setdefault(operand, []).append(place)

    def _store_piece(self, value: ir.Value) -> None:
        for place in self.pieces.pop(value, ()):
            store(self.builder, place, for_output(self.values, value, place))

    def _finish_pieces(self, op: ir.Operation) -> None:
        """The operands that no rule has made: arguments, relabellings, conversions."""
        for operand in op.operands:
            self._store_piece(operand)
        self.values.add(op.results[0], self.values.returned[op.results[0]])

    def _return(self, op: ir.Operation) -> None:
        for number, value in enumerate(op.operands):
            self._store_result(number, value)

    def _declare_result(self, number: int, value: ir.Value, alias: str = "") -> Storage:
        element = str(ir.RankedTensorType(value.type).element_type)
        view = self.builder.hbm(
            self._result_names[number],
            shape_of(value),
            machine_dtype(value.type),
            TensorKind.OUTPUT,
            host_dtype=element,
            alias=alias,
        )
        return hbm_storage(view, shape_of(value))

    @cached_property
    def _result_names(self) -> list[str]:
        final = list(self.function.regions[0].blocks[0].operations)[-1].operation
        count = len(final.operands)
        if "res_attrs" not in self.function.attributes:
            return [f"result{i}" for i in range(count)]
        attributes = ir.ArrayAttr(self.function.attributes["res_attrs"])
        return [
            _string(ir.DictAttr(a), "neuron.name", f"result{i}") for i, a in enumerate(attributes)
        ]

    def _store_result(self, number: int, value: ir.Value) -> None:
        """Nothing moves when the value was made in its own memory, or in that of the argument whose
        place it takes."""
        made = {s.buffer for s in self.values.known(value) if is_whole(s)}
        alias = self.aliases.get(number)
        if alias is not None and alias.buffer in made:
            self._declare_result(number, value, alias.buffer.name)
            return
        out = self.outputs.get(number) or self._declare_result(number, value)
        if out.buffer in made or 0 in out.shape:
            return
        store_result(self.values, out, value)

    def _constant(self, op: ir.Operation) -> None:
        attribute = ir.DenseElementsAttr(op.attributes["value"])
        result = op.results[0]
        array = dense_to_numpy(attribute)
        if attribute.is_splat and array.size:
            self.values.splats[result] = float(array.reshape(-1)[0])
            return
        dtype = machine_dtype(result.type)
        data = np.ascontiguousarray(array.astype(dtype.numpy)).tobytes()
        view = self.builder.hbm("constant", shape_of(result), dtype, TensorKind.CONSTANT, data=data)
        self.values.add(result, hbm_storage(view, shape_of(result)))

    def _drop_unused(self) -> None:
        """Device tensors nobody reads (weights used only in packed form) take no memory."""
        program = self.builder.program
        used = {id(view.buffer) for op in program.ops for _, view in op.accesses()}
        keep = (TensorKind.INPUT, TensorKind.OUTPUT)
        program.buffers = [
            b
            for b in program.buffers
            if id(b) in used or (b.tensor is not None and b.tensor.kind in keep)
        ]


def _string(attributes: ir.DictAttr, name: str, default: str) -> str:
    return ir.StringAttr(attributes[name]).value if name in attributes else default


def _located(error: AxoncError, op: ir.Operation, location: object) -> AxoncError:
    """The error with the op and place it came from, if it does not say yet."""
    if error.location is None:
        error.location = location  # type: ignore[assignment]
    error.op = error.op or op.name
    error.pass_name = error.pass_name or "tile"
    error.args = (error.render(),)
    return error


def tile(function: ir.Operation, target: Target, *, exact_transposes: bool = False) -> TileProgram:
    """The tile program of an annotated function. exact_transposes: by DMA, which moves infinities
    and NaN unharmed, instead of on the tensor engine, which is faster."""
    return Tiler(function, target, exact_transposes=exact_transposes).run()


def supported_ops() -> tuple[str, ...]:
    """Neuron ops the tile stage has a rule for."""
    inner = tuple(f"neuron.{name}" for name in supported_elementwise())
    return tuple(sorted({*RULES, *VIEW_OPS, *inner, "neuron.constant"}))
