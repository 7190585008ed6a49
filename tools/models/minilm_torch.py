"""all-MiniLM-L6-v2 as the transformers module, exported with torch.export."""

from __future__ import annotations

from typing import Any

from axonc.diagnostics import UsageError
from axonc.frontends.torch.torch_frontend import import_exported_program
from axonc.imported.program import ImportedProgram
from axonc.tools.models.minilm_jax import model_folder
from axonc.tools.models.zoo_model import Request, ZooModel, random_ids, tokens_of

_TOKENS, _SMALL_TOKENS = 128, 16


def model() -> Any:
    """The transformers BertModel with the trained weights, eager attention, eval mode.

    Raises:
        UsageError: transformers is not installed.
    """
    try:
        from transformers import BertModel
    except ImportError:
        raise UsageError(
            "transformers is not installed", hint="pip install 'axonc[torch]'"
        ) from None
    loaded = BertModel.from_pretrained(
        model_folder(), local_files_only=True, attn_implementation="eager", add_pooling_layer=False
    )
    return loaded.eval()


def exported(batch: int, tokens: int) -> Any:
    """ExportedProgram of the model for ids and mask of [batch, tokens] int64."""
    import torch

    ids = torch.ones(batch, tokens, dtype=torch.int64)
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    keywords = {"input_ids": ids, "attention_mask": mask}
    return torch.export.export(model(), (), keywords, strict=False)


def imported(batch: int, tokens: int) -> ImportedProgram:
    """StableHLO of the model; its weights refer to the checkpoint file."""
    return import_exported_program(
        exported(batch, tokens), weights_file=model_folder() / "model.safetensors"
    )


def build(name: str, request: Request) -> ZooModel:
    """The trained model for random ids [batch, tokens]; every token is real. Small: fewer tokens.

    Raises:
        UsageError: another depth than the trained one, or more tokens than positions.
    """
    module = model()
    if request.layers not in (None, module.config.num_hidden_layers):
        depth = module.config.num_hidden_layers
        raise UsageError(f"{name} is trained with {depth} layers, not {request.layers}")
    default = _SMALL_TOKENS if request.small else _TOKENS
    tokens = tokens_of(request, default, module.config)
    ids = random_ids(module.config.vocab_size, request.batch, tokens, seed=request.seed)
    return ZooModel(name, module, {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)})
