"""Covers an elementwise expression with instructions, tile by tile.

Selection is a table from op to rule, largest pattern first:

* ScalarE `activation`: func(x * scale + bias), scale and bias constants or one per partition;
* VectorE `tensor_scalar`: (x op0 s0) op1 s1; `scalar_tensor_tensor`: (x op s) op1 y;
* `tensor_tensor`; GpSimdE for 32-bit integers (exact there) and for powers.

What no instruction can hold at once goes through a temporary tile. Within one instruction values
stay float32, also in a bf16 expression. Subexpressions of per-partition values are computed once,
on one element per partition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import F32, I32, U8, DType
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import KernelBuilder, Step, step
from axonc.dialects.ntile.program import Form, View
from axonc.passes.layout.storage import Lane
from axonc.passes.tile.elementwise.alu_selection import (
    Mode,
    engine_of,
    is_immediate,
    mode_of,
    operator_of,
    runs_on,
)
from axonc.passes.tile.elementwise.expression_nodes import (
    Expression,
    constant,
    is_positive_zero,
    resting_places,
)
from axonc.passes.tile.loop_nests import MAX_TILE_ELEMENTS, nest_tiles

Value = Lane | float
"""An operand: elements of a buffer, or an immediate."""

LeafKey = tuple[int, tuple[int, ...] | None]
"""(argument, dims map of its broadcast)."""


def emit_expression(
    builder: KernelBuilder,
    root: Expression,
    sizes: Sequence[int],
    leaves: Sequence[Lane],
    leaf_keys: Sequence[LeafKey],
    out: Lane,
    max_elements: int = MAX_TILE_ELEMENTS,
) -> None:
    """Instructions for `out = root`, over the whole nest of loops.

    leaves[i] belongs to the leaf with (argument, broadcast) = leaf_keys[i].
    """
    columns: dict[tuple[object, ...], Lane] = {}
    for piece, lanes in nest_tiles(sizes, [*leaves, out], max_elements):
        table = dict(zip(leaf_keys, lanes[:-1], strict=True))
        TileEmitter(builder, piece, table, out.num_partitions, columns).emit_all(root, lanes[-1])


@dataclass(frozen=True)
class _Affine:
    """x * scale + bias; scale and bias are immediates or per-partition lanes."""

    x: Expression
    scale: Value
    bias: Value

    @property
    def single(self) -> tuple[str, Value] | None:
        """(operator, scalar) where one operator does it."""
        if self.scale != 1.0:
            return ("multiply", self.scale) if self.bias == 0.0 else None
        return ("bypass", 0.0) if self.bias == 0.0 else ("add", self.bias)


@dataclass(frozen=True)
class _Inner:
    """x operator scalar (or the reverse): an operation that can be the first of two."""

    x: Expression
    operator: str
    scalar: Value
    reverse: bool


MOST_LEVELS = 48
"""Of an expression that is covered in one go, a few calls deep each."""


class TileEmitter:
    """Covers expressions on one tile: `sizes` free loops, leaves given as lanes.

    columns: per-partition values made so far, shared by the tiles of one nest. Without sizes, the
    tile itself is one column of per-partition values."""

    def __init__(
        self,
        builder: KernelBuilder,
        sizes: tuple[int, ...],
        leaves: dict[LeafKey, Lane],
        partitions: int,
        columns: dict[tuple[object, ...], Lane],
    ) -> None:
        self.builder = builder
        self.sizes = sizes
        self.leaves = leaves
        self.partitions = partitions
        self.columns = columns
        self._made: dict[int, Lane] = {}
        self._varying: dict[int, bool] = {}

    # ---- operands ---------------------------------------------------------------------------

    def varies(self, e: Expression) -> bool:
        """Whether the value differs between elements of one partition."""
        if not self.sizes:
            return not e.is_constant
        key = id(e)
        if key not in self._varying:
            if e.op == "leaf":
                lane = self.leaves[e.argument, e.broadcast]
                self._varying[key] = not lane.is_per_partition
            else:
                self._varying[key] = any(self.varies(arg) for arg in e.args)
        return self._varying[key]

    def lane(self, e: Expression) -> Lane:
        """A tile of dtype e.dtype holding `e`, computed into a temporary if need be."""
        if e.is_constant:
            return self._filled(e.value, e.dtype)
        if e.op == "leaf":
            return self.leaves[e.argument, e.broadcast]
        if e.op == "bits":
            return replace(self.lane(e.args[0]), dtype=e.dtype)
        if id(e) not in self._made:
            self._made[id(e)] = self._temporary(e)
        return self._made[id(e)]

    def read(self, e: Expression) -> Lane:
        """A tile that reads as `e` where operands go through float32: a conversion to float32 costs
        nothing there."""
        return self.lane(self._unconverted(e))

    def _unconverted(self, e: Expression) -> Expression:
        while e.op == "cast" and e.dtype == F32 and id(e) not in self._made:
            e = e.args[0]
        return e

    def _filled(self, value: float, dtype: DType) -> Lane:
        filled = self.builder.fill(value, dtype)
        return Lane(filled.buffer, dtype, 0, self.partitions, 0, (0,) * len(self.sizes))

    def _temporary(self, e: Expression) -> Lane:
        if not self.varies(e):
            return self._column_temporary(e)
        lane = self._new_lane(e.dtype)
        self.emit(e, lane)
        return lane

    def _new_lane(self, dtype: DType) -> Lane:
        tile = self.builder.sbuf((self.partitions, *self.sizes), dtype, "temporary")
        strides = tuple(stride for stride, _ in tile.dims) if self.sizes else ()
        return Lane(tile.buffer, dtype, 0, self.partitions, 0, strides)

    def _column_temporary(self, e: Expression) -> Lane:
        """Per-partition values: made once for all tiles that see the same leaves."""
        key = (id(e), *self._leaf_places(e))
        if key not in self.columns:
            narrow = {k: replace(lane, strides=()) for k, lane in self.leaves.items()}
            inner = TileEmitter(self.builder, (), narrow, self.partitions, self.columns)
            tile = self.builder.sbuf((self.partitions, 1), e.dtype, "column")
            self.columns[key] = Lane(tile.buffer, e.dtype, 0, self.partitions, 0, ())
            inner.emit_all(e, self.columns[key])
        return replace(self.columns[key], strides=(0,) * len(self.sizes))

    def _leaf_places(self, e: Expression) -> list[object]:
        """Where the leaves below `e` lie."""
        places: list[object] = []
        stack, seen = [e], {id(e)}
        while stack:
            node = stack.pop()
            if node.op == "leaf":
                lane = self.leaves[node.argument, node.broadcast]
                places += [id(lane.buffer), lane.start_partition, lane.byte_offset]
            fresh = [arg for arg in node.args if id(arg) not in seen]
            seen.update(map(id, fresh))
            stack += fresh
        return places

    def view(self, lane: Lane) -> View:
        return lane.view(self.sizes)

    def scalar(self, e: Expression, mode: Mode = Mode.FLOAT) -> Value | None:
        """`e` as an immediate or a per-partition lane, else None."""
        if e.is_constant and is_immediate(e.value, mode):
            return e.value
        if self.varies(e):
            return None
        return self.lane(e) if mode is not Mode.FLOAT else self.read(e)

    def column(self, value: Value, mode: Mode = Mode.FLOAT) -> View | None:
        """A [P, 1] view of a per-partition lane, float32 in that mode; None for an immediate."""
        if not isinstance(value, Lane):
            return None
        column = replace(value, strides=()).view(())
        if column.dtype == F32 or mode is not Mode.FLOAT:
            return column
        wide = self.builder.sbuf((self.partitions, 1), F32, "column")
        self.builder.copy(wide, column)
        return wide

    def in_sbuf(self, lane: Lane) -> Lane:
        """The lane, or a copy where GpSimdE can read it (machine.md#the-chip)."""
        return lane if lane.buffer.memory is Memory.SBUF else self._copied(lane)

    def _copied(self, lane: Lane) -> Lane:
        copy = self._new_lane(lane.dtype)
        self._emit_copy(lane, copy)
        return copy

    def _not_both_psum(self, a: Lane, b: Lane) -> tuple[Lane, Lane]:
        """Two-input instructions may not have both inputs in PSUM (machine.md#operands)."""
        if a.buffer.memory is Memory.PSUM and b.buffer.memory is Memory.PSUM:
            return a, self._copied(b)
        return a, b

    # ---- rules ------------------------------------------------------------------------------

    def emit_all(self, e: Expression, dst: Lane) -> None:
        """`emit`, for an expression of any number of levels: rules ask for their operands, which
        asks for theirs, so that what lies deep is made before."""
        for part in resting_places(e, MOST_LEVELS):
            if self.varies(part):
                self.lane(part)
        self.emit(e, dst)

    def emit(self, e: Expression, dst: Lane) -> None:
        """Instructions for dst = e, rounded to the dtype of dst."""
        if e.op in ("leaf", "constant", "bits") or id(e) in self._made:
            self._emit_copy(self.lane(e), dst)
        elif self.sizes and not self.varies(e):
            self._emit_copy(self.lane(e), dst)
        elif e.op in RULES:
            RULES[e.op](self, e, dst)
        elif e.op.startswith("table_"):
            self._emit_activation(e, dst)
        else:
            self._emit_operator(e, dst)

    def _emit_copy(self, src: Lane, dst: Lane) -> None:
        self.builder.copy(self.view(dst), self.view(src))

    def _through_temporary(self, e: Expression, dtype: DType, dst: Lane) -> None:
        """For instructions that write one dtype only: a tile of it, then a converting copy."""
        lane = self._new_lane(dtype)
        self.emit(e, lane)
        self._emit_copy(lane, dst)

    # ---- ScalarE ----------------------------------------------------------------------------

    def _emit_activation(self, e: Expression, dst: Lane) -> None:
        func = e.op.removeprefix("table_")
        affine = self._affine(e.args[0])
        forms = [Form(Engine.SCALAR, (self._activation(func, affine, dst),))]
        operator = operator_of(e)
        if operator is not None and affine.single is not None:
            forms.append(Form(Engine.VECTOR, (self._after_single(operator, affine, dst),)))
        self.builder.append(*forms)

    def _after_single(self, operator: str, affine: _Affine, dst: Lane) -> Step:
        """A unary operator of x, x * scale or x + bias."""
        assert affine.single is not None
        first, scalar = affine.single
        src, out = self.view(self.read(affine.x)), self.view(dst)
        if first == "bypass":
            return step("tensor_scalar", dst=out, src=src, op0=operator)
        return step(
            "tensor_scalar",
            dst=out,
            src=src,
            scalar0=self.column(scalar),
            op0=first,
            imm0=scalar if isinstance(scalar, float) else 0.0,
            op1=operator,
        )

    def _activation(self, func: str, affine: _Affine, dst: Lane) -> Step:
        scale, bias = affine.scale, affine.bias
        if isinstance(bias, float) and bias:
            bias = self._filled(bias, F32)
        return step(
            "activation",
            dst=self.view(dst),
            src=self.view(self.read(affine.x)),
            bias=self.column(bias),
            scale_tile=self.column(scale),
            func=func,
            scale=scale if isinstance(scale, float) else 1.0,
        )

    def _affine(self, e: Expression, top: Expression | None = None) -> _Affine:
        """e as x * scale + bias, taking as many single-use nodes as possible; `top` is being made
        now, so that it does not matter who else uses it."""
        e, bias = self._term(e, "add", 0.0, top)
        e, scale = self._term(e, "multiply", 1.0, top)
        return _Affine(e, scale, bias)

    def _term(
        self, e: Expression, op: str, neutral: float, being_made: Expression | None
    ) -> tuple[Expression, Value]:
        """(x, scalar) with e = x op scalar; (e, neutral) if it is not of that form."""
        if (e.uses <= 1 or e is being_made) and id(e) not in self._made and e.dtype.is_float:
            if op == "add" and e.op == "subtract" and e.args[1].is_constant:
                bias = constant(-e.args[1].value)
                return (e, neutral) if is_positive_zero(bias) else (e.args[0], bias.value)
            for x, other in (e.args, e.args[::-1]) if e.op == op else ():
                found = self.scalar(other)
                if op == "add" and is_positive_zero(other):  # -0 + 0 is 0: not what no bias gives
                    continue
                if found is not None and self.varies(x):
                    return x, found
        return e, neutral

    # ---- operators --------------------------------------------------------------------------

    def _emit_operator(self, e: Expression, dst: Lane) -> None:
        operator, mode = operator_of(e), mode_of(e)
        assert operator is not None, f"no rule for {e.op}"
        if mode is not Mode.FLOAT:
            stored = I32 if e.op == "compare" else e.dtype
            if dst.dtype != stored:
                self._through_temporary(e, stored, dst)
                return
        engine = engine_of(operator, mode)
        inner = self._operand_and_scalar(e, operator, mode)
        if inner is not None:
            self._emit_tensor_scalar(e, inner, engine, mode, dst)
        elif not self._emit_scalar_tensor_tensor(e, operator, engine, dst):
            self._emit_tensor_tensor(e, operator, engine, mode, dst)

    def _operand_and_scalar(self, e: Expression, operator: str, mode: Mode) -> _Inner | None:
        """e as a tile and a scalar; None when it is of two tiles."""
        if len(e.args) == 1:
            return _Inner(e.args[0], operator, 0.0, False)
        a, b = e.args
        for x, other, reverse in ((a, b, False), (b, a, True)):
            found = self.scalar(other, mode)
            if found is not None and self.varies(x):
                return _Inner(x, operator, found, reverse)
        return None

    def _inner(self, e: Expression, engine: Engine) -> _Inner | None:
        """`e` as the first operator of an instruction of two in float32, if nothing else
        uses it."""
        if e.uses > 1 or self.sizes and not self.varies(e):
            return None
        found = self._unconverted(e)
        operator = operator_of(found)
        if operator is None or found.uses > 1 or id(found) in self._made:
            return None
        if mode_of(found) is not Mode.FLOAT or not runs_on(operator, engine):
            return None
        if found is e and not (found.dtype.is_float or found.dtype is U8):
            return None
        return self._operand_and_scalar(found, operator, Mode.FLOAT)

    def _emit_tensor_scalar(
        self, e: Expression, outer: _Inner, engine: Engine, mode: Mode, dst: Lane
    ) -> None:
        inner = self._inner(outer.x, engine) if mode is Mode.FLOAT else None
        first, second = (outer, None) if inner is None else (inner, outer)
        src = self.read(first.x) if mode is Mode.FLOAT else self.lane(first.x)
        if engine is Engine.GPSIMD:
            src = self.in_sbuf(src)
        made = step(
            "tensor_scalar",
            dst=self.view(dst),
            src=self.view(src),
            **self._operator_fields(0, first, engine, mode),
            **self._operator_fields(1, second, engine, mode),
        )
        forms = [Form(engine, (made,))]
        if engine is Engine.VECTOR and src.dtype.is_float and e.op in ("add", "multiply"):
            affine = self._affine(e, top=e)
            if affine.x is first.x:
                forms.append(Form(Engine.SCALAR, (self._activation("copy", affine, dst),)))
        self.builder.append(*forms)

    def _operator_fields(
        self, number: int, part: _Inner | None, engine: Engine, mode: Mode
    ) -> dict[str, object]:
        if part is None:
            return {f"op{number}": "bypass"}
        scalar = part.scalar
        if isinstance(scalar, Lane) and engine is Engine.GPSIMD:
            scalar = self.in_sbuf(scalar)
        return {
            f"op{number}": part.operator,
            f"imm{number}": scalar if isinstance(scalar, float) else 0.0,
            f"scalar{number}": self.column(scalar, mode),
            f"reverse{number}": part.reverse,
        }

    def _emit_scalar_tensor_tensor(
        self, e: Expression, operator: str, engine: Engine, dst: Lane
    ) -> bool:
        """(x op scalar) operator y in one instruction; whether that was possible."""
        if engine is not Engine.VECTOR or mode_of(e) is not Mode.FLOAT:
            return False
        a, b = e.args
        for first, other, reverse in ((a, b, False), (b, a, True)):
            inner = self._inner(first, engine)
            if inner is not None:
                self._scalar_tensor_tensor(inner, operator, other, reverse, dst)
                return True
        return False

    def _scalar_tensor_tensor(
        self, inner: _Inner, operator: str, other: Expression, reverse: bool, dst: Lane
    ) -> None:
        src0, src1 = self._not_both_psum(self.read(inner.x), self.read(other))
        scalar = inner.scalar
        self.builder.emit(
            "scalar_tensor_tensor",
            Engine.VECTOR,
            dst=self.view(dst),
            src0=self.view(src0),
            scalar=self.column(scalar),
            src1=self.view(src1),
            op0=inner.operator,
            imm=scalar if isinstance(scalar, float) else 0.0,
            reverse0=inner.reverse,
            op1=operator,
            reverse1=reverse,
        )

    def _emit_tensor_tensor(
        self, e: Expression, operator: str, engine: Engine, mode: Mode, dst: Lane
    ) -> None:
        get = self.read if mode is Mode.FLOAT else self.lane
        src0, src1 = self._not_both_psum(get(e.args[0]), get(e.args[1]))
        if engine is Engine.GPSIMD:
            src0, src1 = self.in_sbuf(src0), self.in_sbuf(src1)
        self.builder.emit(
            "tensor_tensor",
            engine,
            dst=self.view(dst),
            src0=self.view(src0),
            src1=self.view(src1),
            op=operator,
        )

    # ---- other instructions -----------------------------------------------------------------

    def emit_reciprocal(self, e: Expression, dst: Lane) -> None:
        src = self.read(e.args[0])
        self.builder.emit("reciprocal", Engine.VECTOR, dst=self.view(dst), src=self.view(src))

    def emit_select(self, e: Expression, dst: Lane) -> None:
        """With a scalar for on_false one instruction; else dst = on_false, then on_true where the
        predicate holds. Both write the dtype of the operands."""
        predicate, on_true, on_false = e.args
        scalar = self.scalar(on_false)
        if scalar is not None and self.varies(on_true) and not e.is_word:
            self._emit_select_reduce(predicate, on_true, scalar, dst)
        elif dst.dtype != e.dtype:
            self._through_temporary(e, e.dtype, dst)
        else:
            mask, chosen = self._not_both_psum(self.lane(predicate), self.lane(on_true))
            self.emit(on_false, dst)
            self.builder.emit(
                "tensor_copy_predicated",
                Engine.VECTOR,
                dst=self.view(dst),
                src=self.view(chosen),
                predicate=self.view(mask),
            )

    def _emit_select_reduce(
        self, predicate: Expression, on_true: Expression, on_false: Value, dst: Lane
    ) -> None:
        self.builder.emit(
            "select_reduce",
            Engine.VECTOR,
            dst=self.view(dst),
            predicate=self.view(self.lane(predicate)),
            on_true=self.view(self.lane(on_true)),
            on_false=self.column(on_false),
            imm_false=on_false if isinstance(on_false, float) else 0.0,
        )

    def emit_cast(self, e: Expression, dst: Lane) -> None:
        """A conversion rounds once: straight into dst, or by way of a tile of its own dtype."""
        source = e.args[0]
        if dst.dtype != e.dtype:
            self._emit_copy(self._temporary(e), dst)
        elif source.uses <= 1 and source.op != "cast" and self.varies(source):
            self.emit(source, dst)
        else:
            self._emit_copy(self.lane(source), dst)


RULES: dict[str, Callable[[TileEmitter, Expression, Lane], None]] = {
    "cast": TileEmitter.emit_cast,
    "reciprocal": TileEmitter.emit_reciprocal,
    "select": TileEmitter.emit_select,
}
