"""The instruction entries: complete, consistent with the operator tables, and easy to construct."""

import numpy as np
import pytest

from axonc.backends.encoding.examples import example_instructions
from axonc.backends.isa import (
    INSTRUCTIONS,
    HbmAccess,
    Memory,
    TileAccess,
    accesses_read,
    accesses_written,
    instruction,
    verify,
)
from axonc.backends.isa.activation_functions import ACTIVATION_FUNCTIONS, TABLE_SETS
from axonc.backends.isa.alu import ALU_OPS
from axonc.backends.isa.rules import COMMON_RULES
from axonc.backends.isa.spec import Action, FieldKind, InstructionSpec, Registry
from axonc.backends.isa.vector import mask_words, shuffle_mask
from axonc.backends.numerics.dtypes import BF16, DTYPES, F32, U32
from axonc.backends.targets import TARGETS, Engine
from axonc.diagnostics import VerifyError

SPECS = list(INSTRUCTIONS)
INF2 = TARGETS["inf2"]
SEMAPHORE_ACTIONS = (Action.WAIT, Action.SET_SEMAPHORE, Action.ADD_SEMAPHORE)


def names_of(spec: InstructionSpec) -> tuple[str, str]:
    operands = " ".join(o.name + "?" * o.optional for o in spec.operands)
    return operands, " ".join(f.name for f in spec.fields)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_every_entry_is_complete(spec: InstructionSpec) -> None:
    assert spec.summary and spec.semantics and spec.sources
    assert 0 < spec.opcode < 256 and spec.engines
    assert len(spec.operands) <= 8, "one presence bit each"
    names = [*spec.operand_index, *spec.field_index]
    assert len(names) == len(set(names)), "assembly and dialect name operands and fields alike"
    for operand in spec.operands:
        assert operand.memories and operand.dtypes and set(operand.dtypes) <= set(DTYPES)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_field_defaults_and_widths_hold_their_values(spec: InstructionSpec) -> None:
    for field in spec.fields:
        if field.kind is FieldKind.ENUM:
            assert field.default in field.choices and len(field.choices) <= 1 << field.bits
            assert len(set(field.choices)) == len(field.choices)
        else:
            assert not field.choices
        assert 1 <= field.bits <= 32


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_rule_numbers_are_unique_and_above_the_common_ones(spec: InstructionSpec) -> None:
    numbers = [int(rule.number.removeprefix("C")) for rule in spec.rules]
    assert len(numbers) == len(set(numbers))
    assert all(number >= 20 for number in numbers)
    assert all(int(number[1:]) < 20 for number in COMMON_RULES)
    assert all(rule.text for rule in spec.rules)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_the_example_of_every_entry_is_legal_and_has_a_cost(spec: InstructionSpec) -> None:
    example = example_instructions()[spec.mnemonic]
    verify(example, INF2)
    assert spec.cost.cycles(example, INF2) > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_actions_have_the_fields_they_need(spec: InstructionSpec) -> None:
    assert (spec.exchange is not None) == (spec.action is Action.COLLECTIVE)
    needed = {
        Action.TRANSFER: {"queue", "op", "indirect"},
        Action.COLLECTIVE: {"group"},
        Action.LOAD_TABLE: {"table"},
        Action.BRANCH: {"target"},
        **dict.fromkeys(SEMAPHORE_ACTIONS, {"semaphore", "value"}),
    }
    assert needed.get(spec.action, set()) <= set(spec.field_index)
    if spec.action.is_on_data_path:
        assert spec.touches_memory


def test_codes_in_the_encoding_are_those_of_the_operator_tables() -> None:
    assert [op.code for op in ALU_OPS] == list(range(len(ALU_OPS)))
    assert [f.code for f in ACTIVATION_FUNCTIONS] == list(range(len(ACTIVATION_FUNCTIONS)))
    op = INSTRUCTIONS["tensor_tensor"].fields[0]
    func = INSTRUCTIONS["activation"].fields[0]
    assert op.choices == tuple(o.name for o in ALU_OPS)
    assert func.choices == tuple(f.name for f in ACTIVATION_FUNCTIONS)
    assert INSTRUCTIONS["act_table_load"].fields[0].choices == TABLE_SETS


@pytest.mark.parametrize(
    ("mnemonic", "operands", "fields"),
    [
        ("load_stationary", "stationary", ""),
        ("multiply_moving", "dst moving", "accumulate is_transpose"),
        ("tensor_tensor", "dst src0 src1", "op"),
        ("tensor_scalar", "dst src scalar0? scalar1?", "op0 imm0 reverse0 op1 imm1 reverse1"),
        ("scalar_tensor_tensor", "dst src0 scalar? src1", "op0 imm reverse0 op1 reverse1"),
        ("tensor_reduce", "dst src", "op num_axes negate"),
        ("tensor_tensor_scan", "dst src0 src1 initial?", "op0 op1 imm_initial"),
        ("activation", "dst src bias? scale_tile? accumulate?", "func scale"),
        ("memset", "dst", "value_bits"),
        ("dma_copy", "dst src index?", "queue op oob indirect"),
        ("semaphore_wait", "", "semaphore value"),
        ("branch", "", "compare a b imm use_imm target"),
    ],
)
def test_names_that_other_stages_use(mnemonic: str, operands: str, fields: str) -> None:
    assert names_of(INSTRUCTIONS[mnemonic]) == (operands, fields)


