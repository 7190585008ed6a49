"""Tiling: from tensors with chosen rows to tile operations on buffers.

Precondition: `neuron` ops annotated by choose-layouts. Postcondition: a `TileProgram` in a legal
sequential order, without addresses; every computation of the graph is in its operations.

One rule per op, in `RULES`. Relabelling ops and conversions become nothing until a consumer asks
(passes/tile/values.py).

Before:
    %y = "neuron.fused"(%x) ({ tanh }) {layout.rows = [0]} : (tensor<4x8xf32>) -> tensor<4x8xf32>
After:
    "ntile.dma_copy"(%x_tile, %x)        // device memory to SBUF
    "ntile.activation"(%y_tile, %x_tile) {func = "tanh"}
    "ntile.dma_copy"(%y, %y_tile)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import TensorKind
from axonc.backends.targets import find_target
from axonc.backends.targets.target import Target
from axonc.diagnostics import AxoncError, CompileError, UnsupportedOpError
from axonc.dialects.attributes import dense_to_numpy
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import (
    ALIAS,
    CONTROL,
    HOST_DTYPE,
    NAME,
    PLACE,
    WEIGHT,
)
from axonc.dialects.neuron.ops import (
    COLLECTIVES,
    ConcatenateOp,
    ConstantOp,
    ConvolutionOp,
    DotOp,
    DynamicUpdateSliceOp,
    FusedOp,
    GatherRowsOp,
    IotaOp,
    LayerNormOp,
    MaskedSoftmaxOp,
    OpClass,
    PadOp,
    ReduceOp,
    ReduceWindowOp,
    RepeatOp,
    RmsNormOp,
    ScatterRowsOp,
    SoftmaxOp,
    SortOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.repeat import is_repeated
from axonc.dialects.ntile import ops as ntile
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import TileProgram
from axonc.dialects.ntile.reader import body
from axonc.passes.base import Pass, State
from axonc.passes.graph.infinities import Infinities
from axonc.passes.graph.module import FUNCTION, cores_of
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Storage
from axonc.passes.layout.view_ops import VIEW_OPS
from axonc.passes.tile.elementwise.elementwise_expression import (
    machine_dtype,
)
from axonc.passes.tile.move import (
    store,
)
from axonc.passes.tile.ops.collective import COLLECTIVE_RULES
from axonc.passes.tile.ops.concatenate import tile_concatenate
from axonc.passes.tile.ops.convolution import tile_convolution
from axonc.passes.tile.ops.dot import tile_dot
from axonc.passes.tile.ops.dynamic import (
    DYNAMIC_RULES,
)
from axonc.passes.tile.ops.fused import tile_fused
from axonc.passes.tile.ops.gather import tile_gather_rows
from axonc.passes.tile.ops.iota import tile_iota
from axonc.passes.tile.ops.pad import tile_pad
from axonc.passes.tile.ops.pool import tile_reduce_window
from axonc.passes.tile.ops.reduce import tile_layer_norm, tile_reduce, tile_rms_norm, tile_softmax
from axonc.passes.tile.ops.repeat import RepeatTiler, only_varying
from axonc.passes.tile.ops.scatter import tile_scatter_rows
from axonc.passes.tile.ops.sort import tile_sort
from axonc.passes.tile.places import Places, hand_to_sequencers
from axonc.passes.tile.returned_pieces import places, returned_concatenations
from axonc.passes.tile.store_result import for_output
from axonc.passes.tile.stored_dtype import is_float_conversion, narrowing_uses, raises_bytes
from axonc.passes.tile.update_in_place import plan_updates
from axonc.passes.tile.values import Values, hbm_storage, is_whole
from axonc.passes.tile_level.tile_state import TileState

Rule = Callable[[Values, ir.Operation, DType], Storage]


RULES: dict[OpClass, Rule] = {
    FusedOp: tile_fused,
    DotOp: tile_dot,
    SoftmaxOp: tile_softmax,
    MaskedSoftmaxOp: tile_softmax,
    LayerNormOp: tile_layer_norm,
    RmsNormOp: tile_rms_norm,
    ReduceOp: tile_reduce,
    GatherRowsOp: tile_gather_rows,
    ScatterRowsOp: tile_scatter_rows,
    SortOp: tile_sort,
    ConcatenateOp: tile_concatenate,
    PadOp: tile_pad,
    IotaOp: tile_iota,
    **DYNAMIC_RULES,
    ConvolutionOp: tile_convolution,
    ReduceWindowOp: tile_reduce_window,
    **COLLECTIVE_RULES,
}

IN_OWN_DTYPE = frozenset((*COLLECTIVE_RULES, DynamicUpdateSliceOp, ScatterRowsOp, SortOp))
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
        self.values = Values(self.builder, Infinities(function))
        self.arguments: dict[ir.Value, tuple[str, TensorKind]] = {}
        # By donated argument, the number of the result that may take its memory.
        self.donated: dict[ir.Value, int] = {}
        # By number of a result: the memory of the argument it may take, and its own.
        self.aliases: dict[int, Storage] = {}
        self.places = Places(self.values)
        self.outputs: dict[int, Storage] = {}
        # By operand of a concatenation that is a result: where in results it is stored.
        self.result_parts: dict[ir.Value, list[Storage]] = {}

    def run(self) -> TileProgram:
        block = self.function.regions[0].blocks[0]
        self._declare_arguments(block)
        self._plan_updates(block)
        self._plan_result_parts(block)
        for op in list(block.operations):
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
        elif isa(op, ConstantOp):
            self._constant(op)
        elif isa(op, RepeatOp):
            self._repeat(op)
        elif kind_of(op) in VIEW_OPS:
            self.values.derived[op.results[0]] = op
        elif isa(op, ConcatenateOp) and op.results[0] in self.values.returned:
            self._finish_result(op)
        elif is_float_conversion(op) or raises_bytes(op):
            if op.results[0] not in self.values.storages:
                self.values.converted[op.results[0]] = op.operands[0]
        else:
            self._compute(op)

    def _compute(self, op: ir.Operation) -> None:
        if kind_of(op) not in RULES:
            raise UnsupportedOpError(
                "no tiling rule for this op",
                op=op.name,
                hint=f"there are rules for {', '.join(sorted(k.OPERATION_NAME for k in RULES))}",
            )
        result = op.results[0]
        is_read = kind_of(op) in COLLECTIVES or bool(list(result.uses))
        if not is_read or 0 in shape_of(result):
            return
        casts = [] if kind_of(op) in IN_OWN_DTYPE else narrowing_uses(op)
        dtype = machine_dtype((casts[0].results[0] if casts else result).type)
        storage = RULES[kind_of(op)](self.values, op, dtype)
        for value in [c.results[0] for c in casts] or [result]:
            self.values.add(value, storage)
            self._store_result_parts(value)

    def _repeat(self, op: ir.Operation) -> None:
        final = list(self.function.regions[0].blocks[0].operations)[-1]
        numbers = {value: number for number, value in enumerate(final.operands)}
        names = {value: self._result_names[number] for value, number in numbers.items()}
        taken = {a: self._result_names[n] for a, n in self.donated.items()}
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
            name = _string(given, NAME, f"arg{number}")
            element = str(ir.RankedTensorType(argument.type).element_type)
            kind = TensorKind.WEIGHT if WEIGHT in given else TensorKind.INPUT
            self.arguments[argument] = (name, kind)
            if ALIAS in given:
                self.donated[argument] = ir.IntegerAttr(given[ALIAS]).value
            if argument in repeated_only:
                continue
            view = self.builder.hbm(
                name,
                shape_of(argument),
                machine_dtype(argument.type),
                kind,
                host_dtype=_string(given, HOST_DTYPE, element),
            )
            storage = hbm_storage(view, shape_of(argument))
            self.values.add(argument, storage)
            if argument in self.donated:
                self.aliases[self.donated[argument]] = storage
                if PLACE in given:
                    self.places.add(self.donated[argument], argument, storage)

    def _plan_updates(self, block: ir.Block) -> None:
        """What is updated in place; results that begin as a copy of something have their memory
        from the start."""
        declared = {a: n for a, n in self.donated.items() if a in self.values.storages}
        self.values.updates = plan_updates(block, declared)
        results = list(block.operations)[-1].operands
        for number in self.places.storages.keys() & set(self.values.updates.ends.values()):
            self.values.updates.forget_end(number)
        for value, number in self.values.updates.ends.items():
            storage = self._declare_result(number, results[number])
            self.values.outputs[value] = self.outputs[number] = storage

    def _plan_result_parts(self, block: ir.Block) -> None:
        """Results that are stored piece by piece, each as it is made."""
        results = list(block.operations)[-1].operands
        for value, number in returned_concatenations(block).items():
            if number not in self.outputs and number not in self.places.storages:
                out = self._declare_result(number, results[number])
                whole = out.reshaped(shape_of(value))
                assert whole is not None, "contiguous memory allows every reshape"
                self.outputs[number] = out
                self.values.returned[value] = whole
                for operand, place in places(value.owner, whole):
                    self.result_parts.setdefault(operand, []).append(place)

    def _store_result_parts(self, value: ir.Value) -> None:
        for place in self.result_parts.pop(value, ()):
            store(self.builder, place, for_output(self.values, value, place))

    def _finish_result(self, op: ir.Operation) -> None:
        """The operands that no rule has made: arguments, relabellings, conversions."""
        for operand in op.operands:
            self._store_result_parts(operand)
        self.values.add(op.results[0], self.values.returned[op.results[0]])

    def _return(self, op: ir.Operation) -> None:
        self.places.set_apart(list(op.operands))
        for number, value in enumerate(op.operands):
            if self._is_control(number):
                hand_to_sequencers(self.values, value)
            elif number in self.places.storages:
                self._declare_result(number, value, self.places.storages[number].buffer.name)
                self.places.store(number, value)
            else:
                self._store_result(number, value)

    def _is_control(self, number: int) -> bool:
        if "res_attrs" not in self.function.attributes:
            return False
        return CONTROL in ir.DictAttr(ir.ArrayAttr(self.function.attributes["res_attrs"])[number])

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
        final = list(self.function.regions[0].blocks[0].operations)[-1]
        count = len(final.operands)
        if "res_attrs" not in self.function.attributes:
            return [f"result{i}" for i in range(count)]
        attributes = ir.ArrayAttr(self.function.attributes["res_attrs"])
        return [_string(ir.DictAttr(a), NAME, f"result{i}") for i, a in enumerate(attributes)]

    def _store_result(self, number: int, value: ir.Value) -> None:
        """Nothing moves when the value was made in its own memory, or in that of the argument whose
        place it takes."""
        made = {s.buffer for s in self.values.known(value) if is_whole(s)}
        alias = self.aliases.get(number)
        if alias is not None and alias.buffer in made:
            self._declare_result(number, value, alias.buffer.name)
            return
        out = self.outputs.get(number) or self._declare_result(number, value)
        if out.buffer not in made and 0 not in out.shape:
            self.places.store_at(out, number, value)

    def _constant(self, op: ir.Operation) -> None:
        attribute = ir.DenseElementsAttr(op.value)
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
        """Device tensors without uses (weights used only in packed form) take no memory."""
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
    """The tile program of an annotated function. exact_transposes: on VectorE, which keeps
    infinities and NaN, instead of on the tensor engine, which is faster."""
    return Tiler(function, target, exact_transposes=exact_transposes).run()


@dataclass(frozen=True)
class TilePass(Pass, name="tile"):
    """Turn tensors with chosen layouts into tile operations on buffers."""

    target: str = ntile.DEFAULT_TARGET
    exact_transposes: bool = False

    def run_on(self, state: State) -> tuple[State, bool]:
        function = _only_function(state)
        target = find_target(self.target)
        with function.context, ir.Location.unknown():
            program = tile(function, target, exact_transposes=self.exact_transposes)
        return TileState(program), True


def _only_function(state: State) -> ir.Operation:
    """The function of a program whose layouts are chosen."""
    functions = [f for f in state.targets(FUNCTION) if not is_repeated(f)]
    if len(functions) != 1:
        raise CompileError(
            f"{len(functions)} functions to tile; a program is one",
            hint="inline the others first" if functions else "tile works on neuron operations",
        )
    for op in body(functions[0]):
        if len(op.results) and "layout.rows" not in op.attributes:
            raise CompileError(
                "the op has no layout.rows",
                op=op.name,
                location=source_location(op),
                hint="run 'choose-layouts' first",
            )
    return functions[0]
