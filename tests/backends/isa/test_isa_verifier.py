"""Each numbered rule refuses something and lets its nearest legal neighbour pass.

The cases are assembly lines; a test checks that every rule has one.
"""

from dataclasses import replace

import pytest
from call_count import calls_in

from axonc.backends.encoding.assembler import assemble
from axonc.backends.encoding.examples import example_instructions
from axonc.backends.isa import INSTRUCTIONS, Instruction, TileAccess, Verifier, verify
from axonc.backends.isa.rules import COMMON_RULES
from axonc.backends.isa.verifier import legal_starts
from axonc.backends.targets import TARGETS, Engine
from axonc.diagnostics import SourceLocation, VerifyError

INF2 = TARGETS["inf2"]
VERIFIER = Verifier(INF2)


def broken_rules(line: str) -> set[str]:
    (made,) = assemble(line)
    return {number for number, _ in VERIFIER.violations(made)}


def copy(dst: str, src: str = "sbuf[0:128]@0x0:f32[8:1]", engine: str = "vector") -> str:
    return f"{engine}: tensor_copy dst={dst} src={src}"


COMMON_CASES = [
    ("C1", copy("sbuf[0:128]@0x0:f32[8:1]", engine="scalar")),
    ("C2", "tensor: load_stationary stationary=psum[0:128]@0x0:bf16[128:1]"),
    ("C3", "tensor: load_stationary stationary=sbuf[0:128]@0x0:i32[128:1]"),
    ("C4", copy("sbuf[0:129]@0x0:f32[8:1]")),
    ("C4", copy("sbuf[0:0]@0x0:f32[8:1]")),
    ("C4", copy("sbuf[96:160]@0x0:f32[8:1]")),
    ("C5", copy("sbuf[16:48]@0x0:f32[8:1]", "sbuf[0:32]@0x0:f32[8:1]")),
    ("C5", copy("sbuf[32:96]@0x0:f32[8:1]", "sbuf[0:64]@0x0:f32[8:1]")),
    ("C5", copy("sbuf[32:128]@0x0:f32[8:1]", "sbuf[0:96]@0x0:f32[8:1]")),
    ("C6", copy("sbuf[0:128]@0x0:f32[2:1,2:1,2:1,1:1,1:1]")),
    ("C6", "sync: dma_copy dst=sbuf[0:1]@0:f32[1:1] src=hbm@0:f32[1:1,1:1,1:1,1:1,1:1,1:1]"),
    ("C7", copy("sbuf[0:128]@0x0:u8[65536:0]", "sbuf[0:128]@0x0:u8[65536:0]")),
    ("C7", copy("sbuf[0:128]@0x0:f32[8:32768]")),
    ("C7", copy("sbuf[0:128]@0x20000:f32[8:-32769]")),
    ("C7", copy("sbuf[0:128]@0x0:f32[0:1]", "sbuf[0:128]@0x0:f32[0:1]")),
    ("C7", "sync: dma_copy dst=sbuf[0:1]@0:f32[1:1] src=hbm@0:f32[1:2147483648]"),
    ("C8", copy("sbuf[0:128]@0x2:f32[8:1]")),
    ("C8", "sync: dma_copy dst=sbuf[0:1]@0:f32[1:1] src=hbm@0x2:f32[1:1]"),
    ("C9", copy("sbuf[0:128]@0x2fff0:f32[8:1]")),
    ("C9", copy("psum[0:128]@0x3ff0:f32[8:1]")),
    ("C9", copy("sbuf[0:128]@0x10:f32[8:-1]")),
    ("C9", "sync: dma_copy dst=sbuf[0:1]@0:f32[1:1] src=hbm@0x400000000:f32[1:1]"),
    ("C9", "sync: dma_copy dst=sbuf[0:1]@0:f32[2:1] src=hbm@0:f32[2:-1]"),
    ("C10", copy("psum[0:128]@0x0:f32[8:1]", engine="gpsimd")),
    ("C11", copy("sbuf[0:128]@0:u8[2:0,65535:1]", "sbuf[0:128]@0:u8[2:0,65535:1]")),
    ("C11", copy("psum[0:128]@0:u8[4097:1]", "sbuf[0:128]@0:u8[4097:1]")),
    ("C12", "sync: register_move dst=1 imm=2147483648"),
    ("C13", "sync: register_move dst=64"),
    ("C13", copy("sbuf[0:128]@0x0+r64:f32[8:1]")),
    ("C14", "sync: nop wait(S[0]>=1) wait(S[1]>=1)"),
    ("C14", "sync: nop wait(S[64]>=1)"),
    ("C14", "sync: nop wait(S[0]>=2147483648)"),
    ("C14", "sync: nop signal(S[0]+=0)"),
]


