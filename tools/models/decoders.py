"""Decoders with a key-value cache: GPT-2 and a Llama-style model, transformers' own classes.

Two programs for each. `prefill` takes a prompt and gives logits and the keys and values of every
layer. `decode` takes one token, its position, and a cache of fixed length (keys and values
[batch, heads, length, features] of every layer, filled up to the position), writes the token's keys
and values into the cache at its position, in place, and gives logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from axonc.tools.models.zoo_model import (
    Request,
    ZooModel,
    random_ids,
    random_values,
    tokens_of,
    transformers,
    with_random_weights,
)

_SMALL_LAYERS, _SMALL_TOKENS = 2, 16


@dataclass(frozen=True)
class Decoder:
    """A decoder of transformers, and its sizes."""

    architecture: str
    config: str
    """With `architecture`: names in transformers."""
    layers: int
    sizes: Mapping[str, Any]
    """Config fields of the published checkpoint (but for the layers)."""
    small: Mapping[str, Any]
    """Those of the narrow version."""
    tokens: int = 128


DECODERS: dict[str, Decoder] = {
    # The sizes of gpt2, the smallest of its family; GPT2Config's own defaults.
    "gpt2": Decoder(
        "GPT2LMHeadModel",
        "GPT2Config",
        12,
        {},
        {
            "n_embd": 64,
            "n_head": 4,
            "vocab_size": 200,
            "n_positions": 64,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
    # TinyLlama-1.1B: root-mean-square norms, rotary positions, 8 queries to a key.
    "llama": Decoder(
        "LlamaForCausalLM",
        "LlamaConfig",
        22,
        {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "vocab_size": 32000,
        },
        {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 200,
        },
    ),
}


class Prefill(torch.nn.Module):
    """A prompt [batch, tokens] -> logits [batch, tokens, vocabulary], keys and values of layers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any) -> dict[str, Any]:
        found = self.model(input_ids=input_ids, use_cache=True)
        return _outputs(found)


class Decode(torch.nn.Module):
    """One token [batch, 1] at `position` [1] -> logits [batch, 1, vocabulary]; writes the cache."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, position: Any, keys: list[Any], values: list[Any]) -> Any:
        cache = self._cache(position, keys, values)
        found = self.model(
            input_ids=input_ids,
            past_key_values=cache,
            use_cache=True,
            position_ids=position.reshape(1, 1),
        )
        return {"logits": found.logits}

    def _cache(self, position: Any, keys: list[Any], values: list[Any]) -> Any:
        """transformers' static cache over the tensors given: it writes in place."""
        cache = transformers().StaticCache(self.model.config, max_cache_len=keys[0].shape[2])
        for layer, key, value in zip(cache.layers, keys, values, strict=True):
            layer.lazy_initialization(key, value)
            layer.keys, layer.values = key, value
            layer.cumulative_length = position.clone()
        return cache


def build_prefill(name: str, request: Request) -> ZooModel:
    """`gpt2-prefill` or `llama-prefill`: a prompt of request.seq tokens."""
    decoder = DECODERS[name.removesuffix("-prefill")]
    model = _model(decoder, request)
    tokens = _tokens(decoder, request, model.config)
    ids = random_ids(model.config.vocab_size, request.batch, tokens, seed=request.seed)
    return ZooModel(name, Prefill(model).eval(), {"input_ids": ids})


def build_decode(name: str, request: Request) -> ZooModel:
    """`gpt2-decode` or `llama-decode`: one token into a cache of request.seq positions, which is
    filled to a third."""
    decoder = DECODERS[name.removesuffix("-decode")]
    model = _model(decoder, request)
    config = model.config
    length = _tokens(decoder, request, config)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    shape = (request.batch, heads, length, config.hidden_size // config.num_attention_heads)
    count, seed = config.num_hidden_layers, request.seed
    inputs = {
        "input_ids": random_ids(config.vocab_size, request.batch, 1, seed=seed),
        "position": torch.tensor([length // 3]),
        "keys": [random_values(*shape, seed=seed + i) for i in range(count)],
        "values": [random_values(*shape, seed=seed + count + i) for i in range(count)],
    }
    return ZooModel(name, Decode(model).eval(), inputs)


def _model(decoder: Decoder, request: Request) -> Any:
    library = transformers()
    layers = request.layers or (_SMALL_LAYERS if request.small else decoder.layers)
    config = getattr(library, decoder.config)(
        attn_implementation="eager",
        num_hidden_layers=layers,
        **(decoder.small if request.small else decoder.sizes),
    )
    architecture = getattr(library, decoder.architecture)
    return with_random_weights(lambda: architecture(config), request.seed)


def _tokens(decoder: Decoder, request: Request, config: Any) -> int:
    return tokens_of(request, _SMALL_TOKENS if request.small else decoder.tokens, config)


def _outputs(found: Any) -> dict[str, Any]:
    layers = found.past_key_values.layers
    return {
        "logits": found.logits,
        "keys": [layer.keys for layer in layers],
        "values": [layer.values for layer in layers],
    }
