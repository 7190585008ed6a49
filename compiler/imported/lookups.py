"""Operations that look something up by an index the user gives: embeddings, positions.

StableHLO limits such an index to the table, in silence, as XLA does; checked mode tells where that
happened. What it is told by is a name in the location of the operation, which stays with the
instructions made from it. A lookup whose program itself selects between what was found and
something else, by a comparison of the same indices, is left alone: it means to look outside.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxlib.mlir import ir

from axonc.diagnostics import LOOKUP
from axonc.imported.stablehlo_module import walk

LOOKUPS = ("stablehlo.gather", "stablehlo.torch_index_select")

_SELECTING = ("stablehlo.select", "stablehlo.multiply", "func.call")
"""What may take a mask: also as a factor, or in a function of its own (`jnp.where`)."""

_MAX_USERS = 64
"""Operations looked at after a lookup, until one selects."""

_MAX_SOURCES = 256
"""Operations looked at before one."""


def mark_lookups(module: ir.Module) -> None:
    """Name the lookups of the module, in place."""
    for op in list(walk(module)):
        if op.name in LOOKUPS and not _is_guarded(op):
            op.location = _marked(op.location)


def _marked(location: ir.Location) -> ir.Location:
    """The outermost name stays the one that users see."""
    if isinstance(location, ir.NameLoc):
        inner = ir.Location.name(LOOKUP, location.child_loc)
        return ir.Location.name(location.name_str, inner)
    return ir.Location.name(LOOKUP, location)


def _is_guarded(op: ir.Operation) -> bool:
    sources = _sources(op.operands[1])
    return any(
        user.name in _SELECTING and any(_compares(v, sources) for v in user.operands)
        for user in _users(op)
    )


def _users(op: ir.Operation) -> Iterator[ir.Operation]:
    """The users of its result, then of their results, nearest first."""
    queue, seen = [op], 0
    while queue and seen < _MAX_USERS:
        for result in queue.pop(0).results:
            for use in result.uses:
                seen += 1
                queue.append(use.owner.operation)
                yield use.owner.operation


def _compares(value: ir.Value, sources: set[ir.Value]) -> bool:
    """Whether it comes from a comparison of one of the sources."""
    found = _operations_before(value)
    return any(
        op.name == "stablehlo.compare" and any(v in sources for v in op.operands) for op in found
    )


def _sources(value: ir.Value) -> set[ir.Value]:
    """The value and what it is made from, constants apart."""
    found = {value}
    for op in _operations_before(value):
        if op.operands:
            found.update((*op.operands, *op.results))
    return {v for v in found if not _is_constant(_owner(v))}


def _is_constant(op: ir.Operation | None) -> bool:
    return op is not None and not op.operands


def _operations_before(value: ir.Value) -> Iterator[ir.Operation]:
    queue, seen = [value], set[ir.Operation]()
    while queue and len(seen) < _MAX_SOURCES:
        op = _owner(queue.pop(0))
        if op is not None and op not in seen:
            seen.add(op)
            yield op
            queue.extend(op.operands)


def _owner(value: ir.Value) -> ir.Operation | None:
    """None for an argument."""
    owner = value.owner
    return None if isinstance(owner, ir.Block) else owner
