"""Patterns that rewriting rules look for, with one thing changed.

A pattern names the rule it is for, and marks values on its way by `at`. At one of these places one
of the changes of `CHANGES` is made: some do nothing for ordinary numbers, some do nothing at all,
some make a value needed twice. Rewritten or not, the program has to compute what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from axonc.tools.fuzz.activation_patterns import gelu, norm, silu, softmax
from axonc.tools.fuzz.fusion_patterns import (
    attention,
    epilogue,
    feed_forward,
    shared,
    two_ways,
    wide_result,
)
from axonc.tools.fuzz.movement_patterns import (
    batch_norm,
    dot_and_shape,
    grouped_heads,
    turned_dot,
    views,
)
from axonc.tools.fuzz.pattern import CHANGES, Pattern
from axonc.tools.fuzz.preparation_patterns import (
    arithmetic,
    layers,
    narrow_places,
    reduced_edges,
    scan,
    state,
    wide_integers,
)
from axonc.tools.fuzz.program import Program

Body = Callable[[Pattern], Sequence[int]]


@dataclass(frozen=True)
class Miss:
    """A program drawn close to what rules rewrite."""

    rules: tuple[str, ...]
    """Names of the passes whose patterns the body draws."""
    body: Body
    modes: tuple[str, ...] = ("default", "default", "bf16-products", "weights")
    """The modes it is tried in."""


_MANY = ("default", "flat", "weights", "two-cores-tensor", "two-cores-data", "bf16-products")
_CROWDED = ("default", "small-memory", "small-memory", "two-cores-tensor", "bf16-products")

MISSES = (
    Miss(("recognize-silu",), silu),
    Miss(("recognize-gelu",), gelu),
    Miss(("recognize-softmax",), softmax),
    Miss(("recognize-layer-norm",), norm),
    Miss(("merge-views",), views),
    Miss(("sink-transpose",), turned_dot),
    Miss(("sink-reshape", "fuse-dot-epilogue"), dot_and_shape),
    Miss(("group-repeated-heads",), grouped_heads),
    Miss(("fold-batch-norm",), batch_norm, ("default", "weights", "weights")),
    Miss(("guard-masked-softmax", "split-attention"), attention, _CROWDED),
    Miss(("split-feed-forward", "add-before-reduce"), feed_forward, _CROWDED + _MANY),
    Miss(("fuse-dot-epilogue",), epilogue),
    Miss(("fuse-elementwise",), shared),
    Miss(("choose-layouts",), two_ways),
    Miss(("split-wide-results",), wide_result, _CROWDED),
    Miss(("outline-blocks", "inline-blocks"), layers, _MANY),
    Miss(("simplify", "fuse-elementwise"), arithmetic),
    Miss(("scan-windows",), scan, ("default",)),
    Miss(("narrow-integers",), wide_integers, ("default",)),
    Miss(("narrow-integers", "legalize-to-neuron"), narrow_places, ("default",)),
    Miss(("tile", "allocate-memory"), state, ("default", "state", "state")),
    Miss(("legalize-to-neuron",), reduced_edges),
)


def near_miss(rng: np.random.Generator) -> tuple[Program, str, str]:
    """A program, the mode to try it in, and what it is: rule, change and place."""
    miss = MISSES[int(rng.integers(len(MISSES)))]
    change = str(rng.choice(list(CHANGES)))
    seed = int(rng.integers(2**31))
    unchanged = Pattern(np.random.default_rng(seed), -1, change)
    miss.body(unchanged)
    place = int(rng.integers(max(unchanged.count, 1)))
    pattern = Pattern(np.random.default_rng(seed), place, change)
    results = dict.fromkeys([*miss.body(pattern), *pattern.also])
    mode = str(rng.choice(miss.modes))
    name = f"{miss.rules[0]}: {change} at place {place}"
    return pattern.program(*results), mode, name
