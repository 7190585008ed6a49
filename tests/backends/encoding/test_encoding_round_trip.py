"""Instructions -> bytes -> instructions and -> text -> instructions lose nothing."""

import random

import numpy as np
import pytest
from call_count import calls_in
from hypothesis import given, settings
from hypothesis import strategies as st

from axonc.backends.encoding import decode_stream, disassemble, encode_stream
from axonc.backends.encoding.assembler import assemble, assemble_streams
from axonc.backends.encoding.examples import EXAMPLES, example_instructions
from axonc.backends.isa import INSTRUCTIONS, HbmAccess, Instruction, Memory, TileAccess
from axonc.backends.isa.random_instructions import random_instruction
from axonc.backends.isa.spec import InstructionSpec
from axonc.backends.numerics.dtypes import DTYPES, F32
from axonc.backends.targets import Engine
from axonc.diagnostics import ProgramFormatError

SPECS = list(INSTRUCTIONS)
RANDOMS = st.randoms(use_true_random=False)


def texts(instructions: list[Instruction]) -> list[str]:
    """Comparable form: equal NaNs are equal, and so are their lines."""
    return disassemble(instructions).splitlines()


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
@settings(max_examples=25, deadline=None)
@given(rng=RANDOMS)
def test_bytes_round_trip(spec: InstructionSpec, rng: random.Random) -> None:
    made = random_instruction(rng, spec)
    data = encode_stream([made])
    assert len(data) % 8 == 0
    (back,) = decode_stream(data, [made.location])
    assert (back.operands, back.waits, back.signal) == (made.operands, made.waits, made.signal)
    assert (back.spec, back.engine, back.location) == (made.spec, made.engine, made.location)
    assert texts([back]) == texts([made])
    assert encode_stream([back]) == data


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
@settings(max_examples=15, deadline=None)
@given(rng=RANDOMS)
def test_text_round_trip(spec: InstructionSpec, rng: random.Random) -> None:
    made = random_instruction(rng, spec)
    (back,) = assemble(disassemble([made]))
    assert (back.operands, back.waits, back.signal) == (made.operands, made.waits, made.signal)
    assert (back.spec, back.engine, back.location) == (made.spec, made.engine, made.location)
    assert encode_stream([back]) == encode_stream([made])


def test_a_stream_of_all_instructions_round_trips() -> None:
    rng = random.Random(7)
    stream = [random_instruction(rng, spec) for spec in SPECS for _ in range(20)]
    rng.shuffle(stream)
    locations = np.array([i.location for i in stream], np.int64)
    back = decode_stream(encode_stream(stream), locations)
    assert texts(back) == texts(stream)
    assert encode_stream([]) == b"" and decode_stream(b"") == []


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda d: d.name)
def test_every_element_type_survives(dtype: object) -> None:
    tile = TileAccess(Memory.SBUF, dtype, 96, 32, 0x2FFE0, ((-32768, 65535), (32767, 1)), 63)  # type: ignore[arg-type]
    table = HbmAccess(dtype, 2**35 - 8, ((-(2**31), 2**32 - 1), (2**31 - 1, 1)) + ((0, 1),) * 3, 0)  # type: ignore[arg-type]
    spec = INSTRUCTIONS["dma_copy"]
    made = Instruction(spec, Engine.GPSIMD, (tile, table, None), (15, "min", "skip", "scatter"))
    assert decode_stream(encode_stream([made])) == [made]
    assert assemble(disassemble([made])) == [made]


def test_examples_are_in_the_form_the_disassembler_prints() -> None:
    assert disassemble(example_instructions().values()) == EXAMPLES.lstrip("\n")


def test_streams_are_split_by_engine_in_order() -> None:
    streams = assemble_streams("sync: nop\nvector: nop loc=1\nsync: halt\n# end\n")
    assert [i.spec.mnemonic for i in streams[Engine.SYNC]] == ["nop", "halt"]
    assert [i.location for i in streams[Engine.VECTOR]] == [1]
    assert streams[Engine.TENSOR] == []


def raw(mnemonic: str, fields: tuple, **more: object) -> Instruction:
    return Instruction(INSTRUCTIONS[mnemonic], Engine.SYNC, (), fields, **more)  # type: ignore[arg-type]


def encodable(**changes: object) -> Instruction:
    tile = TileAccess(Memory.SBUF, F32, 0, 128, 0, ((1, 8),))
    access = TileAccess(**{**{n: getattr(tile, n) for n in tile.__slots__}, **changes})
    return Instruction(INSTRUCTIONS["memset"], Engine.VECTOR, (access,), (0,))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (encodable(byte_offset=1 << 24), "byte offset 16777216"),
        (encodable(byte_offset=-4), "byte offset -4"),
        (encodable(dims=((1, 2),) * 5), "5 dims, the encoding has 4"),
        (encodable(dims=((1, 0),)), "a dim of size 0"),
        (encodable(dims=((32768, 2),)), "cannot encode"),
        (encodable(num_partitions=256), "cannot encode"),
        (
            Instruction(INSTRUCTIONS["branch"], Engine.SYNC, (), ("maybe", 0, 0, 0, False, 0)),
            "maybe",
        ),
        (
            Instruction(INSTRUCTIONS["register_move"], Engine.SYNC, (), (64, 0)),
            "does not fit 6 bits",
        ),
        (raw("register_move", (0,)), "1 fields"),
        (
            Instruction(INSTRUCTIONS["nop"], Engine.SYNC, (), (), ((0, 1), (1, 1))),
            "2 attached waits",
        ),
        (
            Instruction(INSTRUCTIONS["memset"], Engine.VECTOR, (HbmAccess(F32, 0, ()),), (0,)),
            "in device memory",
        ),
    ],
)
def test_what_does_not_fit_is_refused(made: Instruction, message: str) -> None:
    with pytest.raises(ProgramFormatError) as error:
        encode_stream([made])
    assert message in str(error.value) and made.spec.mnemonic in str(error.value)


def test_encoding_takes_few_calls_an_instruction() -> None:
    """Programs have 100,000 instructions: 20 us each is the goal."""
    names = ("tensor_tensor", "multiply_moving", "load_stationary", "activation", "dma_copy")
    stream = [example_instructions()[name] for name in names] * 100
    data = encode_stream(stream)
    assert calls_in(encode_stream, stream) < 35 * len(stream)
    assert calls_in(decode_stream, data) < 50 * len(stream)
