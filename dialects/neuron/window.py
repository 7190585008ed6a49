"""Windows that slide over a dim: where they start, what they reach. No MLIR in here.

Shared by `neuron.convolution` and `neuron.reduce_window`, by verifier, evaluator and tiling. The
input is spread out by `base_dilation` (zeros between the elements), then padded by `low` and `high`
(negative: cut); window position o starts at o * stride of that and reads every `dilation`-th
element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WindowDim:
    """The window along one dim."""

    size: int
    """Elements it reads. reversed: the last element of the kernel meets the first of the window."""
    stride: int = 1
    low: int = 0
    high: int = 0
    base_dilation: int = 1
    dilation: int = 1
    is_reversed: bool = False

    @property
    def extent(self) -> int:
        """Elements from the first to the last one read."""
        return (self.size - 1) * self.dilation + 1 if self.size else 0

    def padded_length(self, length: int) -> int:
        """Length of the input, spread out and padded (never below 0)."""
        spread = (length - 1) * self.base_dilation + 1 if length else 0
        return max(0, spread + self.low + self.high)

    def output_length(self, length: int) -> int:
        """How many windows an input of this length has."""
        room = self.padded_length(length) - self.extent
        return room // self.stride + 1 if room >= 0 and self.padded_length(length) else 0

    def kernel_index(self, tap: int) -> int:
        """The kernel element that meets element `tap` of the window."""
        return self.size - 1 - tap if self.is_reversed else tap

    @property
    def phases(self) -> int:
        """Outputs that lie this far apart read the same taps; between them lie zeros."""
        return self.base_dilation // math.gcd(self.stride, self.base_dilation)

    @property
    def input_step(self) -> int:
        """Input elements between the windows of neighbouring outputs of a phase."""
        return self.phases * self.stride // self.base_dilation

    def reach(self, tap: int, phase: int, length: int, outputs: int) -> Reach | None:
        """What element `tap` of the windows at outputs phase, phase + phases, ... reads; `outputs`:
        how many there are of this phase. None if it reads padding only."""
        offset = phase * self.stride + tap * self.dilation - self.low
        if offset % self.base_dilation:
            return None
        start = offset // self.base_dilation
        first = max(0, -(start // self.input_step))
        stop = min(outputs, (length - 1 - start) // self.input_step + 1)
        if first >= stop:
            return None
        return Reach(first, stop, start + first * self.input_step)


@dataclass(frozen=True)
class Reach:
    """Outputs [first, stop) of a phase read the input from `start` on."""

    first: int
    stop: int
    start: int
