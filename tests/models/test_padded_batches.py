"""Padded batches of odd lengths through transformers' models with their default attention, whose
masks hold infinities: PyTorch's numbers, and the time of the same model with finite masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import axonc
from axonc.imported.program import ImportedProgram
from axonc.imported.stablehlo_module import deserialize, new_context, serialize

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="the models are transformers' modules")

pytestmark = pytest.mark.slow
BATCH, LENGTH = 3, 13
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "vocab_size": 100,
}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 16}
INFINITE = "0xFF800000"


class Called(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A model whose result is one tensor of a call."""

    def __init__(self, model: Any, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *arrays: Any) -> Any:
        return self.call(self.model, *arrays)


def tokens() -> Any:
    return torch.randint(3, 100, (BATCH, LENGTH))


def mask(*, left: bool = False) -> Any:
    """1 where there are tokens: all 13, 8 and 3 of them."""
    places, counts = torch.arange(LENGTH), torch.tensor([[13], [8], [3]])
    return ((places.flip(0) if left else places) < counts).long()


def hidden(model: Any, ids: Any, attention: Any) -> Any:
    return model(input_ids=ids, attention_mask=attention).last_hidden_state


def uncached(model: Any, ids: Any, attention: Any, *encoded: Any) -> Any:
    more = {"encoder_hidden_states": encoded[0]} if encoded else {}
    return model(input_ids=ids, attention_mask=attention, use_cache=False, **more).last_hidden_state


def encoder(name: str, **sizes: Any) -> tuple[Any, tuple[Any, ...]]:
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    return Called(model, hidden), (tokens(), mask())


def decoder(name: str, **sizes: Any) -> tuple[Any, tuple[Any, ...]]:
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    return Called(model, uncached), (tokens(), mask(left=True))


def whisper() -> tuple[Any, tuple[Any, ...]]:
    config = transformers.WhisperConfig(
        vocab_size=100, d_model=64, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, pad_token_id=0,
        max_source_positions=20, max_target_positions=40, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.WhisperModel(config).decoder
    return Called(model, uncached), (tokens(), mask(), torch.randn(BATCH, 20, 64))


def plain_encoder() -> tuple[Any, tuple[Any, ...]]:
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    padded = Called(model, lambda m, x, a: m(x, src_key_padding_mask=a))
    return padded, (torch.randn(BATCH, LENGTH, 64), mask() == 0)


MODELS: dict[str, Callable[[], tuple[Any, tuple[Any, ...]]]] = {
    "bert": lambda: encoder("Bert", **SIZES),
    "roberta": lambda: encoder("Roberta", **SIZES, max_position_embeddings=40),
    "distilbert": lambda: encoder(
        "DistilBert", vocab_size=100, dim=64, n_layers=2, n_heads=4, hidden_dim=128
    ),
    "clip-text": lambda: encoder("CLIPText", **SIZES, max_position_embeddings=40),
    "gpt2": lambda: decoder("GPT2", vocab_size=100, n_embd=64, n_layer=2, n_head=4),
    "llama": lambda: decoder("Llama", **GROUPED),
    "qwen3": lambda: decoder("Qwen3", **GROUPED),
    "whisper-decoder": whisper,
    "transformer-encoder": plain_encoder,
}


def with_finite_masks(program: ImportedProgram) -> ImportedProgram:
    """The program with a large number instead of each infinity, as masks are written by hand."""
    from jaxlib.mlir import ir

    context = new_context()
    text = deserialize(program.module_bytes, context).operation.get_asm(enable_debug_info=True)
    assert INFINITE in text
    with context:
        module = ir.Module.parse(text.replace(INFINITE, "-1.0e+38"))
        return replace(program, module_bytes=serialize(module))


@pytest.mark.parametrize("name", MODELS)
def test_padded_batches(name: str) -> None:
    from axonc.frontends.torch.torch_frontend import import_module

    torch.manual_seed(0)
    model, arrays = MODELS[name]()
    with torch.no_grad():
        expected = model.eval()(*arrays).numpy()
    program = import_module(model, arrays)
    executable = axonc.compile(program)
    for checked in (False, True):
        (found,) = executable.run(*arrays, checked=checked)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert not executable.compiled.options.exact_transposes  # nothing came unexpected
    finite = axonc.compile(with_finite_masks(program))
    assert executable.modelled_seconds <= 1.1 * finite.modelled_seconds
