"""The models by name. An entry names its builder; torch is imported when one is built."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from axonc.diagnostics import UsageError, nearest
from axonc.tools.models.zoo_model import Request, ZooModel


@dataclass(frozen=True)
class Entry:
    """A model of the zoo."""

    name: str
    summary: str
    builder: str
    """`module:function`, takes (name, Request)."""


_HERE = "axonc.tools.models"

MODELS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("minilm", "all-MiniLM-L6-v2, trained", f"{_HERE}.minilm_torch:build"),
        Entry("bert-base", "BERT-base, 12 layers, 128 tokens", f"{_HERE}.encoders:build"),
        Entry("bert-large", "BERT-large, 24 layers, 128 tokens", f"{_HERE}.encoders:build"),
        Entry("distilbert", "DistilBERT, 6 layers, 128 tokens", f"{_HERE}.encoders:build"),
        Entry("albert-base", "ALBERT-base v2, 12 equal layers", f"{_HERE}.encoders:build"),
        Entry("electra-large", "ELECTRA-large, discriminator", f"{_HERE}.encoders:build"),
        Entry("gpt2-prefill", "GPT-2, a prompt", f"{_HERE}.decoders:build_prefill"),
        Entry("gpt2-decode", "GPT-2, one token", f"{_HERE}.decoders:build_decode"),
        Entry("llama-prefill", "TinyLlama-1.1B, a prompt", f"{_HERE}.decoders:build_prefill"),
        Entry("llama-decode", "TinyLlama-1.1B, one token", f"{_HERE}.decoders:build_decode"),
        Entry("resnet-50", "ResNet-50 v1.5, 224 x 224", f"{_HERE}.resnet:build"),
        Entry("unet", "U-Net, nearest up-sampling", f"{_HERE}.unet:build"),
        Entry("unet-transposed", "U-Net, transposed convolutions", f"{_HERE}.unet:build"),
    )
}


def build(
    name: str,
    *,
    layers: int | None = None,
    batch: int = 1,
    seq: int | None = None,
    small: bool = False,
    seed: int = 0,
) -> ZooModel:
    """The model `name` with seeded random weights and example inputs; see `Request`.

    Raises:
        UsageError: no such model; torch or transformers is not installed.
    """
    if name not in MODELS:
        hint = nearest(name, list(MODELS)) or f"models: {', '.join(MODELS)}"
        raise UsageError(f"no model '{name}'", hint=hint)
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UsageError("PyTorch is not installed", hint="pip install 'axonc[torch]'") from None
    module, function = MODELS[name].builder.split(":")
    request = Request(layers, batch, seq, small, seed)
    model: ZooModel = getattr(importlib.import_module(module), function)(name, request)
    return model
