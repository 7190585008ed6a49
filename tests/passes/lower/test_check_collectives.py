"""The proof that all cores issue the same collectives in the same order: what it accepts, and what
it refuses with which words."""

from __future__ import annotations

import pytest

from axonc.backends.encoding import assemble
from axonc.backends.program import Groups
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError, SourceLocation
from axonc.passes.lower.check_collectives import CoreStreams, check_collectives

INF2 = TARGETS["inf2"]
BOTH: Groups = ((0, 1),)
TABLE: tuple[Groups, ...] = (BOTH, ((1, 0),), ((0, 1), (1, 2)))
PLACES = [SourceLocation(), *(SourceLocation(f"op{n}", "model.py", n, 1) for n in range(1, 9))]
DST, SRC = "dst=hbm@0x0:f32[8:1]", "src=hbm@0x100:f32[8:1]"
WIDE = "dst=hbm@0x0:f32[16:1]"


def program(*lines: str) -> CoreStreams:
    streams: dict[Engine, list] = {}
    for instruction in assemble("\n".join(lines)):
        streams.setdefault(instruction.engine, []).append(instruction)
    return CoreStreams(streams, PLACES)


def reduce(group: int = 0, line: int = 0, op: str = "add", engine: str = "gpsimd") -> str:
    place = f" loc={line}" if line else ""
    return f"{engine}: all_reduce {DST} {SRC} group={group} op={op}{place}"


def check(*programs: CoreStreams, program_of: tuple[int, ...] = (), table=TABLE) -> int:
    cores = program_of or tuple(range(len(programs)))
    return check_collectives(programs, cores, table, INF2)


def refused(*programs: CoreStreams, program_of: tuple[int, ...] = ()) -> str:
    with pytest.raises(CompileError) as caught:
        check(*programs, program_of=program_of)
    return str(caught.value)


def test_one_program_on_all_cores_is_right():
    same = program(reduce(), f"gpsimd: all_gather {WIDE} {SRC} group=1", reduce())
    assert check(same, program_of=(0, 0)) == 6


def test_different_programs_with_equal_collectives_are_right():
    first = program("vector: nop", reduce(line=1), reduce(1))
    second = program(reduce(line=2), "gpsimd: nop", reduce(1))
    assert check(first, second) == 4


def test_a_core_that_leaves_one_out_is_named():
    text = refused(program(reduce(line=1), reduce(line=2)), program(reduce()))
    assert "model.py:2" in text and "core 1 of group [0, 1] never issues it" in text


def test_different_operations_or_shapes_are_named_with_both_places():
    text = refused(program(reduce(line=3)), program(reduce(line=4, op="max")))
    assert "core 0: all_reduce add" in text and "core 1: all_reduce max" in text
    assert "model.py:3" in text and "model.py:4" in text
    bigger = program("gpsimd: all_reduce dst=hbm@0x0:f32[9:1] src=hbm@0x100:f32[9:1]")
    assert "something else" in refused(program(reduce()), bigger)
    other = program("gpsimd: all_reduce dst=hbm@0x0:bf16[8:1] src=hbm@0x100:bf16[8:1]")
    assert "something else" in refused(program(reduce()), other)


def test_two_groups_in_different_orders_are_a_circle():
    text = refused(program(reduce(0, 1), reduce(1, 2)), program(reduce(1, 3), reduce(0, 4)))
    assert "wait for each other in a circle" in text
    assert "core 0: all_reduce" in text and "core 1: all_reduce" in text and "model.py:" in text


def test_three_cores_in_a_circle_of_pairs():
    """Each order is right for itself; together they are not."""
    table = (((0, 1),), ((1, 2),), ((2, 0),))
    programs = [program(reduce(a), reduce(b)) for a, b in ((0, 2), (1, 0), (2, 1))]
    with pytest.raises(CompileError, match="in a circle"):
        check(*programs, table=table)
    assert check(*[program(reduce(min(p)), reduce(max(p))) for p in ((0, 2), (0, 1), (1, 2))],
                 table=table) == 6  # fmt: skip


def test_permutes_bind_the_cores_of_their_pairs():
    permute = f"gpsimd: collective_permute {DST} {SRC} group=2"
    assert check(program(permute), program(permute), program(permute)) == 3
    text = refused(program(permute), program(permute), program("gpsimd: nop"))
    assert "core 2 of group [0, 1, 2] never issues it" in text


def test_blocks_must_fit_and_groups_must_exist():
    gather = program(f"gpsimd: all_gather dst=hbm@0x0:f32[24:1] {SRC}")
    assert "do not fit a group of 2" in refused(gather, program_of=(0, 0))
    assert "entry 7 of a table of 3" in refused(program(reduce(7)), program_of=(0, 0))
    assert "core 2 is in no group" in refused(program(reduce()), program_of=(0, 0, 0))


def test_two_engines_never_share_a_group():
    both = program(reduce(), reduce(line=5, engine="sync"))
    assert "nothing orders the two" in refused(both, program_of=(0, 0))


def loop(rounds: int, *body: str) -> list[str]:
    count = len(body)
    return [
        f"gpsimd: register_move dst=1 imm={rounds}",
        *body,
        "gpsimd: register_alu op=subtract dst=1 a=1 imm=1 use_imm=true",
        f"gpsimd: branch compare=is_gt a=1 use_imm=true target={1 if count else 0}",
    ]


def test_loops_over_immediates_are_followed():
    rolled, unrolled = program(*loop(3, reduce())), program(*[reduce()] * 3)
    assert check(rolled, unrolled) == 6
    text = refused(program(*loop(4, reduce())), unrolled)
    assert "core 1 of group [0, 1] never issues it" in text


def test_branches_on_memory_before_a_collective_are_refused():
    load = "gpsimd: register_load src=sbuf[0:1]@0x0:i32[1:1] dst=1"
    branch = "gpsimd: branch compare=is_gt a=2 use_imm=true target=0 loc=6"
    copy = "gpsimd: register_alu op=add dst=2 a=1 imm=0 use_imm=true"
    text = refused(program(load, copy, reduce(), branch), program_of=(0, 0))
    assert "a branch that depends on memory" in text and "model.py:6" in text
    known = "gpsimd: register_move dst=2 imm=0"
    assert check(program(load, copy, known, reduce(), branch), program_of=(0, 0)) == 2


def test_streams_without_collectives_may_do_as_they_like():
    free = program(
        "vector: register_load src=sbuf[0:1]@0x0:i32[1:1] dst=1",
        "vector: branch compare=is_gt a=1 use_imm=true target=0",
    )
    assert check(free, program_of=(0, 0)) == 0


def test_tiles_of_different_programs_are_never_combined():
    """Equal shapes do not say which dims lie on the partitions."""
    tiles = "gpsimd: all_reduce dst=sbuf[0:128]@0x0:f32[8:1] src=sbuf[0:128]@0x100:f32[8:1]"
    assert check(program(tiles), program_of=(0, 0)) == 2
    text = refused(program(tiles), program(tiles))
    assert "core 1 runs another program, whose tiles may lie otherwise" in text
