"""Where the values of the graph are while it is being tiled: every storage made so far, and how to
get one with other rows or another dtype.

`Values.get(value, rows, dtype)` is the only way a tiling rule obtains an operand. It returns a
storage that is there, or relabels one, or makes one: by a cast, by transposes on the tensor engine,
by a load from device memory, or, when nothing better fits (integers, mixed rows), by way of device
memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import TensorKind
from axonc.dialects.neuron.ops import kind_of
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import View
from axonc.passes.graph.infinities import Infinities
from axonc.passes.graph.shapes import PartitionDims, Shape, normalised, shape_of
from axonc.passes.layout.layout_dims import MAX_REPLICATED_ELEMENTS, default_rows
from axonc.passes.layout.storage import Storage
from axonc.passes.layout.view_ops import VIEW_OPS, contiguous_strides, operand_dims, result_dims
from axonc.passes.tile.elementwise.elementwise_expression import machine_dtype
from axonc.passes.tile.move import (
    can_transpose,
    cast,
    compact,
    load,
    new_storage,
    store,
    transpose,
    transpose_exactly,
    wants_transpose,
)
from axonc.passes.tile.update_in_place import UpdatePlan
from axonc.passes.tile.weight_vector import is_weight_vector, load_weight_vector


def hbm_storage(view: View, shape: Shape) -> Storage:
    """A row-major device tensor (a builder's HBM view) as a storage."""
    return Storage(view.buffer, view.dtype, shape, (), contiguous_strides(shape), 0)


def is_whole(storage: Storage) -> bool:
    """Whether the storage is a row-major device tensor from its begin."""
    row_major = contiguous_strides(storage.shape)
    dims = zip(storage.shape, storage.strides, row_major, strict=True)
    same = all(a == b for size, a, b in dims if size > 1)
    tensor = storage.buffer.tensor
    if not storage.in_hbm or tensor is None or storage.offset or not same:
        return False
    return math.prod(storage.shape) == math.prod(tensor.shape)


def is_narrowing(value: ir.Value, source: ir.Value) -> bool:
    """Whether a conversion from `source` to `value` may round (or keeps the type)."""
    return machine_dtype(value.type).size_bytes <= machine_dtype(source.type).size_bytes


@dataclass
class Values:
    """Every form in which the values of a program exist while it is tiled."""

    builder: KernelBuilder
    infinities: Infinities
    """Which values may not be transposed on the tensor engine."""
    storages: dict[ir.Value, list[Storage]] = field(default_factory=dict)
    """Everything made for a value, in its own dtype."""
    copies: dict[tuple[ir.Value, PartitionDims, DType], Storage] = field(default_factory=dict)
    """The same numbers rounded to, or widened to, another dtype; never the source of anything
    else."""
    derived: dict[ir.Value, ir.Operation] = field(default_factory=dict)
    """Relabellings (reshape, slice, ...) by the op that makes them."""
    converted: dict[ir.Value, ir.Value] = field(default_factory=dict)
    """Conversions by their operand."""
    splats: dict[ir.Value, float] = field(default_factory=dict)
    """Constants of one number. Nothing is emitted for these three kinds before a use needs it."""
    concatenations: dict[ir.Value, Storage] = field(default_factory=dict)
    """The memory of concatenations in SBUF: some of their operands are made in it."""
    returned: dict[ir.Value, Storage] = field(default_factory=dict)
    """The memory of concatenations that are program results: their operands are stored into it,
    each as it is made."""
    updates: UpdatePlan = field(default_factory=UpdatePlan)
    """Which slice updates write into their operand's memory."""
    outputs: dict[ir.Value, Storage] = field(default_factory=dict)
    """Memory of program results in which others begin."""
    sorted: dict[ir.Value, Storage] = field(default_factory=dict)
    """Results of sorts that are made along with another one's (passes/tile/ops/sort.py)."""
    indices: dict[tuple[object, ...], View] = field(default_factory=dict)
    """Of indirect transfers, by what they are made from (passes/tile/ops/dynamic.py)."""

    def add(self, value: ir.Value, storage: Storage) -> None:
        self.storages.setdefault(value, []).append(storage)

    def get(self, value: ir.Value, rows: PartitionDims, dtype: DType | None = None) -> Storage:
        """An SBUF storage of `value` with `rows` on partitions. Its element type is `dtype` if
        given; else the value's own, or a narrower one that holds the same numbers."""
        rows = normalised(rows, shape_of(value))
        if value in self.converted:
            return self._get_converted(value, rows, dtype)
        own = machine_dtype(value.type)
        if dtype is not None and dtype != own:
            return self._copy(value, rows, dtype)
        for storage in self.known(value):
            if not storage.in_hbm and storage.partition_dims == rows and storage.dtype == own:
                return storage
        made = self._make(value, rows, own)
        self.add(value, made)
        return made

    def _copy(self, value: ir.Value, rows: PartitionDims, dtype: DType) -> Storage:
        """Widened from the value's own dtype; or narrowed on the way, which saves a pass."""
        key = (value, rows, dtype)
        if key not in self.copies:
            if dtype.size_bytes < machine_dtype(value.type).size_bytes:
                self.copies[key] = self._make(value, rows, dtype)
            else:
                self.copies[key] = self._cast(self.get(value, rows), dtype)
        return self.copies[key]

    def _get_converted(self, value: ir.Value, rows: PartitionDims, dtype: DType | None) -> Storage:
        """Conversions round once, to the value's own type; wider requests cast from there."""
        source, own = self.converted[value], machine_dtype(value.type)
        if not is_narrowing(value, source):
            return self.get(source, rows, dtype)
        narrow = self.get(source, rows, own)
        if dtype is None or dtype == own:
            return narrow
        return self._cast(narrow, dtype)

    def known(self, value: ir.Value) -> list[Storage]:
        """Every storage of `value`, with those of what it relabels."""
        found = list(self.storages.get(value, ()))
        if value in self.derived:
            op = self.derived[value]
            forward = VIEW_OPS[kind_of(op)].forward
            seen = [forward(op, storage) for storage in self.known(op.operands[0])]
            found += [_normal(s) for s in seen if s is not None]
        elif value in self.converted and is_narrowing(value, self.converted[value]):
            found += [s for s in self.known(self.converted[value]) if s.in_hbm]
        return found

    def source(self, value: ir.Value) -> Storage | None:
        """The device-memory storage of an argument, or of a relabelling or cast of one."""
        return next((s for s in self.known(value) if s.in_hbm), None)

    def stored_source(self, value: ir.Value) -> Storage | None:
        """As `source`, also of what is stored narrower than the value is read."""
        found = self.source(value)
        if found is None and value in self.converted:
            found = self.source(self.converted[value])
        return found

    def _make(self, value: ir.Value, rows: PartitionDims, dtype: DType) -> Storage:
        if value in self.splats:
            return self._splat(value, rows, dtype)
        have = self.known(value)
        on_chip = [s for s in have if not s.in_hbm]
        same_rows = next((s for s in on_chip if s.partition_dims == rows), None)
        if same_rows is not None:
            return self._cast(same_rows, dtype)
        for storage in on_chip:
            if can_transpose(storage, rows):
                return self._transposed(value, storage, rows, dtype)
        in_hbm = next((s for s in have if s.in_hbm), None)
        if in_hbm is not None:
            return self._load(value, in_hbm, rows, dtype)
        if self._relabels(value, rows):
            return self._from_operand(value, rows, dtype)
        if on_chip:
            through = self.to_device_memory(on_chip[0], "relayout")
            self.add(value, through)
            return self._load(value, through, rows, dtype)
        return self._from_device_memory(value, rows, dtype)

    def _splat(self, value: ir.Value, rows: PartitionDims, dtype: DType) -> Storage:
        result = new_storage(self.builder, shape_of(value), dtype, rows, "splat")
        buffer = result.buffer
        size = buffer.partition_bytes // dtype.size_bytes
        whole = View(buffer, dtype, 0, buffer.partitions, 0, ((1, size),))
        self.builder.memset(whole, self.splats[value])
        return result

    def _relabels(self, value: ir.Value, rows: PartitionDims) -> bool:
        """Whether having the operand with some rows gives `value` with `rows`, at a sensible
        size."""
        if value not in self.derived:
            return False
        op = self.derived[value]
        dims = operand_dims(op, rows)
        if dims is None:
            return False
        return bool(dims) or math.prod(shape_of(op.operands[0])) <= MAX_REPLICATED_ELEMENTS

    def _from_operand(self, value: ir.Value, rows: PartitionDims, dtype: DType) -> Storage:
        op = self.derived[value]
        dims = operand_dims(op, rows)
        assert dims is not None
        below = self.get(op.operands[0], dims, dtype)
        made = VIEW_OPS[kind_of(op)].forward(op, below)
        if made is None and result_dims(op, below.partition_dims) == rows:
            # Only the strides are in the way (of repeated or reordered elements).
            made = VIEW_OPS[kind_of(op)].forward(op, compact(self.builder, below, ()))
        if made is None or _normal(made).partition_dims != rows:
            return self._from_device_memory(value, rows, dtype)
        return _normal(made)

    def _from_device_memory(self, value: ir.Value, rows: PartitionDims, dtype: DType) -> Storage:
        """A relabelling that no on-chip storage allows, until the operand has been made: then by
        transposes, else through device memory, which allows all."""
        op = self.derived[value]
        operand = op.operands[0]
        if self.source(value) is None:  # not there, or there with strides that a reshape breaks
            on_chip = [s for s in self.known(operand) if not s.in_hbm]
            have = on_chip or [self.get(operand, default_of(op))]
            view = VIEW_OPS[kind_of(op)].forward(op, have[0])
            if view is not None and can_transpose(_normal(view), rows):
                return self._transposed(value, _normal(view), rows, dtype)
            self.add(operand, self.to_device_memory(have[0], "relayout"))
        source = self.source(value)
        assert source is not None, "a row-major copy allows every relabelling"
        return self._load(value, source, rows, dtype)

    def _cast(self, source: Storage, dtype: DType) -> Storage:
        result = new_storage(self.builder, source.shape, dtype, source.partition_dims, "cast")
        cast(self.builder, result, source)
        return result

    def _load(self, value: ir.Value, source: Storage, rows: PartitionDims, dtype: DType) -> Storage:
        """From device memory; when the rows are its fastest dim, by rows it likes and a
        transpose."""
        if is_weight_vector(source, rows):
            return load_weight_vector(self.builder, source, rows, dtype)
        other = wants_transpose(source, rows)
        if other is not None and source.dtype.is_float:
            first = self.get(value, other, dtype)
            if can_transpose(first, rows):
                return self._transposed(value, first, rows, dtype)
        result = new_storage(self.builder, source.shape, dtype, rows, "load")
        load(self.builder, result, source)
        return result

    def _transposed(
        self, value: ir.Value, source: Storage, rows: PartitionDims, dtype: DType
    ) -> Storage:
        """By the tensor engine, unless infinities or NaN would be lost there."""
        last = source.partition_dims
        result = new_storage(self.builder, source.shape, dtype, rows, "transpose", last)
        is_exact = self.builder.exact_transposes or bool(self.infinities[value])
        move = transpose_exactly if is_exact else transpose
        move(self.builder, result, source)
        return result

    def fresh_device_memory(self, value: ir.Value, name: str) -> Storage:
        """Memory for `value` that holds nothing yet: that of a program result where it becomes one,
        else scratch."""
        if value in self.outputs:
            return self.outputs[value]
        view = self.builder.hbm(
            name, shape_of(value), machine_dtype(value.type), TensorKind.SCRATCH
        )
        return hbm_storage(view, shape_of(value))

    def in_device_memory(self, value: ir.Value, name: str) -> Storage:
        """A device-memory storage of `value` (of what it converts, if that only narrows), made if
        there is none."""
        source = self.source(value)
        if source is not None:
            return source
        if value in self.converted and is_narrowing(value, self.converted[value]):
            return self.in_device_memory(self.converted[value], name)
        have = [s for s in self.known(value) if not s.in_hbm]
        on_chip = have[0] if have else self.get(value, default_rows(shape_of(value)))
        made = self.to_device_memory(on_chip, name)
        self.add(value, made)
        return made

    def to_device_memory(self, source: Storage, name: str) -> Storage:
        """A row-major copy in device memory."""
        view = self.builder.hbm(name, source.shape, source.dtype, TensorKind.SCRATCH)
        result = hbm_storage(view, source.shape)
        store(self.builder, result, source)
        return result


def default_of(op: ir.Operation) -> PartitionDims:
    """Rows to make an operand with when no layout was chosen for it yet."""
    return default_rows(shape_of(op.operands[0]))


def _normal(storage: Storage) -> Storage:
    return replace(storage, partition_dims=normalised(storage.partition_dims, storage.shape))
