"""Several cores: what collectives compute, when they end, and what is found wrong with programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from executor_program_maker import ProgramMaker, sbuf

from axonc.backends.executor.cores import MultiCoreMachine
from axonc.backends.executor.steps.findings import FindingError, FindingKind
from axonc.backends.numerics.dtypes import BF16, DTYPES, F32, U32, DType
from axonc.backends.program import CoreProgram, Groups, Program, TensorKind
from axonc.backends.targets.target import Engine
from axonc.diagnostics import ExecutionError, UsageError

G, V, Y = Engine.GPSIMD, Engine.VECTOR, Engine.SYNC
COLLECTIVE_SEMAPHORE = 40
ALL4: Groups = ((0, 1, 2, 3),)
PAIRS4: Groups = ((0, 1), (2, 3))
CROSSED4: Groups = ((2, 0), (3, 1))


class CoreMaker(ProgramMaker):
    """Adds collectives, which signal semaphore 40."""

    def collective(
        self, mnemonic, dst, src, *, group=0, waits=(), line=0, engine=G, **fields
    ) -> tuple[int, int]:
        fields = {"group": group, **fields}
        self.add(mnemonic, engine, {"dst": dst, "src": src}, fields, waits=waits, line=line)
        self.streams[engine][-1].signal = (COLLECTIVE_SEMAPHORE, 1)
        self.counts[COLLECTIVE_SEMAPHORE] += 1
        return COLLECTIVE_SEMAPHORE, self.counts[COLLECTIVE_SEMAPHORE]

    def on_cores(self, cores: int, *groups: Groups) -> Program:
        return replace(self.program(), cores=cores, groups=groups)


def through_hbm(mnemonic: str, blocks: tuple[int, int], dtype: DType = F32, **fields) -> CoreMaker:
    """y = collective(x) in device memory, of blocks[0] x 8 from blocks[1] x 8."""
    made = CoreMaker()
    x = made.tensor("x", TensorKind.INPUT, blocks[1], 8, dtype=dtype)
    y = made.tensor("y", TensorKind.OUTPUT, blocks[0], 8, dtype=dtype)
    made.collective(mnemonic, made.whole(y), made.whole(x), **fields)
    return made


def run_all(program: Program | CoreProgram, inputs, mode="checked") -> list[np.ndarray]:
    cores = CoreProgram.of(program) if isinstance(program, Program) else program
    machine = MultiCoreMachine(cores, mode=mode)
    return [found["y"] for found in machine.run([{"x": x} for x in inputs])]


def random_inputs(cores: int, rows: int, dtype: DType = F32, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((rows, 8)).astype(dtype.numpy) for _ in range(cores)]


def expected(mnemonic: str, xs: list[np.ndarray], groups: Groups, op: str) -> list[np.ndarray]:
    """Independent float64 reference, core by core."""
    ys: list[np.ndarray] = [np.zeros(0)] * len(xs)
    fold = {"add": np.sum, "max": np.max, "min": np.min}[op]
    for group in groups:
        wide = np.stack([xs[core].astype(np.float64) for core in group])
        for place, core in enumerate(group):
            rows = len(xs[core]) // len(group)
            mine = slice(place * rows, (place + 1) * rows)
            results = {
                "all_reduce": fold(wide, axis=0),
                "all_gather": wide.reshape(-1, 8),
                "reduce_scatter": fold(wide, axis=0)[mine],
                "all_to_all": wide[:, mine].reshape(-1, 8),
            }
            ys[core] = results[mnemonic]
    return ys


SIZES = {
    "all_reduce": lambda n: (4, 4),
    "all_gather": lambda n: (4 * n, 4),
    "reduce_scatter": lambda n: (4, 4 * n),
    "all_to_all": lambda n: (4 * n, 4 * n),
}


@pytest.mark.parametrize("mode", ["fast", "checked"])
@pytest.mark.parametrize("groups", [ALL4, PAIRS4, CROSSED4], ids=["all", "pairs", "crossed"])
@pytest.mark.parametrize("mnemonic", SIZES)
def test_collectives_equal_a_float64_reference(mnemonic, groups, mode):
    sizes = SIZES[mnemonic](len(groups[0]))
    xs = random_inputs(4, sizes[1])
    ys = run_all(through_hbm(mnemonic, sizes).on_cores(4, groups), xs, mode)
    for y, wanted in zip(ys, expected(mnemonic, xs, groups, "add"), strict=True):
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("mnemonic", ["all_reduce", "reduce_scatter"])
def test_reductions_by_other_operators_are_exact(mnemonic, op):
    sizes = SIZES[mnemonic](4)
    xs = random_inputs(4, sizes[1], BF16)
    ys = run_all(through_hbm(mnemonic, sizes, BF16, op=op).on_cores(4, ALL4), xs)
    for y, wanted in zip(ys, expected(mnemonic, xs, ALL4, op), strict=True):
        np.testing.assert_array_equal(y.astype(np.float64), wanted)


def test_bf16_sums_are_added_in_float32_and_rounded_once():
    xs = [np.full((4, 8), v, BF16.numpy) for v in (256.0, 1.0, 1.0, 1.0)]
    ys = run_all(through_hbm("all_reduce", (4, 4), BF16).on_cores(4, ALL4), xs)
    assert set(ys[0].astype(np.float32).ravel()) == {260.0}  # 259 rounded; step by step: 256


def test_special_values_spread_as_in_float32():
    xs = random_inputs(2, 4)
    xs[0][0, :4] = [np.inf, np.nan, -0.0, np.inf]
    xs[1][0, :4] = [1.0, 1.0, -0.0, -np.inf]
    (y, _) = run_all(through_hbm("all_reduce", (4, 4)).on_cores(2, ((0, 1),)), xs)
    assert y[0, 0] == np.inf and np.isnan(y[0, 1]) and np.signbit(y[0, 2]) and np.isnan(y[0, 3])


def test_a_permute_moves_blocks_and_leaves_zeros():
    xs = [np.full((4, 8), core + 1, np.uint8) for core in range(4)]
    made = through_hbm("collective_permute", (4, 4), DTYPES["u8"])
    ys = run_all(made.on_cores(4, ((0, 1), (1, 2), (2, 0))), xs)
    assert [int(y[0, 0]) for y in ys] == [3, 1, 2, 0]


def test_sbuf_operands_in_place_and_rank():
    made = CoreMaker()
    x, y = (made.tensor(n, k, 128, 4) for n, k in (("x", TensorKind.INPUT), ("y", OUT)))
    rank = made.tensor("rank", TensorKind.RANK, 1, 1, dtype=U32)
    tile, number = sbuf(0, 4), sbuf(512, 1, partitions=1, dtype=U32)
    loaded, numbered = made.load(tile, x), made.load(number, rank)
    summed = made.collective("all_reduce", tile, tile, waits=[loaded])
    wide = sbuf(1024, 1, partitions=1)
    made.add("semaphore_wait", V, None, {"semaphore": summed[0], "value": summed[1]})
    made.add("tensor_copy", V, {"dst": wide, "src": number}, waits=[numbered])
    first = sbuf(0, 1, partitions=1)
    made.add("tensor_copy", V, {"dst": first, "src": wide})
    done = made.add("nop", V, signal=True)
    made.store(y, tile, waits=[done])
    xs = [np.full((128, 4), 1.0, np.float32)] * 3
    ys = run_all(made.on_cores(3, ((0, 1, 2),)), xs)
    assert [y[0, 0] for y in ys] == [0, 1, 2] and all((y.ravel()[1:] == 3).all() for y in ys)


OUT = TensorKind.OUTPUT


def test_equal_programs_on_their_own_loops_take_the_same_time():
    made = through_hbm("all_reduce", (4, 4))
    program = made.on_cores(4, ALL4)
    together = MultiCoreMachine(CoreProgram.of(program)).timeline()
    apart = MultiCoreMachine(CoreProgram((program, replace(program)), (0, 1, 0, 1))).timelines()
    assert {t.total_ns for t in apart} == {together.total_ns}
    assert together.collectives[0].algorithm == "exchange"


def test_a_collective_waits_for_the_last_core():
    slow, quick = through_hbm("all_reduce", (4, 4)), through_hbm("all_reduce", (4, 4))
    delay = CoreMaker()
    for _ in range(200):
        delay.add("memset", G, {"dst": sbuf(0, 512)})
    slow.streams[G][:0] = delay.streams[G]
    cores = CoreProgram((slow.on_cores(2, ((0, 1),)), quick.on_cores(2, ((0, 1),))), (0, 1))
    machine = MultiCoreMachine(cores)
    late, early = (t.collectives[0] for t in machine.timelines())
    assert early.trigger_ns + 10_000 < late.trigger_ns == late.start_ns == early.start_ns
    assert early.end_ns == late.end_ns


# ---- laws


def test_finds_race_between_a_collective_and_an_engine():
    made = CoreMaker()
    x, y = made.tensor("x", TensorKind.INPUT, 128, 4), made.tensor("y", OUT, 128, 4)
    tile = sbuf(0, 4)
    loaded = made.load(tile, x)
    made.collective("all_reduce", tile, tile, waits=[loaded])
    made.add("tensor_scalar", V, {"dst": tile, "src": tile}, {"op0": "add"}, waits=[loaded])
    made.store(y, tile, waits=[made.add("nop", V, signal=True)])
    with pytest.raises(FindingError) as caught:
        run_all(made.on_cores(2, ((0, 1),)), [np.ones((128, 4), np.float32)] * 2)
    assert caught.value.kind is FindingKind.RACE and "all_reduce" in str(caught.value)


def test_finds_unwritten_source_of_a_collective():
    made = CoreMaker()
    made.tensor("x", TensorKind.INPUT, 1, 1)
    made.tensor("y", OUT, 1, 1)
    made.collective("all_reduce", sbuf(0, 4), sbuf(512, 4))
    with pytest.raises(FindingError, match="core 0: src reads .* nobody wrote"):
        run_all(made.on_cores(2, ((0, 1),)), [np.ones((1, 1), np.float32)] * 2)


def test_finds_different_collectives_in_one_group():
    first, second = through_hbm("all_reduce", (4, 4)), through_hbm("all_reduce", (4, 4), op="max")
    cores = CoreProgram((first.on_cores(2, ((0, 1),)), second.on_cores(2, ((0, 1),))), (0, 1))
    with pytest.raises(FindingError, match="core 0 does all_reduce add .* core 1 does all_reduce"):
        MultiCoreMachine(cores).timeline()


def test_a_deadlock_names_the_cycle_by_core_and_line():
    """Core 0 does group 0 then 1, core 1 the other way round, each waiting in between."""

    def program(order: tuple[int, int]) -> Program:
        made = CoreMaker()
        x = made.tensor("x", TensorKind.INPUT, 4, 8)
        ys = [made.tensor(f"y{i}", TensorKind.SCRATCH, 4, 8) for i in range(2)]
        done = None
        for line, group in enumerate(order, 10):
            waits = [done] if done else []
            done = made.collective(
                "all_reduce", made.whole(ys[group]), made.whole(x),
                group=group, waits=waits, line=line,
            )  # fmt: skip
        return made.on_cores(2, ((0, 1),), ((1, 0),))

    cores = CoreProgram((program((0, 1)), program((1, 0))), (0, 1))
    with pytest.raises(FindingError) as caught:
        MultiCoreMachine(cores).timeline()
    text = str(caught.value)
    assert caught.value.kind is FindingKind.DEADLOCK
    assert "core 0 gpsimd[0] all_reduce (op10 at model.py:10) waits for core 1" in text
    assert "cycle: core 0 group 0 -> core 1 gpsimd -> core 1 group 1 -> core 0 gpsimd" in text


def test_a_core_that_never_comes_is_named():
    busy, idle = through_hbm("all_reduce", (4, 4)), CoreMaker()
    idle.add("nop", G)
    cores = CoreProgram((busy.on_cores(2, ((0, 1),)), idle.on_cores(2, ((0, 1),))), (0, 1))
    with pytest.raises(FindingError, match="waits for core 1, which never triggers it"):
        MultiCoreMachine(cores).timeline()


def test_a_group_without_the_core_or_a_block_too_many_is_refused():
    with pytest.raises(FindingError, match="core 0 is in no group"):
        MultiCoreMachine(
            CoreProgram.of(through_hbm("all_reduce", (4, 4)).on_cores(3, ((1, 2),)))
        ).timeline()
    with pytest.raises(FindingError, match="entry 0 of a table of 0"):
        MultiCoreMachine(CoreProgram.of(through_hbm("all_reduce", (4, 4)).on_cores(2))).timeline()
    with pytest.raises(FindingError, match="all_gather .* on 3 cores"):
        program = through_hbm("all_gather", (8, 4)).on_cores(3, ((0, 1, 2),))
        MultiCoreMachine(CoreProgram.of(program)).timeline()


def test_too_many_cores_and_missing_inputs_are_user_errors():
    program = through_hbm("all_reduce", (4, 4)).on_cores(25, (tuple(range(25)),))
    with pytest.raises(UsageError, match="largest inf2 instance has 24"):
        MultiCoreMachine(CoreProgram.of(program))
    machine = MultiCoreMachine(CoreProgram.of(through_hbm("all_reduce", (4, 4)).on_cores(2)))
    with pytest.raises(ExecutionError, match="inputs for 1 cores"):
        machine.run([{}])


def test_control_flow_that_depends_on_data_runs_on_every_core():
    """A counter loaded from memory says how often 1 is added before the all_reduce."""
    made = CoreMaker()
    i32 = DTYPES["i32"]
    x = made.tensor("x", TensorKind.INPUT, 1, 1, dtype=i32)
    y = made.tensor("y", OUT, 1, 1)
    count, value = sbuf(0, 1, partitions=1, dtype=i32), sbuf(64, 1, partitions=1)
    loaded = made.load(count, x)
    made.add("memset", G, {"dst": value}, {"value_bits": 0})
    made.add("register_load", G, {"src": count}, {"dst": 1}, waits=[loaded])
    made.add("tensor_scalar", G, {"dst": value, "src": value}, {"op0": "add", "imm0": 1.0})
    made.add("register_alu", G, None, {"op": "subtract", "dst": 1, "a": 1, "imm": 1, "use_imm": 1})
    made.add("branch", G, None, {"compare": "is_gt", "a": 1, "use_imm": True, "target": 2})
    summed = made.collective("all_reduce", value, value)
    made.store(y, value, waits=[summed])
    program = made.on_cores(2, ((0, 1),))
    for mode in ("fast", "checked"):
        machine = MultiCoreMachine(CoreProgram.of(program), mode=mode)
        found = machine.run([{"x": np.array([[n]], np.int32)} for n in (3, 40)])
        assert [f["y"][0, 0] for f in found] == [43.0, 43.0]
        first, second = (t.collectives[0] for t in machine.timelines())
        assert first.trigger_ns < second.trigger_ns and first.end_ns == second.end_ns
