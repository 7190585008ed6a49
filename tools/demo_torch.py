"""`make demo-torch`: as `make demo`, from transformers' PyTorch module, beside PyTorch itself.

The module gives hidden states [1, tokens, hidden]; the mean over real tokens is taken on the host.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from axonc.frontends import ImportedProgram
from axonc.run.executable import Executable
from axonc.tools.demo import TOKENS, Demo, main, unit
from axonc.tools.models.minilm_jax import tokenize


def _load() -> ImportedProgram:
    from axonc.tools.models import minilm_torch

    _silence_transformers()
    return minilm_torch.imported(1, TOKENS)


def _silence_transformers() -> None:
    """It reports that the checkpoint's pooler is not used, and torch that its own export is old."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def _inputs(sentence: str) -> dict[str, np.ndarray]:
    ids, mask = tokenize([sentence], TOKENS)
    return {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}


def _embed(executable: Executable, sentence: str) -> np.ndarray:
    inputs = _inputs(sentence)
    return _mean(executable.run(inputs)[0], inputs["attention_mask"])


def _mean(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The unit vector of the mean of real tokens' hidden states [1, tokens, hidden]."""
    return unit(hidden[0][mask[0] == 1].astype(np.float64).mean(axis=0))


def _reference() -> Callable[[str], np.ndarray]:
    """The module itself, eager."""
    import torch

    from axonc.tools.models import minilm_torch

    model = minilm_torch.model()

    def embed(sentence: str) -> np.ndarray:
        inputs = _inputs(sentence)
        with torch.no_grad():
            found = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return _mean(found.last_hidden_state.numpy(), inputs["attention_mask"])

    return embed


TORCH_DEMO = Demo(
    "all-MiniLM-L6-v2, transformers' PyTorch module, on one modelled NeuronCore-v2",
    "PyTorch",
    _load,
    _embed,
    _reference,
)

if __name__ == "__main__":
    raise SystemExit(main(TORCH_DEMO))
