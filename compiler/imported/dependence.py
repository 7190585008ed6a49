"""Which arguments of a function its results may depend on.

Never too few: an operation depends on all its operands and on whatever its regions read from
outside. Perhaps too many: a call or a loop is one operation, so each of its results depends on
everything that goes in.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxlib.mlir import ir


def arguments_read(main: ir.OpView) -> list[frozenset[int]]:
    """For each result of `main`, the numbers of the arguments it may depend on."""
    block = main.entry_block
    masks = {argument: 1 << number for number, argument in enumerate(block.arguments)}
    for op in block.operations:
        mask = 0
        for value in _values_read(op.operation):
            mask |= masks.get(value, 0)
        for result in op.operation.results:
            masks[result] = mask
    count = len(block.arguments)
    return [
        frozenset(n for n in range(count) if masks.get(value, 0) >> n & 1)
        for value in returned_values(main)
    ]


def returned_values(main: ir.OpView) -> list[ir.Value]:
    """What `main` returns, in order; equal entries are one value."""
    *_, last = main.entry_block.operations
    return list(last.operation.operands)


def _values_read(op: ir.Operation) -> Iterator[ir.Value]:
    yield from op.operands
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _values_read(inner.operation)
