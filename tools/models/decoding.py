"""Decoding: a prompt goes through one program, every further token through another that keeps its
cache in device memory.

Both are programs of `axonc.tools.models.decoders`: the first gives the keys and values of the
prompt, the second writes those of its token in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from axonc.run.executable import Executable
from axonc.run.session import Session


@dataclass(frozen=True)
class Step:
    """tokens [batch]: chosen to follow those before; logits [batch, vocabulary]: chosen by."""

    tokens: np.ndarray
    logits: np.ndarray


def likeliest(logits: np.ndarray) -> np.ndarray:
    """The greedy choice: [batch, vocabulary] -> tokens [batch]."""
    return np.argmax(logits, axis=-1)


def generate(
    prefill: Executable,
    decode: Executable,
    prompt: np.ndarray,
    *,
    choose: Callable[[np.ndarray], np.ndarray] = likeliest,
    checked: bool = False,
) -> Iterator[Step]:
    """The tokens that follow `prompt` [batch, tokens], each computed when it is asked for: one from
    the prompt, and one for every place the cache of `decode` has left then.

    checked: find races, reads of unwritten bytes and the like (slower).

    Raises:
        ExecutionError: the prompt is not of the size `prefill` was compiled for.
    """
    logits, *cache = prefill.run(prompt, checked=checked)
    names = [str(result.name) for result in prefill.results][1:]
    session = start_session(decode, dict(zip(names, cache, strict=True)), checked=checked)
    step = Step(choose(logits[:, -1]), logits[:, -1])
    yield step
    for position in range(prompt.shape[1], cache_length(decode)):
        given = {"input_ids": step.tokens[:, None], "position": np.array([position])}
        (logits,) = session.run(given)
        step = Step(choose(logits[:, -1]), logits[:, -1])
        yield step


def start_session(
    decode: Executable, prompt_cache: dict[str, np.ndarray], *, checked: bool = False
) -> Session:
    """A session whose cache begins with the keys and values of a prompt, and zeros behind them.

    prompt_cache: [batch, heads, tokens, features] under the names `prefill` gives: `keys.0`.
    """
    state = decode.zero_state()
    for name, part in prompt_cache.items():
        state[name.replace(".", "_")][:, :, : part.shape[2]] = part
    return decode.session(state, checked=checked)


def cache_length(decode: Executable) -> int:
    """Tokens the cache has places for."""
    return decode.state_inputs[0].shape[2]
