"""Tutorial: GPT-2 writes tokens one by one, with its cache in the NeuronCore's memory.

    python docs/tutorial/decode_with_a_cache.py

A decoder is two programs. The first reads the prompt and gives the keys and values of every layer.
The second takes one token and updates the cache in place. The model is transformers' own class,
narrow and with random weights so that it runs in seconds; `GPT2LMHeadModel.from_pretrained("gpt2")`
in its place is the real one.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, StaticCache

import axonc

PROMPT, NEW = 8, 16
LENGTH = PROMPT + NEW
"""Tokens read, tokens written, and the places of the cache."""

CONFIG = GPT2Config(
    n_layer=2,
    n_embd=64,
    n_head=4,
    vocab_size=200,
    n_positions=64,
    attn_implementation="eager",
    bos_token_id=0,
    eos_token_id=0,
)


class Prefill(torch.nn.Module):
    """A prompt [1, PROMPT] -> logits, keys and values of its tokens."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids):
        found = self.model(input_ids=ids, use_cache=True)
        layers = found.past_key_values.layers
        return found.logits, [(layer.keys, layer.values) for layer in layers]


class Decode(torch.nn.Module):
    """A token [1, 1] at `position` [1] -> logits. `cache`, a (keys, values) of every layer, is
    written in place: torch.export sees that, and axonc leaves it where it is."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids, position, cache):
        static = StaticCache(self.model.config, max_cache_len=LENGTH)
        for layer, (keys, values) in zip(static.layers, cache, strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            layer.cumulative_length = position.clone()
        return self.model(
            input_ids=ids, past_key_values=static, position_ids=position[None], use_cache=True
        ).logits


def compiled(module: torch.nn.Module, *example: object) -> axonc.Executable:
    return axonc.compile(torch.export.export(module.eval(), example, strict=False))


def main() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(CONFIG).eval()
    ids = torch.randint(CONFIG.vocab_size, (1, PROMPT))
    shape = (1, CONFIG.n_head, LENGTH, CONFIG.n_embd // CONFIG.n_head)
    empty = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(CONFIG.n_layer)]

    # 1. Two programs with the same weights, for prompts and caches of these sizes.
    prefill = compiled(Prefill(model), ids)
    decode = compiled(Decode(model), ids[:, :1], torch.tensor([PROMPT]), empty)

    # 2. The prompt.
    logits, *prompt_cache = prefill.run(ids.numpy())

    # 3. A session begins with the prompt's keys and values; behind them is room for new ones.
    #    `zero_state` has an array for everything the program updates, in the order of its inputs.
    state = decode.zero_state()
    for whole, part in zip(state.values(), prompt_cache, strict=True):
        whole[:, :, :PROMPT] = part
    session = decode.session(state)

    # 4. Tokens. What goes in and out of each call is a token, a position and logits, nothing else.
    text, found = ids.numpy(), [logits[0, -1]]
    for position in range(PROMPT, LENGTH):
        token = np.argmax(logits[:, -1:], axis=-1)
        text = np.concatenate([text, token], axis=1)
        (logits,) = session.run(token, np.array([position]))
        found.append(logits[0, -1])
    print("tokens:", *text[0, PROMPT:])

    # 5. The same text through torch at once, without a cache.
    with torch.no_grad():
        expected = model(torch.from_numpy(text)).logits[0, PROMPT - 1 :].numpy()
    error = np.abs(np.stack(found) - expected).max() / np.abs(expected).max()
    print(f"largest error of the logits, relative to the largest: {error:.1e}")
    print(f"modelled: prompt {prefill.modelled_seconds * 1e6:.0f} us, ", end="")
    print(f"a token {decode.modelled_seconds * 1e6:.0f} us")
    assert error < 1e-4


if __name__ == "__main__":
    main()
