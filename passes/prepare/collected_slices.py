"""A tensor that an unrolled loop writes part by part is those parts, concatenated."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.attributes import integer
from axonc.passes.graph.known_scalars import Known, known_scalar
from axonc.passes.prepare.stacked_updates import updated_as_a_whole


def concatenated(history: Sequence[ir.Value], known: Known) -> ir.Value:
    """The last of `history`, each of which is the one before with a slice updated; as their
    concatenation if the slices fill the tensor along one dim, and the tensors between have no
    other uses."""
    parts = [_update(a, b) for a, b in zip(history, history[1:], strict=False)]
    last = history[-1]
    writers = [p for p in parts if p is not None]
    if len(writers) < 2 or len(writers) < len(parts) or not _read_once(history[1:-1]):
        return last
    dim = _dim(last, writers[0].operands[1])
    if dim is None:
        return last
    by_start = {_start(op, dim, known): op.operands[1] for op in writers}
    size = writers[0].operands[1].type.shape[dim]
    if by_start.keys() != set(range(0, last.type.shape[dim], size)):
        return last
    if size == 1 and len(by_start) == len(writers):
        places = {start: value for start, value in by_start.items() if start is not None}
        whole = updated_as_a_whole(places, dim, known)
        if whole is not None:
            return whole
    values = [by_start[start] for start in range(0, last.type.shape[dim], size)]
    attributes = {"dimension": ir.IntegerAttr.get(integer(dim).type, dim)}
    made = ir.Operation.create("stablehlo.concatenate", [last.type], values, attributes)
    return made.results[0]


def _update(before: ir.Value, after: ir.Value) -> ir.Operation | None:
    """The dynamic_update_slice that makes `after` from `before`."""
    if isinstance(after.owner, ir.Block):
        return None
    op = after.owner.operation
    is_update = op.name == "stablehlo.dynamic_update_slice" and op.operands[0] == before
    return op if is_update else None


def _read_once(values: Sequence[ir.Value]) -> bool:
    return all(len(list(value.uses)) == 1 for value in values)


def _start(op: ir.Operation, dim: int, known: Known) -> int | None:
    """Where it writes along `dim`, the only one in which it could write elsewhere than at 0."""
    number = known_scalar(op.operands[2 + dim], known)
    return None if number is None else int(number)


def _dim(whole: ir.Value, part: ir.Value) -> int | None:
    """The only dim in which they differ in size."""
    sizes = zip(whole.type.shape, part.type.shape, strict=True)
    found = [dim for dim, (a, b) in enumerate(sizes) if a != b]
    return found[0] if len(found) == 1 else None
