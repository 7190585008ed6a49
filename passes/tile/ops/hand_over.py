"""How an iteration of a repeat hands its results to the next one, without copies where possible.

A carried value has a buffer of its own, its *slot*. A result that is made only after the slot has
been read for the last time can be made in the slot: then nothing is copied, and the slot's bytes
are free in between (`Buffer.renewed`).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Buffer, TileOp, View, mapped_views
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import cast


def hand_over(
    builder: KernelBuilder, first: int, slot: Storage, source: Storage, slots: Set[Buffer]
) -> bool:
    """slot = source, at the end of an iteration whose operations begin with number `first`. Returns
    whether the buffer of `source` is the slot's now. slots: of all carried values, which none of
    them may give up."""
    # Made there or copied last, the slot is written after all that reads what it held.
    slot.buffer.renewed = True
    is_free = source.buffer not in slots and _fits(slot, source)
    if is_free and _make_in_slot(builder.program.ops, first, slot, source):
        return True
    cast(builder, slot, source)
    return False


def _make_in_slot(ops: list[TileOp], first: int, slot: Storage, source: Storage) -> bool:
    """Let operations write `slot` where they write `source`, if nothing they read is lost by it,
    and all of `source` is made in this iteration: what was made before the repeat is not there."""
    made = _uses(ops, 0, source.buffer)
    if not made or made[0] < first or made[0] <= max(_uses(ops, first, slot.buffer), default=-1):
        return False

    def in_slot(view: View) -> View:
        return replace(view, buffer=slot.buffer) if view.buffer is source.buffer else view

    for number in made:
        ops[number] = mapped_views(ops[number], in_slot)
    return True


def _fits(slot: Storage, source: Storage) -> bool:
    """Whether the source could lie in the slot as it is."""
    a, b = slot.buffer, source.buffer
    same_room = (a.memory, a.partitions, a.partition_bytes, a.pool) == (
        b.memory, b.partitions, b.partition_bytes, b.pool
    )  # fmt: skip
    return same_room and replace(source, buffer=a) == slot


def _uses(ops: list[TileOp], first: int, buffer: Buffer) -> list[int]:
    """The operations from `first` on that touch `buffer`."""
    return [
        number
        for number in range(first, len(ops))
        if any(view.buffer is buffer for _, view in ops[number].accesses())
    ]
