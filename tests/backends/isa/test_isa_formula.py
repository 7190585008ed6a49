"""The printed formula of every cost, read and computed by itself, gives what the entry computes."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest

from axonc.backends.encoding.examples import example_instructions
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.access_pattern import Access, HbmAccess, Memory, TileAccess
from axonc.backends.isa.formula import as_term, choose, counted, field_is, largest, smallest
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.random_instructions import random_field
from axonc.backends.isa.spec import Action, InstructionSpec, OperandSpec
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets import TARGETS

INF2 = TARGETS["inf2"]
FAST_DTYPES = {"bf16"}
FAST_OPS = ("add", "subtract", "multiply", "max")
LIKELY = {"op": FAST_OPS, "op0": FAST_OPS, "op1": FAST_OPS, "value_bits": (0, 1)}
"""Types and field values with which conditions of formulas hold, tried more often than others."""

NAMES = r"\w+(?:, (?!or )\w+)*(?: (?:and|or) \w+)?"
VALUES = r"\w+(?:, (?!or )\w+)*(?: or \w+)?"
CLAUSE = re.compile(
    rf"(?P<names>{NAMES}) (?:(?P<psum>is in PSUM)|(?P<stride>have unit stride)"
    rf"|(?P<even>has an even size)|(?P<present>is present)|(?:is|are) (?P<values>{VALUES}))"
    r"(?P<join>, or | and |$)"
)


def words(text: str) -> list[str]:
    return re.split(r", | and | or ", text)


def clause_holds(clause: re.Match[str], made: Instruction) -> bool:
    names = words(clause["names"])
    if names[0] in made.spec.field_index:
        return str(made.field(names[0])).lower() in words(clause["values"])
    accesses = [made.operand(name) for name in names]
    if clause["present"]:
        return accesses[0] is not None
    tiles = [a for a in accesses if isinstance(a, TileAccess)]
    assert len(tiles) == len(names)
    if clause["psum"]:
        return any(tile.memory is Memory.PSUM for tile in tiles)
    if clause["stride"]:
        return all(tile.dims[-1][0] == 1 or tile.elements_per_partition == 1 for tile in tiles)
    if clause["even"]:
        return tiles[0].elements_per_partition % 2 == 0
    return all(tile.dtype.name in words(clause["values"]) for tile in tiles)


def condition_holds(text: str, made: Instruction) -> bool:
    """`a and b, or c and d`; every clause of it has to be understood."""
    position, alternatives = 0, [True]
    while position < len(text):
        clause = CLAUSE.match(text, position)
        assert clause is not None, f"not understood: {text[position:]}"
        alternatives[-1] &= clause_holds(clause, made)
        position = clause.end()
        if clause["join"] == ", or ":
            alternatives.append(True)
    return any(alternatives)


def letter_value(meaning: str, made: Instruction) -> int:
    """`elements per partition of src`, `bytes per element of src`, or a field."""
    what, _, name = meaning.rpartition(" of ")
    if not what:
        return made.integer(name)
    access = made.operand(name)
    assert isinstance(access, TileAccess)
    return {
        "elements per partition": access.elements_per_partition,
        "bytes per element": access.dtype.size_bytes,
    }[what]


def computed(text: str, made: Instruction) -> float:
    """What the formula comes to for the instruction."""
    text = re.sub(
        r" if ([^()]*), else ", lambda m: f" if {condition_holds(m[1], made)} else ", text
    )
    letters = {
        letter: letter_value(meaning, made) for letter, meaning in (made.spec.cost.interval.symbols)
    }
    return eval(text, {"max": max, "min": min, **letters})  # noqa: S307 - our own text


def access(rng: random.Random, operand: OperandSpec, example: Access | None) -> Access | None:
    """Another size, type and memory; unit stride, or a small one."""
    if example is None or (operand.optional and rng.random() < 0.5):
        return None
    dtypes = operand.dtypes if rng.random() < 0.3 else FAST_DTYPES & set(operand.dtypes)
    dtype = DTYPES[rng.choice(sorted(dtypes or operand.dtypes))]
    if isinstance(example, HbmAccess):
        return replace(example, dtype=dtype)
    dims = ((rng.choice((1, 1, 2)), rng.choice((1, 3, 64, 65, 512))),)
    memory = rng.choice(operand.memories)
    if memory is Memory.HBM:
        return example
    return TileAccess(memory, dtype, 0, example.num_partitions, 0, dims)


def random_instruction(rng: random.Random, spec: InstructionSpec) -> Instruction:
    example = example_instructions()[spec.mnemonic]
    pairs = zip(spec.operands, example.operands, strict=True)
    fields = {
        field.name: rng.choice(LIKELY[field.name])
        if field.name in LIKELY and rng.random() < 0.8 and spec.action is Action.COMPUTE
        else random_field(rng, field)
        for field in spec.fields
    }
    if "elements_per_index" in fields:
        fields["elements_per_index"] = rng.choice((1, 2, 4, 8, 16, 32))
    operands = tuple(access(rng, operand, found) for operand, found in pairs)
    return Instruction(spec, rng.choice(spec.engines), operands, tuple(fields.values()))


@pytest.mark.parametrize("spec", list(INSTRUCTIONS), ids=lambda s: s.mnemonic)
def test_the_printed_formula_is_the_one_that_is_computed(spec: InstructionSpec) -> None:
    rng = random.Random(spec.opcode)
    for _ in range(400):
        made = random_instruction(rng, spec)
        text = spec.cost.interval.text(made.engine, INF2)
        assert spec.cost.interval.value(made, INF2) == computed(text, made), (text, made)


def test_both_branches_of_every_condition_are_tried() -> None:
    rng = random.Random(1)
    for spec in INSTRUCTIONS:
        usual = spec.cost.interval.text(spec.engines[0], INF2)
        for condition in re.findall(r" if ([^()]*), else ", usual):
            cases = [random_instruction(rng, spec) for _ in range(4000)]
            assert {condition_holds(condition, made) for made in cases} == {True, False}, condition


def test_parentheses_stand_where_they_are_needed() -> None:
    nop = example_instructions()["iota"]
    a, b = counted("a", "", lambda i: 3), counted("b", "", lambda i: 5)
    terms = {
        "a + b * 2": a + b * 2,
        "(a + b) * 2": (a + b) * 2,
        "a / (b / 2)": a / (b / 2),
        "a / b / 2": a / b / 2,
        "2 * max(a, b + 1)": 2 * largest(a, b + 1),
        "1 / min(a, 0.5)": 1 / smallest(a, 0.5),
        "a * (b if offset is 1, else 7)": a * choose(field_is("offset", 1), b, 7),
    }
    for text, term in terms.items():
        assert term.text(nop.engine, INF2) == text
    assert [t.value(nop, INF2) for t in terms.values()] == [13, 16, 1.2, 0.3, 12, 2, 21]
    assert as_term(64).text(nop.engine, INF2) == "64"