@pytest.mark.parametrize(("number", "line"), COMMON_CASES)
def test_common_rule_refuses(number: str, line: str) -> None:
    assert number in broken_rules(line)


def test_every_common_rule_has_a_case() -> None:
    assert {number for number, _ in COMMON_CASES} == set(COMMON_RULES)


@pytest.mark.parametrize(
    "line",
    [
        copy("sbuf[96:128]@0x0:f32[8:1]", "sbuf[32:64]@0x0:f32[8:1]"),
        copy("sbuf[64:128]@0x0:f32[8:1]", "sbuf[0:64]@0x0:f32[8:1]"),
        copy("sbuf[96:101]@0x0:f32[8:1]", "sbuf[0:5]@0x0:f32[8:1]"),
        copy("sbuf[0:128]@0x2ffe0:f32[8:1]"),
        copy("psum[0:128]@0x3fe0:f32[8:1]"),
        copy("sbuf[0:128]@0x1c:f32[8:-1]"),
        copy("sbuf[0:128]@0x0:f32[2:4,2:2,1:1,2:1]"),
        copy("sbuf[0:128]@0x0+r63:f32[8:1]"),
        "sync: dma_copy dst=sbuf[3:45]@0x0:f32[2:1] src=hbm@0x8:f32[84:1]",
        "sync: dma_copy dst=hbm@0:f32[1:1,1:1,1:1,2:1,1:1] src=sbuf[7:8]@0:f32[2:1]",
        "gpsimd: register_load src=sbuf[77:78]@0x0:i32[1:1] dst=63",
        "sync: nop wait(S[63]>=2147483647) signal(S[0]+=16)",
    ],
)
def test_common_rules_allow_the_legal_neighbours(line: str) -> None:
    assert broken_rules(line) == set()


@pytest.mark.parametrize(
    ("partitions", "starts"),
    [
        (1, (0, 32, 64, 96)),
        (32, (0, 32, 64, 96)),
        (33, (0, 64)),
        (64, (0, 64)),
        (65, (0,)),
        (128, (0,)),
    ],
)
def test_legal_start_partitions(partitions: int, starts: tuple[int, ...]) -> None:
    assert legal_starts(partitions, INF2) == starts


A = "sbuf[0:128]@0x0:f32[8:1]"
BIG = "sbuf[0:128]@0x0:f32[16:1]"
HALF = "sbuf[0:64]@0x0:f32[8:1]"
ONE = "sbuf[0:128]@0x0:f32[1:1]"
TWO = "sbuf[0:128]@0x0:f32[2:1]"
PS = "psum[0:128]@0x0:f32[8:1]"
BF = "sbuf[0:128]@0x0:bf16[8:1]"
INT = "sbuf[0:128]@0x0:i32[8:1]"
IDX = "sbuf[0:128]@0x0:u32[1:1]"
BYTES = "sbuf[0:128]@0x0:u8[8:1]"
TABLE = "hbm@0x0:f32[100:8,8:1]"


def collective_cases() -> list[tuple[str, str]]:
    """Rules that collectives have in common, and the sizes of each."""
    hbm = "hbm@0x0:f32[{}:1]"
    one, two, three = (hbm.format(n) for n in (1024, 2048, 3072))
    cases = []
    for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute"):
        cases.append(("C20", f"sync: {name} dst=hbm@0x0:bf16[1024:1] src={one}"))
        cases.append(("C21", f"sync: {name} dst={one} src=hbm@0x0:f32[2:513,512:1]"))
        sizes = (one, two) if name == "reduce_scatter" else (two, one)
        rule = "C24" if name in ("all_gather", "reduce_scatter") else "C23"
        wrong = {"all_gather": (three, two), "reduce_scatter": (two, three)}.get(name, sizes)
        cases.append((rule, f"sync: {name} dst={wrong[0]} src={wrong[1]}"))
        if name in ("all_reduce", "collective_permute"):
            cases.append(("C22", f"sync: {name} dst={one} src={A}"))
    return cases


