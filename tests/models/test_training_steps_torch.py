"""Training in PyTorch: the joint graph of loss, gradients and optimizer as one program, three steps
against the same function in PyTorch.

`torch.func.grad` in a module does not survive `torch.export` (views of wrapped tensors have no fake
counterpart), so `make_fx` traces the step first, down to operations that know nothing of gradients.
Attention is traced in its plain form, as the fused one has no exportable backward pass.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from torch import nn  # noqa: E402  (needs torch, which may be missing)
from torch.func import functional_call, grad_and_value  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

STEPS, CLASSES, WORDS = 3, 5, 20
TOLERANCE = 1e-4

Tensors = dict[str, Any]
Optimizer = Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]


def sgd(gradients: Tensors, memory: Tensors, params: Tensors) -> tuple[Tensors, Tensors]:
    """As torch.optim.SGD(lr=0.05, momentum=0.9)."""
    speed = {name: 0.9 * memory["speed"][name] + g for name, g in gradients.items()}
    return {name: p - 0.05 * speed[name] for name, p in params.items()}, {"speed": speed}


def adamw(gradients: Tensors, memory: Tensors, params: Tensors) -> tuple[Tensors, Tensors]:
    """As torch.optim.AdamW(lr=0.01, eps=1e-4)."""
    count = memory["count"] + 1
    first = {n: 0.9 * memory["first"][n] + 0.1 * g for n, g in gradients.items()}
    second = {n: 0.999 * memory["second"][n] + 0.001 * g * g for n, g in gradients.items()}
    rate = 0.01 / (1 - 0.9**count)
    root = torch.sqrt(1 - 0.999**count)
    new = {
        n: p * (1 - 0.01 * 0.01) - rate * first[n] / (torch.sqrt(second[n]) / root + 1e-4)
        for n, p in params.items()
    }
    return new, {"first": first, "second": second, "count": count}


def torch_optimizer(optimizer: Optimizer, params: list[Any]) -> Any:
    if optimizer is sgd:
        return torch.optim.SGD(params, lr=0.05, momentum=0.9)
    return torch.optim.AdamW(params, lr=0.01, eps=1e-4)


def memory_of(optimizer: Optimizer, params: Tensors) -> Tensors:
    def zeros() -> Tensors:
        return {name: torch.zeros_like(p) for name, p in params.items()}

    if optimizer is sgd:
        return {"speed": zeros()}
    return {"first": zeros(), "second": zeros(), "count": torch.zeros(())}


class Mlp(nn.Module):
    """With a dropout whose mask is part of the input: torch draws other numbers than a program."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:], strict=False))

    def forward(self, x: Any) -> Any:
        h, kept = x
        first, *inner, last = self.layers
        h = F.relu(first(h)) * kept / 0.75
        for layer in inner:
            h = torch.tanh(layer(h))
        return last(h)


class ResNet(nn.Module):
    """A stem and one block with batch norms in training, whose shortcut is a convolution."""

    def __init__(self, channels: int, pool: Callable[[Any], Any]) -> None:
        super().__init__()
        wide = 2 * channels
        self.pool = pool
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 1, 1), nn.BatchNorm2d(channels))
        self.inner = nn.Sequential(
            nn.Conv2d(channels, wide, 3, 2, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.short = nn.Sequential(
            nn.Conv2d(channels, wide, 1, 2, bias=False), nn.BatchNorm2d(wide)
        )
        self.head = nn.Linear(wide, CLASSES)

    def forward(self, x: Any) -> Any:
        h = self.pool(F.relu(self.stem(x)))
        h = F.relu(self.inner(h) + self.short(h))
        return self.head(F.adaptive_avg_pool2d(h, 1).flatten(1))


class Transformer(nn.Module):
    """Pre-norm layers with causal attention; the table of words is the last product's too."""

    def __init__(self, layers: int, width: int, heads: int = 4) -> None:
        super().__init__()
        self.words, self.heads = nn.Embedding(WORDS, width), heads
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "mlp": nn.Sequential(
                        nn.LayerNorm(width),
                        nn.Linear(width, 2 * width),
                        nn.GELU(),
                        nn.Linear(2 * width, width),
                    ),
                }
            )
            for _ in range(layers)
        )
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, x: Any) -> Any:
        h = self.words(x)
        for layer in self.layers:
            parts = layer["qkv"](layer["norm"](h)).unflatten(-1, (3, self.heads, -1))
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + layer["out"](mixed.transpose(1, 2).flatten(2))
            h = h + layer["mlp"](h)
        return (h @ self.words.weight.T).flatten(0, 1)