def test_a_mnemonic_or_opcode_cannot_be_claimed_twice() -> None:
    registry = Registry()
    registry.add(INSTRUCTIONS["nop"])
    with pytest.raises(ValueError, match="nop and nop both claim nop"):
        registry.add(INSTRUCTIONS["nop"])
    assert "nop" in registry and registry.by_opcode(INSTRUCTIONS["nop"].opcode).mnemonic == "nop"


def tile(memory: Memory = Memory.SBUF, size: int = 8) -> TileAccess:
    return TileAccess(memory, F32, 0, 128, 0, ((1, size),))


def test_instruction_fills_in_defaults_and_the_first_legal_engine() -> None:
    made = instruction("tensor_scalar", operands={"dst": tile(), "src": tile()})
    assert made.engine is Engine.VECTOR
    assert made.operand("scalar0") is None
    assert made.field("op0") == "add" and made.field("op1") == "bypass"
    assert instruction("halt").engine is Engine.SYNC


def test_instruction_keeps_fields_as_the_encoding_does() -> None:
    made = instruction(
        "activation", operands={"dst": tile(), "src": tile()}, fields={"scale": np.float64(0.1)}
    )
    assert made.field("scale") == float(np.float32(0.1)) != 0.1
    moved = instruction("register_move", fields={"dst": np.int64(3)})
    assert type(moved.field("dst")) is int
    matmul = instruction(
        "multiply_moving",
        operands={"dst": tile(Memory.PSUM), "moving": tile()},
        fields={"accumulate": 1},
    )
    assert matmul.field("accumulate") is True


@pytest.mark.parametrize(
    ("mnemonic", "operands", "fields", "message"),
    [
        ("tensor_tenzor", {}, {}, "did you mean 'tensor_tensor'?"),
        ("reciprocal", {"dst": tile(), "source": tile()}, {}, "it has dst, src"),
        ("reciprocal", {"dst": tile()}, {}, "operand 'src' is missing"),
        ("memset", {"dst": tile()}, {"values_bits": 1}, "did you mean 'value_bits'?"),
        ("halt", {"dst": tile()}, {}, "it has none"),
    ],
)
def test_instruction_says_what_would_have_been_right(
    mnemonic: str, operands: dict, fields: dict, message: str
) -> None:
    with pytest.raises(VerifyError) as error:
        instruction(mnemonic, operands=operands, fields=fields)
    assert message in str(error.value)


def test_instruction_refuses_a_float_beyond_binary32() -> None:
    fields = {"scale": 1e39}
    with pytest.raises(VerifyError, match=r"'scale' = 1e\+39 is beyond binary32"):
        instruction("activation", operands={"dst": tile(), "src": tile()}, fields=fields)
    infinite = instruction(
        "activation", operands={"dst": tile(), "src": tile()}, fields={"scale": float("-inf")}
    )
    assert infinite.field("scale") == float("-inf")


def matmul(accumulate: bool) -> tuple[object, object, list, list]:
    dst, moving = tile(Memory.PSUM), tile()
    made = instruction(
        "multiply_moving",
        operands={"dst": dst, "moving": moving},
        fields={"accumulate": accumulate},
    )
    return dst, moving, accesses_read(made), accesses_written(made)


def test_an_accumulating_matmul_also_reads_its_destination() -> None:
    dst, moving, read, written = matmul(accumulate=True)
    assert read == [dst, moving] and written == [dst]
    dst, moving, read, written = matmul(accumulate=False)
    assert read == [moving] and written == [dst]


def test_effects_follow_roles_and_dma_operators() -> None:
    masked = example_instructions()["tensor_copy_predicated"]
    assert masked.operand("dst") in accesses_read(masked)
    assert accesses_written(masked) == [masked.operand("dst")]
    table, rows = HbmAccess(F32, 0, ((1, 128 * 8),)), tile()
    copy = instruction("dma_copy", operands={"dst": table, "src": rows})
    added = instruction("dma_copy", operands={"dst": table, "src": rows}, fields={"op": "add"})
    assert accesses_read(copy) == [rows] and accesses_read(added) == [table, rows]
    index = TileAccess(Memory.SBUF, U32, 0, 128, 64, ((1, 1),))
    gather = instruction("dma_copy", operands={"dst": rows, "src": table, "index": index})
    assert accesses_read(gather) == [table, index]


def test_shuffle_masks_are_packed_lowest_byte_first() -> None:
    mask = [*range(31, -1, -1)]
    words = mask_words(mask)
    assert words["mask0"] == 0x1C1D1E1F
    bf16 = TileAccess(Memory.SBUF, BF16, 0, 32, 0, ((1, 4),))
    made = instruction("stream_shuffle", operands={"dst": bf16, "src": bf16}, fields=words)
    assert list(shuffle_mask(made)) == mask
    with pytest.raises(ValueError, match="32 entries, not 3"):
        mask_words([1, 2, 3])
