"""Decoders: a prompt, then tokens one by one with the cache updated in place, against torch, which
computes every token again from the whole text, without a cache, in float64."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch", reason="the oracle is PyTorch")
pytest.importorskip("transformers", reason="the models are transformers' modules")

from axonc.backends.program import TensorKind  # noqa: E402
from axonc.tools.models.decoding import generate, likeliest  # noqa: E402
from axonc.tools.models.registry import build  # noqa: E402

BAR = 1e-4
"""Largest error over the largest value of the logits, in float32."""
STEPS = 16


def logits_of_whole_text(decoder: object, text: np.ndarray) -> np.ndarray:
    """[1, tokens] -> [tokens, vocabulary] float64, all at once."""
    double = deepcopy(decoder).double()
    with torch.no_grad():
        return double(input_ids=torch.from_numpy(text), use_cache=False).logits[0].numpy()


def sampler(seed: int):
    """Tokens at random by their probabilities: random weights would repeat one token for ever."""
    rng = np.random.default_rng(seed)

    def choose(logits: np.ndarray) -> np.ndarray:
        noisy = logits + rng.gumbel(size=logits.shape)
        return likeliest(noisy)

    return choose


def assert_decodes(name: str, prompt_tokens: int, *, small: bool, checked: bool) -> None:
    prompt_model = build(f"{name}-prefill", seq=prompt_tokens, small=small)
    step_model = build(f"{name}-decode", seq=prompt_tokens + STEPS, small=small)
    prefill, decode = (axonc.compile(m.imported()) for m in (prompt_model, step_model))
    assert_cache_stays(decode)
    prompt = prompt_model.inputs["input_ids"].numpy()
    steps = list(generate(prefill, decode, prompt, choose=sampler(3), checked=checked))
    assert len(steps) == 1 + STEPS
    tokens = np.array([step.tokens for step in steps])[:, 0]
    assert len(set(tokens)) > STEPS // 2, "a text of equal tokens says little"
    text = np.concatenate([prompt[0], tokens[:-1]])[None]
    expected = logits_of_whole_text(step_model.module.model, text)[prompt_tokens - 1 :]
    for step, wanted in zip(steps, expected, strict=True):
        assert np.abs(step.logits[0] - wanted).max() <= BAR * np.abs(wanted).max()
        assert likeliest(step.logits)[0] == likeliest(wanted)


def assert_cache_stays(decode: axonc.Executable) -> None:
    """The new keys and values lie where the old ones lay: no copy of the cache."""
    outputs = decode.compiled.tensors(TensorKind.OUTPUT)
    aliases = {tensor.alias for tensor in outputs if tensor.alias}
    assert aliases == {state.name for state in decode.state_inputs}


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_small_decoder_with_its_cache(name: str) -> None:
    assert_decodes(name, 8, small=True, checked=True)


@pytest.mark.slow
def test_gpt2_with_its_cache() -> None:
    assert_decodes("gpt2", 112, small=False, checked=False)


def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    import runpy

    path = Path(__file__).parents[2] / "docs/tutorial/decode_with_a_cache.py"
    runpy.run_path(str(path), run_name="__main__")
    assert "largest error" in capsys.readouterr().out
