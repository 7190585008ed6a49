"""Covers an elementwise expression with instructions, tile by tile.

Selection is a table from op to rule, largest pattern first:

* ScalarE `activation`: func(x * scale + bias), scale and bias constants or one per partition;
* VectorE `tensor_scalar`: (x op0 s0) op1 s1; `scalar_tensor_tensor`: (x op s) op1 y;
* VectorE `tensor_tensor`; GpSimdE for 32-bit integers (exact there) and for powers.

What no instruction can hold at once goes through a temporary tile. Subexpressions of per-partition
values are computed once, on one element per partition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.alu import ALU_BY_NAME
from axonc.backends.numerics.dtypes import F32, I32, U32, DType
from axonc.backends.targets.target import Engine
from axonc.diagnostics import UnsupportedOpError
from axonc.passes.elementwise_expression import Expression
from axonc.passes.kernel_builder import KernelBuilder, step
from axonc.passes.tensor_storage import Lane, merge_loops
from axonc.passes.tile_program import Form, View

MAX_DIMS = 3
"""Free dims most instructions can hold beside other operands (hardware.md 3.0: 1 to 3)."""

MAX_TILE_ELEMENTS = 2048
"""Elements per partition of one elementwise instruction: long enough to hide its ~100 cycles, short
enough that the next engine need not wait long (one PSUM half)."""

ACTIVATIONS = {
    "exp": "exp",
    "tanh": "tanh",
    "logistic": "sigmoid",
    "erf": "erf",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "silu": "silu",
    "abs": "abs",
    "sign": "sign",
    "log": "log",
    "square": "square",
    "relu": "relu",
}

BINARY = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "maximum": "max",
    "minimum": "min",
    "power": "pow",
}

BOOLEAN = {"and": "logical_and", "or": "logical_or", "xor": "logical_xor"}

BITWISE = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}

COMPARE = {
    "EQ": "is_equal",
    "NE": "not_equal",
    "LT": "is_lt",
    "LE": "is_le",
    "GT": "is_gt",
    "GE": "is_ge",
}

SWAPPED = {"is_lt": "is_gt", "is_gt": "is_lt", "is_le": "is_ge", "is_ge": "is_le"}

Value = Lane | float
"""An operand: elements of a buffer, or an immediate."""


def supported_elementwise() -> tuple[str, ...]:
    """Neuron ops with a rule here or a rewrite into such ops."""
    from axonc.passes.elementwise_expression import REWRITES

    names = {*ACTIVATIONS, *BINARY, *BOOLEAN, *REWRITES, "compare", "select", "convert"}
    return tuple(sorted(names | {"reciprocal"}))


def nest_tiles(
    sizes: Sequence[int], lanes: Sequence[Lane], max_elements: int, max_dims: int = MAX_DIMS
) -> Iterator[tuple[tuple[int, ...], list[Lane]]]:
    """Splits a nest of loops into pieces one instruction can hold: few dims, few elements.

    Yields (sizes, lanes) of each piece; every lane's strides match the piece's sizes.
    """
    merged = merge_loops(list(sizes), [list(lane.strides) for lane in lanes])
    inner = [size for size, _ in merged]
    pieces = [
        replace(lane, strides=tuple(strides[i] for _, strides in merged))
        for i, lane in enumerate(lanes)
    ]
    yield from _split(tuple(inner), pieces, max_elements, max_dims)


def _split(
    sizes: tuple[int, ...], lanes: list[Lane], max_elements: int, max_dims: int
) -> Iterator[tuple[tuple[int, ...], list[Lane]]]:
    total = math.prod(sizes)
    if len(sizes) <= max_dims and total <= max_elements:
        yield sizes, lanes
        return
    per_step = total // sizes[0]
    count = 1 if len(sizes) > max_dims else max(1, max_elements // per_step)
    for begin in range(0, sizes[0], count):
        size = min(count, sizes[0] - begin)
        moved = [lane.advanced(0, begin) for lane in lanes]
        if size == 1:
            dropped = [replace(lane, strides=lane.strides[1:]) for lane in moved]
            yield from _split(sizes[1:], dropped, max_elements, max_dims)
        else:
            yield from _split((size, *sizes[1:]), moved, max_elements, max_dims)


def emit_expression(
    builder: KernelBuilder,
    root: Expression,
    sizes: Sequence[int],
    leaves: Sequence[Lane],
    leaf_keys: Sequence[tuple[int, tuple[int, ...] | None]],
    out: Lane,
    max_elements: int = MAX_TILE_ELEMENTS,
) -> None:
    """Instructions for `out = root`, over the whole nest of loops.

    leaves[i] belongs to the leaf with (argument, broadcast) = leaf_keys[i].
    """
    for piece, lanes in nest_tiles(sizes, [*leaves, out], max_elements):
        table = dict(zip(leaf_keys, lanes[:-1], strict=True))
        TileEmitter(builder, piece, table).emit(root, lanes[-1])


@dataclass(frozen=True)
class _Affine:
    """x * scale + bias; scale and bias are immediates or per-partition lanes."""

    x: Expression
    scale: Value
    bias: Value


class TileEmitter:
    """Covers expressions on one tile: `sizes` free loops, leaves given as lanes."""

    def __init__(
        self,
        builder: KernelBuilder,
        sizes: tuple[int, ...],
        leaves: dict[tuple[int, tuple[int, ...] | None], Lane],
    ) -> None:
        self.builder = builder
        self.sizes = sizes
        self.leaves = leaves
        self.partitions = next(iter(leaves.values())).num_partitions if leaves else 0
        self._made: dict[int, Lane] = {}
        self._varying: dict[int, bool] = {}

    # ---- operands ---------------------------------------------------------------------------

    def varies(self, e: Expression) -> bool:
        """Whether the value differs between elements of one partition."""
        key = id(e)
        if key not in self._varying:
            if e.op == "leaf":
                lane = self.leaves[e.argument, e.broadcast]
                self._varying[key] = not lane.is_per_partition
            else:
                self._varying[key] = any(self.varies(arg) for arg in e.args)
        return self._varying[key]

    def value(self, e: Expression) -> Value:
        """An operand holding `e`, computed into a temporary if need be."""
        if e.is_constant:
            return e.value
        if e.op == "leaf":
            return self.leaves[e.argument, e.broadcast]
        if id(e) not in self._made:
            self._made[id(e)] = self._temporary(e)
        return self._made[id(e)]

    def lane(self, e: Expression) -> Lane:
        """Like `value`, but a constant becomes a tile."""
        value = self.value(e)
        if isinstance(value, Lane):
            return value
        filled = self.builder.fill(value, e.dtype)
        return Lane(filled.buffer, e.dtype, 0, self.partitions, 0, (0,) * len(self.sizes))

    def _temporary(self, e: Expression) -> Lane:
        if not self.varies(e):
            return self._per_partition_temporary(e)
        lane = self._new_lane(e.dtype)
        self.emit(e, lane)
        return lane

    def _new_lane(self, dtype: DType) -> Lane:
        tile = self.builder.sbuf((self.partitions, *self.sizes), dtype, "temporary")
        strides = tuple(stride for stride, _ in tile.dims) if self.sizes else ()
        return Lane(tile.buffer, dtype, 0, self.partitions, 0, strides)

    def _per_partition_temporary(self, e: Expression) -> Lane:
        narrow = {key: replace(lane, strides=()) for key, lane in self.leaves.items()}
        inner = TileEmitter(self.builder, (), narrow)
        tile = self.builder.sbuf((self.partitions, 1), e.dtype, "column")
        inner.emit(e, Lane(tile.buffer, e.dtype, 0, self.partitions, 0, ()))
        return Lane(tile.buffer, e.dtype, 0, self.partitions, 0, (0,) * len(self.sizes))

    def view(self, lane: Lane) -> View:
        return lane.view(self.sizes)

    def column(self, value: Value) -> View | None:
        """A [P, 1] float32 view of a per-partition lane; None for an immediate."""
        if not isinstance(value, Lane):
            return None
        column = replace(value, strides=()).view(())
        if column.dtype == F32:
            return column
        wide = self.builder.sbuf((self.partitions, 1), F32, "column")
        self.builder.copy(wide, column)
        return wide

    def scalar(self, e: Expression) -> Value | None:
        """`e` as an immediate or a per-partition lane, else None."""
        if e.is_constant:
            return e.value
        return None if self.varies(e) else self.value(e)

    # ---- rules ------------------------------------------------------------------------------

    def emit(self, e: Expression, dst: Lane) -> None:
        """Instructions for dst = e."""
        if e.op in ("leaf", "constant") or id(e) in self._made:
            self._emit_copy(self.lane(e), dst)
        elif e.op in ACTIVATIONS:
            self._emit_activation(e, dst)
        elif e.op == "reciprocal":
            self._vector("reciprocal", dst=self.view(dst), src=self.view(self.lane(e.args[0])))
        elif e.op in OTHER_RULES:
            OTHER_RULES[e.op](self, e, dst)
        else:
            self._emit_binary(e, operator_of(e), dst)

    def _vector(self, mnemonic: str, engine: Engine = Engine.VECTOR, **arguments: object) -> None:
        self.builder.emit(mnemonic, engine, **arguments)

    def _emit_copy(self, src: Lane, dst: Lane) -> None:
        self.builder.copy(self.view(dst), self.view(src))

    def _affine(self, e: Expression) -> _Affine:
        """e as x * scale + bias, taking as many single-use nodes as possible."""
        bias: Value = 0.0
        if e.op == "add" and e.uses <= 1 and id(e) not in self._made and e.dtype == F32:
            for x, b in (e.args, e.args[::-1]):
                found = self.scalar(b)
                if found is not None:
                    e, bias = x, found
                    break
        scale: Value = 1.0
        if e.op == "multiply" and e.uses <= 1 and id(e) not in self._made and e.dtype == F32:
            for x, s in (e.args, e.args[::-1]):
                found = self.scalar(s)
                if found is not None:
                    e, scale = x, found
                    break
        return _Affine(e, scale, bias)

    def _emit_activation(self, e: Expression, dst: Lane) -> None:
        affine = self._affine(e.args[0])
        src = self.lane(affine.x)
        self.builder.append(
            Form(Engine.SCALAR, (self._activation(ACTIVATIONS[e.op], affine, src, dst),))
        )

    def _activation(self, func: str, affine: _Affine, src: Lane, dst: Lane) -> object:
        scale, bias = affine.scale, affine.bias
        if isinstance(bias, float) and bias:
            filled = self.builder.fill(bias, F32)
            bias = Lane(filled.buffer, F32, 0, self.partitions, 0, ())
        return step(
            "activation",
            dst=self.view(dst),
            src=self.view(src),
            bias=self.column(bias),
            scale_tile=self.column(scale),
            func=func,
            scale=scale if isinstance(scale, float) else 1.0,
        )

    def _emit_binary(self, e: Expression, operator: str, dst: Lane) -> None:
        a, b = e.args
        engine = engine_for(e, operator)
        if engine is Engine.GPSIMD and e.op == "compare" and dst.dtype not in (I32, U32):
            self._emit_exact_compare(e, operator, dst)
            return
        first, second = self.scalar(a), self.scalar(b)
        if second is not None and self.varies(a):
            self._emit_tensor_scalar(a, operator, second, False, engine, dst, e)
        elif first is not None and self.varies(b):
            self._emit_tensor_scalar(b, operator, first, True, engine, dst, e)
        elif self._fuses(a, engine):
            self._emit_scalar_tensor_tensor(a, operator, b, False, dst)
        elif self._fuses(b, engine):
            self._emit_scalar_tensor_tensor(b, operator, a, True, dst)
        else:
            self._emit_tensor_tensor(a, operator, b, engine, dst)

    def _emit_exact_compare(self, e: Expression, operator: str, dst: Lane) -> None:
        """GpSimdE is exact only when every tile is a 32-bit integer, the result's too."""
        wide = self._new_lane(I32)
        self._emit_binary(e, operator, wide)
        self._emit_copy(wide, dst)

    def _inner(self, e: Expression) -> tuple[Expression, str, Value, bool] | None:
        """e as (x, operator, scalar, reversed), if one more operator fits the instruction."""
        if e.uses > 1 or id(e) in self._made or e.dtype != F32 or len(e.args) != 2:
            return None
        if e.op not in BINARY or e.op == "power":
            return None
        a, b = e.args
        scalar = self.scalar(b)
        if scalar is not None and self.varies(a):
            return a, BINARY[e.op], scalar, False
        scalar = self.scalar(a)
        if scalar is not None and self.varies(b):
            return b, BINARY[e.op], scalar, True
        return None

    def _fuses(self, e: Expression, engine: Engine) -> bool:
        return engine is Engine.VECTOR and self._inner(e) is not None

    def _emit_tensor_scalar(
        self,
        x: Expression,
        operator: str,
        scalar: Value,
        reverse: bool,
        engine: Engine,
        dst: Lane,
        whole: Expression,
    ) -> None:
        inner = self._inner(x) if engine is Engine.VECTOR else None
        if inner is None:
            arguments = _two_ops(self, operator, scalar, reverse)
            src = self.lane(x)
        else:
            base, op0, s0, reverse0 = inner
            arguments = _two_ops(self, op0, s0, reverse0, operator, scalar, reverse)
            src = self.lane(base)
        made = step("tensor_scalar", dst=self.view(dst), src=self.view(src), **arguments)
        forms = [Form(engine, (made,))]
        affine = self._affine(whole) if _is_affine(whole) and engine is Engine.VECTOR else None
        if affine is not None and affine.x is (inner[0] if inner else x) and src.dtype.is_float:
            forms.append(Form(Engine.SCALAR, (self._activation("copy", affine, src, dst),)))
        self.builder.append(*forms)

    def _emit_scalar_tensor_tensor(
        self, e: Expression, operator: str, other: Expression, reverse: bool, dst: Lane
    ) -> None:
        inner = self._inner(e)
        assert inner is not None
        x, op0, scalar, reverse0 = inner
        src0, src1 = self._not_both_psum(self.lane(x), self.lane(other))
        self._vector(
            "scalar_tensor_tensor",
            dst=self.view(dst),
            src0=self.view(src0),
            scalar=self.column(scalar),
            src1=self.view(src1),
            op0=op0,
            imm=scalar if isinstance(scalar, float) else 0.0,
            reverse0=reverse0,
            op1=operator,
            reverse1=reverse,
        )

    def _emit_tensor_tensor(
        self, a: Expression, operator: str, b: Expression, engine: Engine, dst: Lane
    ) -> None:
        src0, src1 = self._not_both_psum(self.lane(a), self.lane(b))
        self._vector(
            "tensor_tensor",
            engine,
            dst=self.view(dst),
            src0=self.view(src0),
            src1=self.view(src1),
            op=operator,
        )

    def _not_both_psum(self, a: Lane, b: Lane) -> tuple[Lane, Lane]:
        """Two-input instructions may not have both inputs in PSUM (hardware.md 3.0)."""
        if a.buffer.memory is not Memory.PSUM or b.buffer.memory is not Memory.PSUM:
            return a, b
        copy = self._new_lane(b.dtype)
        self._emit_copy(b, copy)
        return a, copy

    def emit_select(self, e: Expression, dst: Lane) -> None:
        """dst = on_false, then on_true where the predicate holds."""
        predicate, on_true, on_false = e.args
        mask = self.lane(predicate)
        chosen = self.lane(on_true)
        self.emit(on_false, dst)
        self._vector(
            "tensor_copy_predicated",
            dst=self.view(dst),
            src=self.view(chosen),
            predicate=self.view(mask),
        )

    def emit_convert(self, e: Expression, dst: Lane) -> None:
        """A conversion rounds once: straight into dst, or by way of a tile of its own dtype."""
        if dst.dtype == e.dtype:
            source = e.args[0]
            if source.uses <= 1 and source.dtype == F32 and source.op not in ("leaf", "convert"):
                self.emit(source, dst)
            else:
                self._emit_copy(self.lane(source), dst)
        else:
            self._emit_copy(self._temporary(e), dst)


