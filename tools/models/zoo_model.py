"""A model with seeded random weights and example inputs, ready to be exported, and its oracle.

Weights are random but not special: no bias is zero and no norm is the identity, as they are in a
module that was just made, for then a compiler that drops them would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from axonc.diagnostics import UsageError
from axonc.frontends.torch.torch_frontend import import_exported_program
from axonc.imported.program import ImportedProgram


@dataclass(frozen=True)
class Request:
    """Which variant of a model.

    Raises: UsageError: a count below 1."""

    layers: int | None = None
    batch: int = 1
    """Examples of a call."""
    seq: int | None = None
    """With `layers`: none for the model's own (tokens; images have none)."""
    small: bool = False
    """A narrow version for tests, of few layers unless told."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("layers", self.layers), ("batch", self.batch), ("seq", self.seq)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it is at least 1")


@dataclass(frozen=True)
class ZooModel:
    """A model with the inputs of one call."""

    name: str
    module: Any
    """A torch.nn.Module in eval mode."""
    inputs: Mapping[str, Any]
    """Its keyword arguments, tensors or lists of tensors."""

    @cached_property
    def exported(self) -> Any:
        """The torch ExportedProgram for inputs of these shapes."""
        import torch

        return torch.export.export(self.module, (), dict(self.inputs), strict=False)

    def imported(self) -> ImportedProgram:
        """StableHLO; its weights refer to the memory of the module.

        Raises:
            CompileError, UnsupportedOpError: torch exports what has no lowering.
        """
        return import_exported_program(self.exported)

    def arrays(self) -> dict[str, np.ndarray]:
        """The example inputs by the names the imported program gives them."""
        import torch
        from torch.utils import _pytree as pytree

        leaves = [t for t in pytree.tree_leaves(dict(self.inputs)) if isinstance(t, torch.Tensor)]
        names = self.exported.graph_signature.user_inputs
        return {name: t.numpy() for name, t in zip(names, leaves, strict=True)}

    def expected(self, *, double: bool = False) -> list[np.ndarray]:
        """What torch computes for the example inputs, in the order of the program's results: those
        of the module, then the new values of the inputs it writes.

        double: weights and float inputs widened to float64 first, the better oracle.
        """
        import torch
        from torch.utils import _pytree as pytree

        module, inputs = self.module, deepcopy(dict(self.inputs))
        if double:
            module = deepcopy(module).double()
            inputs = pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, inputs)
        leaves = [t for t in pytree.tree_leaves(inputs) if isinstance(t, torch.Tensor)]
        versions = [t._version for t in leaves]  # torch counts the writes to a tensor
        with torch.no_grad():
            found = module(**inputs)
        results = [t for t in pytree.tree_leaves(found) if isinstance(t, torch.Tensor)]
        written = [t for t, old in zip(leaves, versions, strict=True) if t._version > old]
        return [t.numpy() for t in [*results, *written]]


def tokens_of(request: Request, default: int, config: Any) -> int:
    """The tokens asked for, or the default.

    Raises:
        UsageError: more than the model of this transformers config has positions for.
    """
    tokens, most = request.seq or default, config.max_position_embeddings
    if tokens > most:
        raise UsageError(f"{tokens} tokens; the model has {most} positions")
    return tokens


def transformers() -> Any:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise UsageError(
            "transformers is not installed", hint="pip install 'axonc[torch]'"
        ) from None
    return transformers


def with_random_weights(make: Any, seed: int) -> Any:
    """The module `make()` builds, in eval mode, its vectors (biases, norm weights and statistics)
    moved away from 0 and 1; the same for the same seed."""
    import torch

    torch.manual_seed(seed)
    module = make().eval()
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                _scatter(name, tensor)
    return module


def _scatter(name: str, tensor: Any) -> None:
    """Variances stay positive; frequencies of a rotary embedding are no weights."""
    if name.endswith("running_var"):
        tensor.uniform_(0.5, 1.5)
    elif not name.endswith("inv_freq"):
        tensor.add_(tensor.new_empty(tensor.shape).normal_(0.0, 0.05))


def random_ids(vocabulary: int, *shape: int, seed: int) -> Any:
    """Token ids [*shape] int64 in 0..vocabulary-1."""
    import torch

    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def random_values(*shape: int, seed: int) -> Any:
    """Standard normal float32 [*shape]."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
