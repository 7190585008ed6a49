"""Weights of a torch model by reference: torch's own memory, or a checkpoint file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axonc.diagnostics import UsageError, nearest
from axonc.weights.foreign_arrays import array_of_tensor
from axonc.weights.references import WeightRef, open_weight_file

if TYPE_CHECKING:
    import torch


def import_torch() -> Any:
    """torch, imported on first use.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import torch
    except ImportError:
        hint = "pip install 'axonc[torch]'"
        raise UsageError("torch programs need PyTorch, which is not installed", hint=hint) from None
    return torch


def weight_of_tensor(tensor: torch.Tensor, name: str) -> WeightRef:
    """Refer to the memory of a CPU tensor, without a copy; bf16 and f8 through their bits. One
    without bytes (meta device) gives a weight without data.

    Raises:
        UsageError: a dtype with no tensor element type.
    """
    torch = import_torch()
    if tensor.device.type == "meta" or type(tensor).__name__ == "FakeTensor":
        like = weight_of_tensor(torch.empty(0, dtype=tensor.dtype), name)
        return WeightRef.absent(tuple(tensor.shape), like.dtype, name=name)
    return WeightRef.of_array(array_of_tensor(tensor), name=name)


def weights_of(
    state: Mapping[str, Any], used: list[str], weights_file: str | Path | None
) -> dict[str, WeightRef]:
    stored = open_weight_file(weights_file) if weights_file is not None else {}
    return {name: _weight(name, state[name], stored, weights_file) for name in used}


def _weight(
    name: str, tensor: Any, stored: Mapping[str, WeightRef], weights_file: str | Path | None
) -> WeightRef:
    key = next((k for k in (name, name.partition(".")[2]) if k in stored), None)
    if key is not None:
        return stored[key]
    if weights_file is not None and type(tensor).__name__ == "Parameter":
        raise UsageError(f"{weights_file} has no weight '{name}'", hint=nearest(name, stored))
    return weight_of_tensor(tensor, name)
