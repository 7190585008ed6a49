"""The `ntile` dialect's type and attributes: buffers, views of them, packings.

Memory, partitions, bytes per partition; element type, place, sizes, strides:

    !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
    #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
"""

# No `from __future__ import annotations` here: ext reads the annotation objects.

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import ext

from axonc.backends.isa import InstructionSpec

PREFIX = "ntile."
BUFFER, BUNDLE, CHOOSE = "buffer", "bundle", "choose"
RENEWED = "renewed"
TARGET_ATTRIBUTE, NOTES_ATTRIBUTE = "ntile.target", "ntile.notes"
CORES_ATTRIBUTE, GROUPS_ATTRIBUTE = "ntile.cores", "ntile.groups"
REPEATS_ATTRIBUTE = "ntile.repeats"
"""Attribute of the module: [first operation, past the last one, count, stride in bytes] of every
repeat."""
ENGINE, ISSUE, SEGMENTS = "engine", "issue", "operandSegmentSizes"
DEFAULT_TARGET = "inf2"


class Ntile(ext.Dialect, name="ntile"):
    """Tile operations on buffers of SBUF, PSUM and device memory."""


class BufferType(ext.Type, dialect=Ntile, name="memory"):
    """A block of one memory: partitions x bytes per partition; "hbm" has 0 partitions and all its
    bytes in the last parameter."""

    memory: ir.StringAttr
    partitions: ir.IntegerAttr
    partition_bytes: ir.IntegerAttr


class ViewAttr(ext.Attribute, dialect=Ntile, name="view"):
    """A `View` without its buffer, which is an operand of the op."""

    dtype: ir.StringAttr
    place: Any  # DenseI64ArrayAttr; those have no name to constrain by
    """(first partition, partitions, byte offset within each partition of the buffer); for device
    memory the first two are 0."""
    sizes: Any
    """Outermost first, in elements."""
    strides: Any
    """Outermost first, in elements."""


class PackingAttr(ext.Attribute, dialect=Ntile, name="packing"):
    """A `Packing`."""

    row_sizes: Any  # DenseI64ArrayAttr, as the following
    row_strides: Any
    column_sizes: Any
    column_strides: Any
    place: Any
    """(offset, partition tile, column block) in elements."""


def has_segments(spec: InstructionSpec) -> bool:
    """Whether ops of this entry say which operands are there in `operandSegmentSizes`: MLIR can
    tell by itself when only one is optional."""
    return sum(operand.optional for operand in spec.operands) > 1