def step_of(model: nn.Module, optimizer: Optimizer) -> Callable[..., tuple[Tensors, Any]]:
    """One step with a scaled loss: where a gradient is not finite no parameter moves and the scale
    is halved."""

    def step(state: Tensors, x: Any, y: Any) -> tuple[Tensors, Any]:
        def scaled(params: Tensors) -> tuple[Any, tuple[Any, Tensors]]:
            stats = {name: value.clone() for name, value in state["stats"].items()}
            loss = F.cross_entropy(functional_call(model, (params, stats), (x,)), y.flatten())
            return loss * state["scale"], (loss, stats)

        grads, (_, (loss, stats)) = grad_and_value(scaled, has_aux=True)(state["params"])
        grads = {name: g / state["scale"] for name, g in grads.items()}
        finite = torch.stack([torch.isfinite(g).all() for g in grads.values()]).all()
        new = optimizer(grads, state["memory"], state["params"])
        old = (state["params"], state["memory"])
        params, memory = pytree.tree_map(lambda n, o: torch.where(finite, n, o), new, old)
        scale = torch.where(finite, state["scale"], state["scale"] / 2)
        return {"params": params, "memory": memory, "stats": stats, "scale": scale}, loss

    return step


def state_of(model: nn.Module, optimizer: Optimizer, scale: float = 1024.0) -> Tensors:
    params = {name: p.detach().clone() for name, p in model.named_parameters()}
    return {
        "params": params,
        "memory": memory_of(optimizer, params),
        "stats": {name: b.clone() for name, b in model.named_buffers()},
        "scale": torch.tensor(scale),
    }


def compiled(step: Callable[..., Any], *arguments: Any) -> axonc.Executable:
    with sdpa_kernel(SDPBackend.MATH):
        graph = make_fx(step)(*arguments)
    return axonc.compile(torch.export.export(graph, arguments))


def assert_close(found: list[np.ndarray], wanted: list[Any]) -> None:
    """Against the largest value of the tensor or 1, whichever is more."""
    for f, w in zip(found, wanted, strict=True):
        w = w.detach().numpy()
        np.testing.assert_allclose(f, w, rtol=0, atol=TOLERANCE * max(1.0, np.abs(w).max()))


def assert_trains(model: nn.Module, optimizer: Optimizer, data: list[tuple[Any, Any]]) -> None:
    """Three steps with the state passed back (the first in checked mode), and in a session; the
    parameters are those that torch's own autograd and optimizer come to."""
    state = state_of(model.train(), optimizer)
    step = step_of(model, optimizer)
    executable = compiled(step, state, *data[0])
    found = pytree.tree_leaves(state)
    names = [host.name for host in executable.inputs][: len(found)]
    aliases = dict(zip(names, executable.result_names, strict=False))
    session = executable.session(dict(zip(names, found, strict=True)), aliases=aliases)
    wanted = state
    theirs = torch_optimizer(optimizer, list(model.parameters()))
    for number, (x, y) in enumerate(data):
        batch = pytree.tree_leaves((x, y))
        wanted, loss = step(wanted, x, y)
        *found, value = executable.run(*found, *batch, checked=number == 0)
        (kept,) = session.run(*batch)
        assert_close([*found, value, kept], [*pytree.tree_leaves(wanted), loss, loss])
        theirs.zero_grad()
        F.cross_entropy(model(x), y.flatten()).backward()
        theirs.step()
    assert_close([session.state()[name] for name in names], pytree.tree_leaves(wanted))
    structure = pytree.tree_structure(wanted)
    parameters = pytree.tree_unflatten(found, structure)["params"]
    assert_close(list(parameters.values()), list(model.parameters()))


