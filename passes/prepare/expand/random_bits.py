"""The bit generators of StableHLO, Threefry2x32 and Philox4x32, as StableHLO on unsigned integers.

Both are functions of a counter and a key; the counter of an element is its place plus that of the
state (J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011). How the numbers of a
tensor are numbered, and how many a state has given away, is what XLA does, so that the same state
gives the same bits: StableHLO leaves it open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch_mlir import ir

from axonc.passes.prepare import words

Words: TypeAlias = "tuple[ir.Value, ...]"
"""ui32 tensors of one shape (scalars for keys), lowest first."""

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
"""Of Threefry2x32."""

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""Of Philox4x32: what words are multiplied with, and what the key grows by in each round."""

PHILOX_ROUNDS = 10
WORD_BITS = 32


def u64() -> ir.Type:
    return ir.IntegerType.get_unsigned(64)


def shaped(value: ir.Value, like: ir.Value) -> ir.Value:
    """A scalar in the shape of `like`."""
    return words.broadcast(value, like.type.shape, ()) if like.type.rank else value


# ---- Threefry ------------------------------------------------------------------------------


def threefry(key: Words, counter: Words) -> Words:
    """Threefry2x32 of 20 rounds. key: two scalars; counter: two tensors."""
    first, second = (shaped(k, counter[0]) for k in key)
    keys = (first, second, words.differing(words.differing(first, second), PARITY))
    x, y = words.add(counter[0], first), words.add(counter[1], second)
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            x = words.add(x, y)
            y = words.differing(x, _rotated(y, distance))
        x = words.add(x, keys[(group + 1) % 3])
        y = words.add(words.add(y, keys[(group + 2) % 3]), group + 1)
    return x, y


def _rotated(x: ir.Value, distance: int) -> ir.Value:
    high = words.shift_left(x, distance)
    return words.either(high, words.shift_right(x, WORD_BITS - distance))


# ---- Philox --------------------------------------------------------------------------------


def philox(key: Words, counter: Words) -> Words:
    """Philox4x32 of 10 rounds. key: two scalars; counter: four tensors."""
    x = counter
    for number in range(PHILOX_ROUNDS):
        grown = (
            words.add(k, weyl * number % 2**WORD_BITS) for k, weyl in zip(key, WEYL, strict=True)
        )
        first, second = (shaped(k, x[0]) for k in grown)
        low0, high0 = _product(x[0], MULTIPLIERS[0])
        low1, high1 = _product(x[2], MULTIPLIERS[1])
        mixed = (words.differing(words.differing(high1, x[1]), first), low1)
        x = (*mixed, words.differing(words.differing(high0, x[3]), second), low0)
    return x


def _product(x: ir.Value, factor: int) -> tuple[ir.Value, ir.Value]:
    """Low and high word of x times a number of 32 bits."""
    return halves(words.multiply(words.convert(x, u64()), factor))


# ---- states --------------------------------------------------------------------------------


def halves(x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Low and high word of a ui64."""
    high = words.shift_right(x, WORD_BITS)
    return words.convert(x, words.u32()), words.convert(high, words.u32())


def joined(low: ir.Value, high: ir.Value) -> ir.Value:
    """The ui64 of two words."""
    above = words.shift_left(words.convert(high, u64()), WORD_BITS)
    return words.either(words.convert(low, u64()), above)


def counted(start: ir.Value, shape: Sequence[int]) -> ir.Value:
    """start (a ui64), start + 1, ... in row-major order."""
    kind = ir.RankedTensorType.get([_size(shape)], u64())
    number = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 0)
    places = words.create("iota", (), kind, {"iota_dimension": number})
    return words.reshape(words.add(places, shaped(start, places)), shape)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def threefry_bits(
    key: ir.Value, start: ir.Value, shape: Sequence[int], width: int
) -> tuple[ir.Value, ir.Value]:
    """Unsigned numbers of `width` bits, and the next start. key, start: scalar ui64."""
    if width > WORD_BITS:
        pair = threefry(halves(key), halves(counted(start, shape)))
        return joined(*pair), words.add(start, _size(shape))
    half, axis = _half_shape(shape)
    pair = threefry(halves(key), halves(counted(start, half)))
    columns = [words.reshape(x, [*half[: axis + 1], 1, *half[axis + 1 :]]) for x in pair]
    both = words.concatenate(columns, axis + 1)
    even = [2 * n if d == axis else n for d, n in enumerate(half)]
    whole = words.reshape(both, even)
    if shape:
        whole = words.slice_along(whole, axis, 0, shape[axis])
    found = words.reshape(whole if shape else words.slice_along(whole, 0, 0, 1), shape)
    return words.convert(found, _unsigned(width)), words.add(start, _size(half))


def _half_shape(shape: Sequence[int]) -> tuple[list[int], int]:
    """The shape of half of the numbers, rounded up, and the dim that is halved: the first even
    one, else the first that is longest."""
    if not shape:
        return [1], 0
    even = [d for d, n in enumerate(shape) if n % 2 == 0]
    axis = even[0] if even else list(shape).index(max(shape))
    return [-(-n // 2) if d == axis else n for d, n in enumerate(shape)], axis


def _unsigned(width: int) -> ir.Type:
    return ir.IntegerType.get_unsigned(width)


def philox_bits(
    key: ir.Value, state: tuple[ir.Value, ir.Value], shape: Sequence[int], width: int
) -> tuple[ir.Value, tuple[ir.Value, ir.Value]]:
    """Unsigned numbers of `width` bits, and the next state. key: scalar ui64; state: the two halves
    of a number of 128 bits, which counts blocks of four words."""
    size = _size(shape)
    parts = size * max(1, width // WORD_BITS)
    blocks = -(-parts // 4)
    low = counted(state[0], [blocks])
    high = _carried(shaped(state[0], low), low, shaped(state[1], low))
    made = philox(halves(key), (*halves(low), *halves(high)))
    if width > WORD_BITS:
        made = (joined(made[0], made[1]), joined(made[2], made[3]))
    columns = [words.reshape(x, [blocks, 1]) for x in made]
    numbers = words.reshape(words.concatenate(columns, 1), [blocks * len(columns)])
    numbers = words.reshape(words.slice_along(numbers, 0, 0, size), shape)
    after = words.add(state[0], blocks)
    kept = words.convert(numbers, _unsigned(width))
    return kept, (after, _carried(state[0], after, state[1]))


def _carried(before: ir.Value, after: ir.Value, high: ir.Value) -> ir.Value:
    """The high half of a sum whose low half was `before` and is `after`."""
    return words.select(words.compare(after, "LT", before), words.add(high, 1), high)
