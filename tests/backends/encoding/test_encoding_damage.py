"""Damaged streams: an error with the byte offset and the reason, or a stream of the same bytes."""

import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from axonc.backends.encoding import decode_stream, encode_stream
from axonc.backends.encoding.examples import example_instructions
from axonc.backends.encoding.layout import Layout
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.random_instructions import random_instruction
from axonc.diagnostics import ProgramFormatError

EXAMPLES = example_instructions()
NOP = encode_stream([EXAMPLES["halt"]])


def damaged(mnemonic: str, **changes: int) -> bytes:
    """A nop, then the example with some parts (by the names of the layout) changed."""
    data = bytearray(encode_stream([EXAMPLES[mnemonic]]))
    ranges = {part.name: part for part in Layout(INSTRUCTIONS[mnemonic]).bit_ranges()}
    for name, value in changes.items():
        part = ranges[name.replace("__", ".")]
        number = int.from_bytes(data, "little")
        mask = ((1 << part.bits) - 1) << part.first
        data[:] = (number & ~mask | value << part.first).to_bytes(len(data), "little")
    return NOP + bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (damaged("memset", opcode=0xEE), "no instruction has opcode 0xee"),
        (damaged("memset", engine=9), "memset: bad engine code 9"),
        (damaged("memset", present=3), "memset: bad operand mask 0x3"),
        (damaged("memset", present=0), "memset: an absent operand is not zero"),
        (damaged("memset", synchronisation=4), "bad synchronisation flags 0x4"),
        (damaged("memset", wait_value=1), "a wait without its flag"),
        (damaged("memset", signal_semaphore=1), "a signal without its flag"),
        (damaged("memset", dst__dtype=13), "bad element type code 13"),
        (damaged("memset", dst__memory=2), "bad on-chip memory code 2"),
        (damaged("memset", dst__dims=1 << 16), "dims after a dim of size 0"),
        (damaged("memset", reserved=1), "reserved bytes are not zero"),
        (damaged("dma_copy", src__memory=3), "memory code 3"),
        (damaged("dma_copy", src__start_partition=3), "bad partitions or register shift"),
        (damaged("dma_copy", dst__dtype=200), "bad element type code 200"),
        (damaged("dma_copy", indirect=3), "bad code 3 of indirect"),
        (damaged("branch", compare=7), "bad code 7 of compare"),
    ],
)
def test_the_error_names_offset_and_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ProgramFormatError) as error:
        decode_stream(data)
    assert str(error.value).startswith(f"error: byte {len(NOP)} of the stream: ")
    assert reason in str(error.value) and "hint: " in str(error.value)


def test_unused_field_bits_are_refused() -> None:
    layout = Layout(INSTRUCTIONS["multiply_moving"])
    data = bytearray(encode_stream([EXAMPLES["multiply_moving"]]))
    last = layout.bit_ranges()[-1]
    free = last.first + last.bits
    data[free // 8] |= 1 << free % 8
    with pytest.raises(ProgramFormatError, match="unused field bits are set"):
        decode_stream(bytes(data))


def test_every_truncation_is_refused() -> None:
    data = encode_stream([EXAMPLES["halt"], EXAMPLES["tensor_tensor"]])
    for end in range(1, len(data)):
        if end == len(NOP):
            continue
        with pytest.raises(ProgramFormatError, match=f"{min(len(NOP), end // 16 * 16)} of the"):
            decode_stream(data[:end])


def test_the_count_of_locations_must_match() -> None:
    with pytest.raises(ProgramFormatError, match="1 instructions, 2 source locations"):
        decode_stream(NOP, [0, 1])


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_kept(rng: random.Random, place: int, change: int) -> None:
    """Nothing is ignored: a stream that decodes encodes to the same bytes."""
    specs = list(INSTRUCTIONS)
    stream = [random_instruction(rng, rng.choice(specs)) for _ in range(3)]
    data = bytearray(encode_stream(stream))
    data[place % len(data)] ^= change
    try:
        back = decode_stream(bytes(data))
    except ProgramFormatError:
        return
    # a signalling NaN becomes quiet when Python reads it
    floats = [f for i in back for f in i.fields if isinstance(f, float)]
    assume(not any(math.isnan(value) for value in floats))
    assert encode_stream(back) == bytes(data)