def drawn(*shape: int) -> Any:
    return torch.randn(*shape)


def labels(rows: int) -> Any:
    return torch.randint(0, CLASSES, (rows,))


OPTIMIZERS = pytest.mark.parametrize("optimizer", [sgd, adamw])
POOLS = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1),
    "average": lambda x: F.avg_pool2d(x, 2),
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@OPTIMIZERS
def test_an_mlp_with_dropout(optimizer: Optimizer) -> None:
    data = [((drawn(16, 12), (drawn(16, 32) > -0.6).float()), labels(16)) for _ in range(STEPS)]
    assert_trains(Mlp(12, 32, 24, CLASSES), optimizer, data)


@OPTIMIZERS
@pytest.mark.parametrize("pool", POOLS)
def test_a_residual_net_with_batch_norm(pool: str, optimizer: Optimizer) -> None:
    data = [(drawn(4, 3, 16, 16), labels(4)) for _ in range(STEPS)]
    assert_trains(ResNet(8, POOLS[pool]), optimizer, data)


def sentences(rows: int, length: int) -> list[tuple[Any, Any]]:
    words = torch.randint(0, WORDS, (STEPS, rows, length + 1))
    return [(w[:, :-1].contiguous(), w[:, 1:].contiguous()) for w in words]


@OPTIMIZERS
def test_a_transformer_with_tied_words(optimizer: Optimizer) -> None:
    assert_trains(Transformer(1, 32), optimizer, sentences(2, 8))


def test_a_step_whose_gradients_overflow_moves_nothing_and_halves_the_scale() -> None:
    model = Mlp(12, 8, CLASSES)
    state = state_of(model, sgd, scale=2.0**127)
    x, y = (drawn(16, 12) * 100, torch.ones(16, 8)), labels(16)
    step = step_of(model, sgd)
    wanted, _ = step(state, x, y)
    assert wanted["scale"] == 2.0**126
    begin = pytree.tree_leaves(state)
    *found, _ = compiled(step, state, x, y).run(*begin, *x, y, checked=True)
    assert found[-1] == 2.0**126
    for new, old in zip(found[:-1], begin[:-1], strict=True):
        np.testing.assert_array_equal(new, old)


class WithLoss(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any, y: Any) -> Any:
        return F.cross_entropy(self.model(x), y.flatten())


def test_the_joint_graph_that_export_makes_gives_the_gradients_by_name() -> None:
    from torch.export.experimental import _export_forward_backward

    model, x, y = WithLoss(ResNet(4, POOLS["average"])), drawn(4, 3, 8, 8), labels(4)
    joint = _export_forward_backward(torch.export.export(model, (x, y)))
    executable = axonc.compile(joint)
    arguments = executable.initial_state() | {"x": x, "y": y}
    loss, *rest = executable.run_by_name(arguments, checked=True).items()
    wanted = model(x, y)
    wanted.backward()
    found = dict(rest)
    for name, parameter in model.named_parameters():
        assert_close([found[f"gradient.{name}"]], [parameter.grad])
    for name, value in model.named_buffers():
        assert_close([found[f"updated.{name}"]], [value])
    assert_close([loss[1]], [wanted])


@pytest.mark.slow
@OPTIMIZERS
def test_a_larger_residual_net(optimizer: Optimizer) -> None:
    data = [(drawn(8, 3, 32, 32), labels(8)) for _ in range(STEPS)]
    assert_trains(ResNet(32, POOLS["max"]), optimizer, data)


@pytest.mark.slow
@OPTIMIZERS
def test_a_larger_transformer(optimizer: Optimizer) -> None:
    assert_trains(Transformer(3, 128), optimizer, sentences(4, 33))
