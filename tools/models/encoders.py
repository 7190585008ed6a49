"""Transformer encoders: BERT, DistilBERT, ALBERT, ELECTRA, transformers' own classes.

Sizes are those of the published config.json of each checkpoint; weights are random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from axonc.tools.models import bert_large as large
from axonc.tools.models.zoo_model import (
    Request,
    ZooModel,
    random_ids,
    tokens_of,
    transformers,
    with_random_weights,
)

# Names of the sizes in every config class: DistilBERT's own differ, and it takes these too.
_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_SMALL = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
_SMALL_LAYERS, _SMALL_TOKENS, _SMALL_VOCABULARY = 2, 16, 200


@dataclass(frozen=True)
class Encoder:
    """An encoder of transformers, and its sizes."""

    architecture: str
    """Transformers' module class."""
    config: str
    layers: int
    sizes: Mapping[str, int]
    tokens: int = 128
    vocabulary: int = 30522
    extra: Mapping[str, Any] = field(default_factory=dict)
    """With `sizes`: config fields; `extra` as it is in small versions too unless `small` says
    otherwise."""
    small: Mapping[str, Any] = field(default_factory=dict)
    build: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the class."""


_UNPOOLED = {"add_pooling_layer": False}

ENCODERS: dict[str, Encoder] = {
    "bert-base": Encoder("BertModel", "BertConfig", 12, _BASE, build=_UNPOOLED),
    "bert-large": Encoder("BertModel", "BertConfig", large.LAYERS, large.SIZES, build=_UNPOOLED),
    "distilbert": Encoder("DistilBertModel", "DistilBertConfig", 6, _BASE),
    "albert-base": Encoder(
        "AlbertModel",
        "AlbertConfig",
        12,
        _BASE,
        vocabulary=30000,
        extra={"embedding_size": 128, "hidden_act": "gelu_new"},
        small={"embedding_size": 32},
        build=_UNPOOLED,
    ),
    "electra-large": Encoder(
        "ElectraForPreTraining",
        "ElectraConfig",
        24,
        large.SIZES,
        tokens=256,
        extra={"embedding_size": 1024},
        small={"embedding_size": 64},
    ),
}


def build(name: str, request: Request) -> ZooModel:
    """The encoder `name` for ids and mask [batch, tokens] int64; every token is real.

    Raises:
        UsageError: transformers is not installed; more tokens than positions.
    """
    encoder = ENCODERS[name]
    library = transformers()
    config = getattr(library, encoder.config)(
        attn_implementation="eager", **_config(encoder, request)
    )
    architecture = getattr(library, encoder.architecture)
    module = with_random_weights(lambda: architecture(config, **encoder.build), request.seed)
    tokens = tokens_of(request, _SMALL_TOKENS if request.small else encoder.tokens, config)
    ids = random_ids(config.vocab_size, request.batch, tokens, seed=request.seed)
    return ZooModel(name, module, {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)})


def _config(encoder: Encoder, request: Request) -> dict[str, Any]:
    layers = request.layers or (_SMALL_LAYERS if request.small else encoder.layers)
    vocabulary = _SMALL_VOCABULARY if request.small else encoder.vocabulary
    chosen = {**encoder.extra, **(encoder.small if request.small else {})}
    sizes = _SMALL if request.small else encoder.sizes
    return {**sizes, **chosen, "num_hidden_layers": layers, "vocab_size": vocabulary}
