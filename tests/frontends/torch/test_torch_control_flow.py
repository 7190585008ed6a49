"""`torch.while_loop` and `torch.cond`, against PyTorch; their counters are 64-bit integers."""

from __future__ import annotations

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")
while_loop = pytest.importorskip("torch._higher_order_ops.while_loop").while_loop

X = torch.linspace(-1, 1, 12).reshape(3, 4)

Tensors = tuple[torch.Tensor, ...]


class Repeated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, n: torch.Tensor, x: torch.Tensor) -> Tensors:
        return while_loop(
            lambda n, x: n > 0, lambda n, x: (n - 1, torch.tanh(self.layer(x))), (n, x)
        )


class Doubled(torch.nn.Module):
    def forward(self, n: torch.Tensor, x: torch.Tensor) -> Tensors:
        return while_loop(
            lambda i, x: x.abs().sum() < 100, lambda i, x: (i * 3 - n, x * 2), (n + 0, x)
        )


class Nested(torch.nn.Module):
    def forward(self, n: torch.Tensor, x: torch.Tensor) -> Tensors:
        def body(i: torch.Tensor, x: torch.Tensor) -> Tensors:
            _, y = while_loop(
                lambda j, y: j < i, lambda j, y: (j + 1, y + 0.5 * j), (torch.zeros_like(i), x)
            )
            return i - 1, y

        return while_loop(lambda i, x: i > 0, body, (n, x))


class Branches(torch.nn.Module):
    def forward(self, n: torch.Tensor, x: torch.Tensor) -> Tensors:
        y = torch.cond(x.max() > n, lambda x: x.cos(), lambda x: x.sin() + 1, (x,))
        return (y,)


class Greedy(torch.nn.Module):
    """Tokens (int64) until all rows have produced token 5, or all places are full."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.tokens = torch.nn.Embedding(16, 8)
        self.head = torch.nn.Linear(8, 16)

    def forward(self, n: torch.Tensor, x: torch.Tensor) -> Tensors:
        def body(i: torch.Tensor, tokens: torch.Tensor, done: torch.Tensor) -> Tensors:
            token = torch.index_select(tokens, 1, i.reshape(1))
            new = self.head(self.tokens(token)).argmax(-1)
            tokens = torch.where(torch.arange(8) == i + 1, new, tokens)
            return i + 1, tokens, (new == 5).all()

        begin = (torch.tensor(0), torch.zeros(2, 8, dtype=torch.int64) + n, torch.tensor(False))
        return while_loop(lambda i, tokens, done: (i < 7) & ~done, body, begin)


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("kind", [Repeated, Doubled, Nested, Branches, Greedy])
def test_control_flow(kind: type[torch.nn.Module], n: int) -> None:
    module = kind()
    inputs = (torch.tensor(n), X)
    executable = axonc.compile(torch.export.export(module, inputs))
    with torch.no_grad():
        wanted = module(*inputs)
    for checked in (True, False):
        for found, want in zip(executable.run(*inputs, checked=checked), wanted, strict=True):
            assert found.dtype == want.numpy().dtype
            np.testing.assert_allclose(found, want.numpy(), rtol=1e-5, atol=1e-6)
