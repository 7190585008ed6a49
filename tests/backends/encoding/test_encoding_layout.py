"""Bit ranges of every layout: inside the instruction, disjoint, and wide enough."""

import pytest

from axonc.backends.encoding.layout import EITHER, HEADER, MEMBER_BITS, TILE, Layout
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.cost_terms import DISPATCH
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec
from axonc.backends.targets import Engine

SPECS = list(INSTRUCTIONS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_no_two_parts_overlap(spec: InstructionSpec) -> None:
    layout = Layout(spec)
    owner: dict[int, str] = {}
    for part in layout.bit_ranges():
        for bit in range(part.first, part.first + part.bits):
            assert bit not in owner, f"{part.name} and {owner[bit]} share bit {bit}"
            owner[bit] = part.name
    assert max(owner) < 8 * layout.size_bytes


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_every_operand_and_field_has_its_place(spec: InstructionSpec) -> None:
    layout = Layout(spec)
    widths = {part.name: part.bits for part in layout.bit_ranges()}
    for field in spec.fields:
        assert widths[field.name] == field.bits
    for operand in spec.operands:
        assert f"{operand.name}.dims" in widths
    assert layout.size_bytes % 8 == 0


def bits(members: tuple) -> int:
    return sum(MEMBER_BITS[code] for _, code, _ in members)


def test_sizes_of_the_parts() -> None:
    assert (bits(HEADER), bits(TILE), bits(EITHER)) == (128, 192, 512)
    assert Layout(INSTRUCTIONS["nop"]).size_bytes == 16
    assert Layout(INSTRUCTIONS["tensor_tensor"]).size_bytes == 16 + 3 * 24 + 8
    assert Layout(INSTRUCTIONS["dma_copy"]).size_bytes == 16 + 2 * 64 + 24 + 8


def test_short_fields_do_not_cross_words() -> None:
    fields = tuple(FieldSpec(f"f{i}", FieldKind.UINT, 24, 0) for i in range(5))
    spec = InstructionSpec("wide", 0xF0, (Engine.SYNC,), DISPATCH, "", "", (), fields=fields)
    layout = Layout(spec)
    assert [(p.word, p.shift) for p in layout.packed] == [(0, 0), (0, 24), (1, 0), (1, 24), (2, 0)]
    assert layout.size_bytes == 16 + 3 * 8
