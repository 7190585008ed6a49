"""Operations that stand in the backward part of a program, one by one, against PyTorch."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

aten = torch.ops.aten


def values(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_equal(op: Any, tensors: tuple[Any, ...], *options: Any, last: Any = None) -> None:
    """op(*tensors, *options) or op(*tensors, *options, last), as PyTorch computes it."""

    class Op(torch.nn.Module):
        def forward(self, *given: Any) -> Any:
            if last is not None:
                *given, place = given
                return op(*given, *options, place)
            found = op(*given, *options)
            return found if isinstance(found, torch.Tensor) else [f for f in found if f is not None]

    arguments = tensors if last is None else (*tensors, last)
    executable = axonc.compile(torch.export.export(Op(), arguments))
    names = [host.name for host in executable.inputs]
    found = executable.run(dict(zip(names, arguments, strict=True)), checked=True)
    wanted = Op()(*arguments)
    for f, w in zip(found, [wanted] if isinstance(wanted, torch.Tensor) else wanted, strict=True):
        np.testing.assert_allclose(f, w.numpy(), rtol=1e-4, atol=1e-4)


CONVOLUTIONS = {  # x, weight, stride, padding, dilation, transposed, output padding, groups
    "plain": ((2, 3, 7, 9), (4, 3, 3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    "strides that leave rows over": (
        (2, 4, 8, 7), (6, 4, 3, 2), [2, 3], [1, 0], [1, 1], False, [0, 0], 1,
    ),
    "groups": ((1, 4, 6, 6), (6, 2, 3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 2),
    "a group for each channel": (
        (2, 4, 6, 6), (4, 1, 3, 3), [2, 2], [1, 1], [1, 1], False, [0, 0], 4,
    ),
    "dilated": ((1, 2, 9, 9), (3, 2, 3, 3), [1, 1], [2, 2], [2, 2], False, [0, 0], 1),
    "one axis": ((2, 3, 11), (4, 3, 4), [2], [1], [1], False, [0], 1),
    "three axes": ((1, 2, 4, 5, 3), (3, 2, 2, 2, 2), [1] * 3, [0] * 3, [1] * 3, False, [0] * 3, 1),
    "transposed": ((2, 4, 4, 5), (4, 3, 3, 3), [2, 2], [1, 1], [1, 1], True, [1, 0], 1),
    "transposed, in groups": (
        (1, 4, 4, 4), (4, 3, 2, 2), [2, 2], [0, 0], [1, 1], True, [0, 0], 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_of_a_convolution(name: str) -> None:
    x, weight, *options = CONVOLUTIONS[name]
    operands = values(*x), values(*weight)
    result = aten.convolution(*operands, None, *options)
    tensors = (values(*result.shape), *operands)
    bias_sizes = [result.shape[1]]
    assert_equal(aten.convolution_backward, tensors, bias_sizes, *options, [True, True, True])


@pytest.mark.parametrize("mask", [(True, False, False), (False, True, False), (False, True, True)])
def test_only_the_wanted_gradients_of_a_convolution(mask: tuple[bool, ...]) -> None:
    tensors = values(2, 4, 6, 6), values(2, 3, 6, 6), values(4, 3, 3, 3)
    options = [1, 1], [1, 1], [1, 1], False, [0, 0], 1
    assert_equal(aten.convolution_backward, tensors, [4], *options, list(mask))


WINDOWS = {  # size of x, kernel, stride, padding, dilation, ceil mode
    "side by side": ((2, 3, 8, 6), [2, 2], [2, 2], [0, 0], [1, 1], False),
    "overlapping": ((2, 3, 8, 8), [3, 3], [2, 2], [1, 1], [1, 1], False),
    "rows left over": ((1, 2, 8, 9), [3, 2], [3, 4], [0, 1], [1, 1], False),
    "a window beyond the end": ((1, 2, 8, 7), [3, 3], [2, 2], [1, 0], [1, 1], True),
    "dilated": ((1, 2, 9, 8), [2, 3], [1, 2], [1, 1], [2, 2], False),
    "one window": ((2, 2, 4, 4), [4, 4], [4, 4], [0, 0], [1, 1], False),
    "without a batch": ((3, 6, 6), [3, 3], [2, 2], [1, 1], [1, 1], False),
    "three axes": ((1, 2, 4, 5, 6), [2, 3, 2], [2, 1, 2], [0, 1, 1], [1, 1, 1], False),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_gradient_of_a_max_pool(name: str) -> None:
    size, kernel, *options = WINDOWS[name]
    rank = len(kernel)
    x = values(*size).round()  # with several that are largest
    x.view(-1)[5] = torch.nan
    _, place = getattr(aten, f"max_pool{rank}d_with_indices")(x, kernel, *options)
    backward = getattr(aten, f"max_pool{rank}d_with_indices_backward")
    assert_equal(backward, (values(*place.shape), x), kernel, *options, last=place)


@pytest.mark.parametrize("counts_padding, divisor", [(True, None), (False, None), (True, 3)])
@pytest.mark.parametrize("name", [n for n in WINDOWS if n != "dilated"])
def test_the_gradient_of_an_average_pool(
    name: str, counts_padding: bool, divisor: int | None
) -> None:
    size, kernel, stride, padding, _, ceil = WINDOWS[name]
    x, rank = values(*size), len(kernel)
    options = kernel, stride, padding, ceil, counts_padding, divisor
    result = getattr(aten, f"avg_pool{rank}d")(x, *options)
    backward = getattr(aten, f"avg_pool{rank}d_backward")
    assert_equal(backward, (values(*result.shape), x), *options)


@pytest.mark.parametrize(
    "sizes, outs", [((6, 8), (3, 2)), ((7, 5), (3, 4)), ((5, 4, 6), (2, 1, 4))]
)
def test_the_gradient_of_an_adaptive_average_pool(
    sizes: tuple[int, ...], outs: tuple[int, ...]
) -> None:
    backward = getattr(aten, f"_adaptive_avg_pool{len(outs)}d_backward")
    assert_equal(backward, (values(2, 3, *outs), values(2, 3, *sizes)))