def _two_ops(
    emitter: TileEmitter,
    op0: str,
    s0: Value,
    reverse0: bool,
    op1: str = "bypass",
    s1: Value = 0.0,
    reverse1: bool = False,
) -> dict[str, object]:
    return {
        "op0": op0,
        "imm0": s0 if isinstance(s0, float) else 0.0,
        "scalar0": emitter.column(s0),
        "reverse0": reverse0,
        "op1": op1,
        "imm1": s1 if isinstance(s1, float) else 0.0,
        "scalar1": emitter.column(s1) if op1 != "bypass" else None,
        "reverse1": reverse1,
    }


def _is_affine(e: Expression) -> bool:
    return e.op in ("add", "multiply") and e.dtype.is_float


def operator_of(e: Expression) -> str:
    """The ALU operator of a two-operand node."""
    if e.op == "compare":
        return COMPARE[e.direction]
    if e.op in BOOLEAN:
        return BOOLEAN[e.op] if e.is_bool else BITWISE[e.op]
    if e.op in BINARY:
        return BINARY[e.op]
    raise UnsupportedOpError(
        "no instruction computes this elementwise op",
        op=f"neuron.{e.op}",
        hint=f"the engines have {', '.join(supported_elementwise())}",
    )


def engine_for(e: Expression, operator: str) -> Engine:
    """32-bit integers are exact on GpSimdE only (hardware.md 2.3); narrower ones would saturate
    where StableHLO wraps."""
    kinds = {arg.dtype.name for arg in e.args if not arg.is_constant}
    if kinds & {"i32", "u32"} and operator not in BITWISE.values():
        return Engine.GPSIMD
    wraps = e.op in ("add", "subtract", "multiply")
    if kinds & {"i16", "u16", "i8", "u8"} and wraps:
        raise UnsupportedOpError(
            f"{e.op} of {min(kinds)} wraps around; the engines saturate",
            op=f"neuron.{e.op}",
            hint="compute in i32",
        )
    return Engine.VECTOR if Engine.VECTOR in ALU_BY_NAME[operator].engines else Engine.GPSIMD


OTHER_RULES: dict[str, Callable[[TileEmitter, Expression, Lane], None]] = {
    "select": TileEmitter.emit_select,
    "convert": TileEmitter.emit_convert,
}