OWN_CASES = [
    ("C20", "tensor: load_stationary stationary=sbuf[0:128]@0x0:bf16[129:1]"),
    ("C20", f"tensor: multiply_moving dst={PS} moving=sbuf[0:128]@0x0:bf16[9:1]"),
    (
        "C21",
        "tensor: multiply_moving dst=psum[0:128]@0:f32[513:0] moving=sbuf[0:128]@0:bf16[513:1]",
    ),
    ("C22", "tensor: multiply_moving dst=psum[0:128]@0x7f0:f32[8:1] moving=" + BF),
    ("C23", "tensor: multiply_moving dst=psum[0:128]@0x0:bf16[8:1] moving=" + BF),
    ("C24", f"tensor: multiply_moving dst={PS} moving={BF} accumulate=true is_transpose=true"),
    ("C20", f"vector: tensor_tensor dst={A} src0={A} src1={HALF}"),
    ("C21", f"vector: tensor_tensor dst={A} src0={A} src1={BIG}"),
    ("C22", f"vector: tensor_tensor dst={A} src0={PS} src1={PS}"),
    ("C23", f"vector: tensor_tensor dst={A} src0={A} src1={A} op=pow"),
    ("C24", f"vector: tensor_tensor dst={A} src0={A} src1={A} op=bitwise_and"),
    ("C25", f"vector: tensor_tensor dst={A} src0={A} src1={A} op=relu"),
    ("C20", f"vector: tensor_scalar dst={A} src={HALF}"),
    ("C21", f"vector: tensor_scalar dst={A} src={BIG}"),
    ("C22", f"vector: tensor_scalar dst={A} src={A} scalar0={TWO}"),
    ("C23", f"vector: tensor_scalar dst={A} src={A} op0=rsqrt"),
    ("C23", f"gpsimd: tensor_scalar dst={INT} src={INT} op0=bitwise_and"),
    ("C24", f"vector: tensor_scalar dst={INT} src={INT} op0=bitwise_and op1=add"),
    ("C25", f"vector: tensor_scalar dst={INT} src={INT} scalar0={IDX} op0=add"),
    ("C20", f"vector: scalar_tensor_tensor dst={A} src0={A} src1={HALF}"),
    ("C21", f"vector: scalar_tensor_tensor dst={A} src0={A} src1={BIG}"),
    ("C22", f"vector: scalar_tensor_tensor dst={A} src0={A} scalar={TWO} src1={A}"),
    ("C23", f"vector: scalar_tensor_tensor dst={A} src0={PS} src1={PS}"),
    ("C24", f"vector: scalar_tensor_tensor dst={A} src0={A} src1={A} op1=rsqrt"),
    ("C25", f"vector: scalar_tensor_tensor dst={INT} src0={INT} src1={INT} op0=bitwise_or"),
    ("C20", "vector: tensor_reduce dst=sbuf[0:64]@0x0:f32[1:1] src=" + A),
    ("C21", f"vector: tensor_reduce dst={A} src={A} num_axes=0"),
    ("C22", f"vector: tensor_reduce dst={TWO} src={A}"),
    ("C22", f"vector: tensor_reduce dst={ONE} src={A} num_axes=2"),
    ("C23", f"vector: tensor_reduce dst={ONE} src={A} op=bitwise_or"),
    ("C24", f"vector: tensor_reduce dst={IDX} src={INT} op=bitwise_or negate=true"),
    ("C25", f"vector: tensor_reduce dst={ONE} src={A} op=is_gt"),
    ("C20", f"vector: tensor_tensor_scan dst={A} src0={A} src1={HALF}"),
    ("C21", f"vector: tensor_tensor_scan dst={A} src0={A} src1={BIG}"),
    ("C22", f"vector: tensor_tensor_scan dst={A} src0={A} src1={A} initial={TWO}"),
    ("C23", f"vector: tensor_tensor_scan dst={A} src0={PS} src1={PS}"),
    ("C24", f"vector: tensor_tensor_scan dst={A} src0={A} src1={A} op0=pow"),
    ("C25", f"vector: tensor_tensor_scan dst={INT} src0={INT} src1={INT} op0=bitwise_and"),
    ("C20", "vector: bn_stats dst=sbuf[0:64]@0x0:f32[6:1] src=" + A),
    ("C21", "vector: bn_stats dst=sbuf[0:128]@0:f32[6:1] src=sbuf[0:128]@0:f32[513:1]"),
    ("C22", f"vector: bn_stats dst={A} src={A}"),
    ("C20", "vector: bn_aggr dst=sbuf[0:64]@0:f32[2:1] src=sbuf[0:128]@0:f32[6:1]"),
    ("C21", f"vector: bn_aggr dst={TWO} src={A}"),
    ("C22", f"vector: bn_aggr dst={ONE} src=sbuf[0:128]@0:f32[6:1]"),
    ("C20", f"vector: tensor_copy dst={A} src={HALF}"),
    ("C21", f"vector: tensor_copy dst={A} src={BIG}"),
    ("C20", f"vector: tensor_copy_predicated dst={HALF} src={A} predicate={BYTES}"),
    ("C21", f"vector: tensor_copy_predicated dst={BIG} src={A} predicate={BYTES}"),
    (
        "C22",
        f"vector: tensor_copy_predicated dst={A} src={PS} predicate=psum[0:128]@0x0:u8[8:1]",
    ),
    ("C23", f"vector: tensor_copy_predicated dst={BF} src={A} predicate={BYTES}"),
    ("C20", f"vector: select_reduce dst={HALF} predicate={BYTES} on_true={A}"),
    ("C21", f"vector: select_reduce dst={BIG} predicate={BYTES} on_true={A}"),
    ("C22", f"vector: select_reduce dst={A} predicate={BYTES} on_true={A} on_false={TWO}"),
    ("C23", f"vector: select_reduce dst={A} predicate=psum[0:128]@0:u8[8:1] on_true={PS}"),
    ("C20", f"vector: reciprocal dst={A} src={HALF}"),
    ("C21", f"vector: reciprocal dst={A} src={BIG}"),
    ("C20", f"vector: memset dst={BF} value_bits=65536"),
    ("C20", "vector: vector_transpose dst=sbuf[0:32]@0:bf16[8:1] src=sbuf[0:8]@0:f32[32:1]"),
    ("C21", "vector: vector_transpose dst=sbuf[0:32]@0:f32[8:1] src=sbuf[0:32]@0:f32[8:1]"),
    ("C21", "vector: vector_transpose dst=sbuf[0:64]@0:f32[33:1] src=sbuf[0:33]@0:f32[64:1]"),
    ("C20", f"vector: stream_shuffle dst={HALF} src={A}"),
    ("C21", f"vector: stream_shuffle dst={BIG} src={A}"),
    ("C22", f"vector: stream_shuffle dst={BF} src={A}"),
    ("C23", f"vector: stream_shuffle dst={A} src={A} mask0=32"),
    ("C24", "vector: stream_shuffle dst=sbuf[0:8]@0:f32[8:1] src=sbuf[0:8]@0:f32[8:1]"),
    ("C20", f"vector: max8 dst={HALF} src={A}"),
    ("C21", f"vector: max8 dst={A} src={TWO}"),
    ("C22", f"vector: max8 dst={BIG} src={A}"),
    ("C20", f"vector: find_index8 dst=sbuf[0:64]@0x0:u32[8:1] src={A} values={A}"),
    ("C21", f"vector: find_index8 dst=sbuf[0:128]@0x0:u32[8:1] src={TWO} values={A}"),
    ("C22", f"vector: find_index8 dst=sbuf[0:128]@0x0:u32[8:1] src={A} values={BIG}"),
    ("C20", f"vector: match_replace8 dst={HALF} src={A} values={A}"),
    ("C21", f"vector: match_replace8 dst={BIG} src={A} values={A}"),
    ("C22", f"vector: match_replace8 dst={A} src={A} values={BIG}"),
    ("C23", f"vector: match_replace8 dst={TWO} src={TWO} values={A}"),
    ("C20", f"vector: set_rng_seed src={IDX}"),
    ("C20", f"scalar: activation dst={A} src={A} bias=sbuf[0:64]@0x0:f32[1:1]"),
    ("C21", f"scalar: activation dst={A} src={BIG}"),
    ("C22", f"scalar: activation dst={A} src={A} accumulate={TWO}"),
    ("C23", f"scalar: activation dst={A} src={A} bias={ONE} func=reciprocal"),
    ("C20", f"gpsimd: iota dst={A} step1=1"),
    ("C20", f"gpsimd: affine_select dst={A} src={A} step3=1"),
    ("C21", f"gpsimd: affine_select dst={A} src={HALF}"),
    ("C22", f"gpsimd: affine_select dst={A} src={BIG}"),
    (
        "C20",
        "gpsimd: local_gather dst=sbuf[0:64]@0:f32[16:1] src=sbuf[0:128]@0:f32[8:1] "
        "indices=sbuf[0:128]@0:u16[1:1]",
    ),
    (
        "C21",
        "gpsimd: local_gather dst=sbuf[0:8]@0:f32[16:1] src=sbuf[0:8]@0:f32[8:1] "
        "indices=sbuf[0:8]@0:u16[1:1]",
    ),
    (
        "C22",
        "gpsimd: local_gather dst=sbuf[0:16]@0:i32[16:1] src=sbuf[0:16]@0:f32[8:1] "
        "indices=sbuf[0:16]@0:u16[1:1]",
    ),
    (
        "C23",
        "gpsimd: local_gather dst=sbuf[0:16]@0:f32[48:1] src=sbuf[0:16]@0:f32[8:1] "
        "indices=sbuf[0:16]@0:u16[1:1] elements_per_index=3",
    ),
    (
        "C24",
        "gpsimd: local_gather dst=sbuf[0:16]@0:u8[4112:1] src=sbuf[0:16]@0:u8[8:1] "
        "indices=sbuf[0:16]@0:u16[257:1]",
    ),
    (
        "C25",
        "gpsimd: local_gather dst=sbuf[0:16]@0:f32[16:1] src=sbuf[0:16]@0:f32[8:1] "
        "indices=sbuf[0:16]@0:u16[2:1]",
    ),
    ("C20", f"gpsimd: partition_reduce dst={A} src={A}"),
    ("C21", f"gpsimd: partition_reduce dst=sbuf[0:1]@0x0:f32[2:1] src={A}"),
    ("C22", f"gpsimd: partition_reduce dst=sbuf[0:1]@0x0:f32[8:1] src={A} op=bitwise_or"),
    ("C20", f"sync: dma_copy dst={A} src=hbm@0x0:f32[1023:1]"),
    ("C21", f"sync: dma_copy dst={A} src={TABLE} indirect=gather"),
    ("C21", f"sync: dma_copy dst={A} src=hbm@0x0:f32[1024:1] index={IDX}"),
    ("C22", f"sync: dma_copy dst={A} src={A} index={IDX} indirect=gather"),
    ("C22", f"sync: dma_copy dst={A} src={TABLE} index={IDX} indirect=scatter"),
    ("C22", f"sync: dma_copy dst={BIG} src={TABLE} index={IDX} indirect=gather"),
    (
        "C23",
        f"sync: dma_copy dst={A} src={TABLE} index=sbuf[0:64]@0x0:u32[1:1] indirect=gather",
    ),
    ("C25", f"sync: dma_copy dst={A} src={A} signal(S[8]+=1)"),
    *collective_cases(),
    ("C20", "sync: semaphore_wait semaphore=64 value=1"),
    ("C20", "sync: semaphore_set semaphore=0 value=2147483648"),
    ("C20", "sync: semaphore_add semaphore=64 value=1"),
    ("C20", "sync: register_load src=sbuf[0:2]@0x0:i32[1:1] dst=1"),
    ("C20", "sync: register_store dst=sbuf[0:1]@0x0:i32[2:1] src=1"),
]


