"""Walking blocks and replacing operations. New operations take the location of the one they
replace: it reaches the instructions, the profiler and error messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch_mlir import ir

from axonc.dialects.neuron.ops import OpClass


def body_of(function: ir.Operation) -> ir.Block:
    """The one block of a function or region operation."""
    return function.regions[0].blocks[0]


def ops_of(block: ir.Block, *kinds: OpClass) -> list[ir.OpView]:
    """The operations of a block that are one of `kinds` (all of them, if none is given), as they
    are now: the block may be changed while the list is read."""
    return [op for op in block.operations if not kinds or isinstance(op, kinds)]


@contextmanager
def in_place_of(op: ir.Operation | ir.OpView) -> Iterator[None]:
    """New operations go before `op` and take its location."""
    with ir.InsertionPoint(op), op.location:
        yield


def replace(op: ir.Operation | ir.OpView, *values: ir.Value) -> None:
    """Every reader of the results of `op` reads `values` instead; `op` goes."""
    redirect(op.results, values)
    op.operation.erase()


def redirect(results: Sequence[ir.Value], values: Sequence[ir.Value]) -> None:
    """Every reader of `results` reads `values` instead; who makes them stays."""
    for old, new in zip(results, values, strict=True):
        old.replace_all_uses_with(new)
