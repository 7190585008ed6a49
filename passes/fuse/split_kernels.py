"""Split a long kernel over few features into parts that fill the partitions, and add their results.

Why: with one feature and 512 kernel elements each matmul would contract over one row. Kernel
elements go on partitions too (docs/design/0009), but no more than there are partitions: four
convolutions with 128 elements each do.

Precondition: `neuron` ops, before fusion: the additions become epilogues. Postcondition: the kernel
of a convolution of at most `features` input features has along its last dim no more elements than
fill the partitions.

Before:
    %y = "neuron.convolution"(%x, %k) ({})
         {groups = 1 : i64, high = [0], lhs_dilation = [1], lhs_dims = [0, 1, 2], low = [0],
          result_dims = [0, 1, 2], reversal = [0], rhs_dilation = [1], rhs_dims = [0, 1, 2],
          strides = [4]}
         : (tensor<8x1x1532xf32>, tensor<128x1x256xf32>) -> tensor<8x128x320xf32>
After:
    %0 = "neuron.slice"(%k) {limit = [128, 1, 128], start = [0, 0, 0], strides = [1, 1, 1]}
         : (tensor<128x1x256xf32>) -> tensor<128x1x128xf32>
    %1 = "neuron.convolution"(%x, %0) ({})
         {groups = 1 : i64, high = [-128], lhs_dilation = [1], lhs_dims = [0, 1, 2], low = [0],
          result_dims = [0, 1, 2], reversal = [0], rhs_dilation = [1], rhs_dims = [0, 1, 2],
          strides = [4]}
         : (tensor<8x1x1532xf32>, tensor<128x1x128xf32>) -> tensor<8x128x320xf32>
    %2 = "neuron.slice"(%k) {limit = [128, 1, 256], start = [0, 0, 128], strides = [1, 1, 1]}
         : (tensor<128x1x256xf32>) -> tensor<128x1x128xf32>
    %3 = "neuron.convolution"(%x, %2) ({})
         {groups = 1 : i64, high = [0], lhs_dilation = [1], lhs_dims = [0, 1, 2], low = [-128],
          result_dims = [0, 1, 2], reversal = [0], rhs_dilation = [1], rhs_dims = [0, 1, 2],
          strides = [4]}
         : (tensor<8x1x1532xf32>, tensor<128x1x128xf32>) -> tensor<8x128x320xf32>
    %4 = "neuron.add"(%1, %3)
         : (tensor<8x128x320xf32>, tensor<8x128x320xf32>) -> tensor<8x128x320xf32>

Each product is in one of the parts: kernel element j of output o reads element o * stride + j *
dilation - low of the padded image, and so does element j - j0 of the part from j0 on, whose image
begins j0 * dilation later (low and high are less by what is before and behind the part). The parts
are added in float32 and rounded once.

Leaves alone: reversed kernels, images that are spread out, groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.backends.targets import TARGETS
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import ConvolutionOp
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_builder import convolution
from axonc.dialects.neuron.window_rules import ConvolutionDims, convolution_dims
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import body_of, in_place_of, ops_of
from axonc.passes.graph.rewrite import replace as replace_op
from axonc.passes.graph.shapes import shape_of


@dataclass(frozen=True)
class SplitKernelsPass(Pass, name="split-kernels", anchor="func.func"):
    """Split a long kernel over few features into parts that fill the partitions."""

    features: int = 16
    """Most input features: more fill a part of the partitions by themselves."""
    target: str = "inf2"

    def apply(self, op: ir.Operation) -> bool:
        changed = False
        for each in ops_of(body_of(op), ConvolutionOp):
            length = self._part_length(each)
            if length:
                _split(each, length)
                changed = True
        return changed

    def _part_length(self, op: ir.OpView) -> int:
        """Kernel elements of a part; 0 to leave the convolution alone."""
        dims = convolution_dims(op)
        features = shape_of(op.operands[0])[dims.lhs[1]]
        if not dims.windows or dims.groups > 1 or not 0 < features <= self.features:
            return 0
        window = dims.windows[-1]
        length = TARGETS[self.target].partitions // features
        is_plain = not window.is_reversed and all(w.base_dilation == 1 for w in dims.windows)
        return length if is_plain and window.size > length else 0


def _split(op: ir.OpView, length: int) -> None:
    image, kernel = op.operands
    dims = convolution_dims(op)
    element = op.results[0].type.element_type
    size, f32 = dims.windows[-1].size, ir.F32Type.get()
    with in_place_of(op):
        total: ir.Value | None = None
        for start in range(0, size, length):
            stop = min(start + length, size)
            part = _with_window(dims, _part(dims.windows[-1], start, stop))
            made = convolution(image, _cut(kernel, dims.rhs[-1], start, stop), part, f32)
            total = made if total is None else build.create("add", (total, made), made.type)
        assert total is not None, "a kernel longer than a part has elements"
        replace_op(op, build.convert(total, element))


def _cut(kernel: ir.Value, dim: int, start: int, stop: int) -> ir.Value:
    shape = shape_of(kernel)
    low = [start if d == dim else 0 for d in range(len(shape))]
    high = [stop if d == dim else n for d, n in enumerate(shape)]
    return build.slice_(kernel, low, high)


def _part(window: WindowDim, start: int, stop: int) -> WindowDim:
    """The windows of kernel elements [start, stop), as many as there were."""
    before, behind = start * window.dilation, (window.size - stop) * window.dilation
    return replace(window, size=stop - start, low=window.low - before, high=window.high - behind)


def _with_window(dims: ConvolutionDims, last: WindowDim) -> ConvolutionDims:
    return replace(dims, windows=(*dims.windows[:-1], last))