@pytest.mark.parametrize(("number", "line"), OWN_CASES)
def test_own_rule_refuses(number: str, line: str) -> None:
    assert number in broken_rules(line)


def test_c24_queue_exists() -> None:
    """The field has room for the 16 queues of inf2; a machine with fewer refuses the rest."""
    fewer = replace(INF2, dma=replace(INF2.dma, queues=4))
    (made,) = assemble(f"sync: dma_copy dst={A} src={A} queue=4")
    assert [n for n, _ in Verifier(fewer).violations(made)] == ["C24"]
    assert VERIFIER.violations(made) == []


def test_every_rule_of_every_instruction_has_a_case() -> None:
    covered = {("dma_copy", "C24")}
    covered |= {(line.split()[1], number) for number, line in OWN_CASES}
    rules = {(spec.mnemonic, rule.number) for spec in INSTRUCTIONS for rule in spec.rules}
    assert covered == rules


@pytest.mark.parametrize(
    "line",
    [
        "tensor: multiply_moving dst=psum[0:128]@0x0:bf16[8:1] moving=" + BF + " is_transpose=true",
        f"gpsimd: tensor_tensor dst={INT} src0={INT} src1={INT} op=multiply",
        f"gpsimd: tensor_tensor dst={A} src0={A} src1={A} op=pow",
        f"gpsimd: tensor_scalar dst={INT} src={INT} scalar0={IDX} op0=add",
        f"vector: tensor_scalar dst={INT} src={INT} scalar0={IDX} op0=logical_shift_left",
        f"vector: scalar_tensor_tensor dst={A} src0={A} src1={A} op0=bypass op1=is_lt",
        f"vector: tensor_reduce dst={ONE} src=sbuf[0:128]@0:bf16[2:4,2:2,2:1] num_axes=3",
        "vector: vector_transpose dst=sbuf[0:128]@0:f32[64:1] src=sbuf[0:128]@0:f32[64:1]",
        "vector: vector_transpose dst=sbuf[0:8]@0:f32[5:1] src=sbuf[0:5]@0:f32[8:1]",
        f"vector: stream_shuffle dst={A} src={A} mask0=0xff1f0001",
        f"vector: memset dst={BF} value_bits=65535",
        f"gpsimd: partition_reduce dst=sbuf[0:1]@0x0:i32[8:1] src={INT} op=bitwise_or",
        f"scalar: dma_copy dst={TABLE} src={A} index={IDX} indirect=scatter oob=skip op=add",
        f"sync: dma_copy dst={A} src=hbm@0x0:bf16[2:512,512:1] signal(S[8]+=16)",
    ],
)
def test_legal_instructions_pass(line: str) -> None:
    assert broken_rules(line) == set()


