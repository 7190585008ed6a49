"""BERT-large with seeded random weights, from transformers; and its StableHLO + weights on disk.

The artifact lets the compiler be measured where torch is not installed:
`python -m axonc.tools.models.bert_large OUT --layers 24`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from axonc.diagnostics import UsageError
from axonc.frontends.torch.torch_frontend import import_exported_program
from axonc.imported.program import ImportedProgram
from axonc.tools.models.model_files import write

# Sizes of bert-large-uncased (its published config.json).
SIZES = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
LAYERS = 24


def model(layers: int = LAYERS, *, seed: int = 0) -> Any:
    """transformers BertModel of BERT-large's sizes, `layers` deep, random weights, eval mode.

    Raises:
        UsageError: transformers is not installed.
    """
    try:
        import torch
        from transformers import BertConfig, BertModel
    except ImportError:
        raise UsageError(
            "transformers is not installed", hint="pip install 'axonc[torch]'"
        ) from None
    torch.manual_seed(seed)
    config = BertConfig(num_hidden_layers=layers, attn_implementation="eager", **SIZES)
    return BertModel(config, add_pooling_layer=False).eval()


def exported(layers: int = LAYERS, *, batch: int = 1, tokens: int = 128, seed: int = 0) -> Any:
    """ExportedProgram for ids and mask of [batch, tokens] int64."""
    import torch

    ids = torch.ones(batch, tokens, dtype=torch.int64)
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    keywords = {"input_ids": ids, "attention_mask": mask}
    return torch.export.export(model(layers, seed=seed), (), keywords, strict=False)


def imported(
    layers: int = LAYERS, *, batch: int = 1, tokens: int = 128, seed: int = 0
) -> ImportedProgram:
    """StableHLO with weights that refer to the memory of the torch model."""
    return import_exported_program(exported(layers, batch=batch, tokens=tokens, seed=seed))


def main(arguments: list[str] | None = None) -> None:
    """Command line: write the artifact and the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args(arguments)
    program = imported(options.layers, batch=options.batch, tokens=options.tokens)
    name = "bert_large" if options.layers == LAYERS else f"bert_large_{options.layers}l"
    for path in write(program, options.folder, name):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
