"""A program as straight-line blocks and the control flow between them.

Every block is a program of its own until it is linked: its own module, tiles, memory on chip and
schedule. What goes from one to another lies in *places*, tensors in device memory. See
docs/design/0016-control-flow.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from axonc.passes.base import Pass, State

PLACE_PREFIX = "place:"
"""What names of places begin with."""

MADE = ":made"
"""What the name of a place ends with as the result of a block that writes it."""


@dataclass(frozen=True)
class Block:
    """Runs once. number: of its state in `BlocksState.states`."""

    number: int

    def __str__(self) -> str:
        return f"block {self.number}"


@dataclass(frozen=True)
class Loop:
    """The body runs `count` times."""

    count: int
    body: tuple[Node, ...]

    def __str__(self) -> str:
        return f"{self.count} times: {{{text_of(self.body)}}}"


@dataclass(frozen=True)
class While:
    """The body runs as long as the block before it, or the last block of the body, has handed
    another number than 0 to the sequencers."""

    body: tuple[Node, ...]

    def __str__(self) -> str:
        return f"while: {{{text_of(self.body)}}}"


@dataclass(frozen=True)
class Case:
    """Branch k runs if the block before has handed number `values[k]` to the sequencers, the last
    branch for all other numbers."""

    values: tuple[int, ...]
    branches: tuple[tuple[Node, ...], ...]

    def __str__(self) -> str:
        names = [*map(str, self.values), "else"]
        parts = zip(names, self.branches, strict=True)
        return "case: " + " ".join(f"{name} {{{text_of(nodes)}}}" for name, nodes in parts)


Node = Block | Loop | While | Case


def text_of(nodes: Sequence[Node]) -> str:
    """The structure on one line."""
    return "; ".join(map(str, nodes))


@dataclass
class BlocksState:
    """The states of all blocks, and how they follow one another. Passes are applied to each block
    by itself, but those that say `of_all_blocks`."""

    nodes: tuple[Node, ...]
    states: list[State]

    def mapped(self, item: Pass) -> tuple[State, bool]:
        """The state after a pass over every block."""
        done = [item.run_on(state) for state in self.states]
        return BlocksState(self.nodes, [s for s, _ in done]), any(c for _, c in done)

    def print(self) -> str:
        return self._text(state.print for state in self.states)

    def _text(self, parts: Iterator[Callable[[], str]]) -> str:
        blocks = [f"// ---- block {n}\n{part()}" for n, part in enumerate(parts)]
        return "\n".join([f"// {text_of(self.nodes)}", *blocks])

    def verify(self) -> None:
        """Raises as the states of the blocks do."""
        for state in self.states:
            state.verify()

    def fingerprint(self) -> bytes:
        digest = hashlib.sha256(text_of(self.nodes).encode())
        for state in self.states:
            digest.update(state.fingerprint())
        return digest.digest()

    def snapshot(self) -> Callable[[], str]:
        copies = [state.snapshot() for state in self.states]
        return lambda: self._text(iter(copies))

    def targets(self, anchor: str) -> list[Any]:
        return [target for state in self.states for target in state.targets(anchor)]


def run_pass(item: Pass, state: State) -> tuple[State, bool]:
    """The state after a pass, and whether anything changed."""
    if isinstance(state, BlocksState) and not getattr(item, "of_all_blocks", False):
        after, changed = state.mapped(item)
        same = isinstance(after, BlocksState) and all(
            a is b for a, b in zip(after.states, state.states, strict=True)
        )
        return (state if same else after), changed
    return item.run_on(state)