def test_c2_names_the_missing_operand() -> None:
    spec = INSTRUCTIONS["reciprocal"]
    source = example_instructions()["reciprocal"].operand("src")
    made = Instruction(spec, Engine.VECTOR, (None, source), ())
    assert VERIFIER.violations(made) == [("C2", "dst is missing")]
    short = Instruction(spec, Engine.VECTOR, (source,), ())
    assert VERIFIER.violations(short) == [("C2", "1 operands")]


def test_c12_refuses_other_python_types_and_counts() -> None:
    nop = Instruction(INSTRUCTIONS["register_move"], Engine.SYNC, (), (1, 2**31))
    assert VERIFIER.violations(nop) == [("C12", "imm = 2147483648")]
    nop.fields = (1,)
    assert VERIFIER.violations(nop) == [("C12", "1 fields")]
    scaled = replace(example_instructions()["activation"], fields=("copy", 1e39))
    assert VERIFIER.violations(scaled) == [("C12", "scale = 1e+39")]
    matmul = replace(example_instructions()["multiply_moving"], fields=(1, False))
    assert VERIFIER.violations(matmul) == [("C12", "accumulate = 1")]


def test_the_error_names_place_instruction_rules_and_findings() -> None:
    (made,) = assemble("vector: tensor_copy dst=sbuf[0:128]@0x2:f32[8:1] src=" + BIG)
    where = SourceLocation(file="model.py", line=17, column=3)
    with pytest.raises(VerifyError) as error:
        verify(made, INF2, where)
    assert str(error.value) == (
        "model.py:17:3: error: tensor_copy on vector: (C8) byte offset and address are multiples "
        "of the element size: dst is f32 at byte 2"
    )
    (made,) = assemble(f"vector: tensor_copy dst={HALF} src={BIG}")
    with pytest.raises(VerifyError) as error:
        verify(made, INF2)
    assert "(C20)" in str(error.value) and "(C21)" in str(error.value)


def test_verify_uses_the_target_it_is_given() -> None:
    small = replace(INF2, sbuf_partition_bytes=1024)
    (made,) = assemble("vector: memset dst=sbuf[0:128]@0x400:f32[8:1]")
    verify(made, INF2)
    with pytest.raises(VerifyError, match="of 1024"):
        verify(made, small)
    verify(made, INF2)


@pytest.mark.parametrize("mnemonic", ["tensor_tensor", "multiply_moving", "dma_copy"])
def test_a_check_takes_few_calls(mnemonic: str) -> None:
    """Every instruction of a program is checked: 10 us each is the goal."""
    made = example_instructions()[mnemonic]
    VERIFIER.violations(made)
    assert calls_in(VERIFIER.violations, made) < 100


def test_elements_per_partition_is_what_the_rules_count() -> None:
    access = example_instructions()["iota"].operand("dst")
    assert isinstance(access, TileAccess) and access.elements_per_partition == 32
