"""Checked mode: each law has a program it finds fault with and a neighbour it allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from executor_program_maker import ENGINE_SEMAPHORE, ProgramMaker, psum, sbuf

from axonc.backends.executor.laws.races import bytes_meet
from axonc.backends.executor.machine import Machine
from axonc.backends.executor.steps.findings import FindingError, FindingKind
from axonc.backends.isa.access_pattern import HbmAccess
from axonc.backends.numerics.dtypes import F32
from axonc.backends.program import TensorKind
from axonc.backends.targets.target import Engine

V, S, T, G, Y = Engine.VECTOR, Engine.SCALAR, Engine.TENSOR, Engine.GPSIMD, Engine.SYNC
A, B, C = sbuf(0, 64), sbuf(1024, 64), sbuf(2048, 64)
ONES = {"value_bits": 0x3F800000}


def run(made: ProgramMaker, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return Machine(made.program(), mode="checked").run(inputs)


def find(made: ProgramMaker, kind: FindingKind, **inputs: np.ndarray) -> FindingError:
    """The finding, which must be of that kind."""
    with pytest.raises(FindingError) as caught:
        run(made, **inputs)
    assert caught.value.kind is kind, str(caught.value)
    return caught.value


# ---- bytes nobody wrote


def test_finds_unwritten_read_when_the_source_was_never_filled():
    made = ProgramMaker()
    made.add("tensor_copy", V, {"dst": A, "src": B}, line=12)
    error = find(made, FindingKind.UNWRITTEN_READ)
    assert (error.engine, error.index, error.location.line) == ("vector", 0, 12)
    assert "src reads 32768 of 32768 bytes nobody wrote" in str(error)
    assert "model.py:12:1" in str(error) and "tensor_copy dst=f32@sbuf[0:128]" in str(error)


def test_finds_unwritten_read_when_one_partition_is_missing():
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(0, 64, partitions=96)})
    made.add("memset", V, {"dst": sbuf(0, 63, partitions=32, start=96)})
    made.add("tensor_copy", V, {"dst": B, "src": A})
    assert "reads 128 of" in str(find(made, FindingKind.UNWRITTEN_READ))


def test_allows_reads_of_bytes_written_in_pieces():
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(0, 64, partitions=64)})
    made.add("memset", V, {"dst": sbuf(0, 32, partitions=64, start=64)})
    made.add("memset", V, {"dst": sbuf(128, 32, partitions=64, start=64)})
    made.add("tensor_copy", V, {"dst": B, "src": A})
    run(made)


def test_finds_unwritten_output():
    made = ProgramMaker()
    out = made.tensor("out", TensorKind.OUTPUT, 129, 64)
    done = made.add("memset", V, {"dst": A}, signal=True)
    access = replace(made.whole(out), dims=((64, 128), (1, 64)))
    made.copy(access, A, waits=[done])
    error = find(made, FindingKind.UNWRITTEN_READ)
    assert "output out: 256 of 33024 bytes were never written" in str(error)


def test_finds_unwritten_read_in_the_second_run_too():
    made = ProgramMaker()
    made.add("tensor_copy", V, {"dst": A, "src": B})
    made.add("memset", V, {"dst": B})
    machine = Machine(made.program(), mode="checked")
    for _ in range(2):
        with pytest.raises(FindingError, match="nobody wrote"):
            machine.run({})


def test_shuffle_reads_its_destination_only_where_it_keeps_it():
    from axonc.backends.isa.vector import mask_words

    for kept, is_allowed in ((0, True), (255, False)):
        made = ProgramMaker()
        made.add("memset", V, {"dst": A})
        made.add("stream_shuffle", V, {"dst": B, "src": A}, mask_words([0] * 31 + [kept]))
        if is_allowed:
            run(made)
        else:
            find(made, FindingKind.UNWRITTEN_READ)


# ---- addresses and rules


def test_finds_out_of_range_when_a_tile_leaves_its_partition():
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(192 * 1024 - 128, 64)})
    assert "(C9)" in str(find(made, FindingKind.OUT_OF_RANGE))


def test_allows_a_tile_at_the_end_of_its_partition():
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(192 * 1024 - 256, 64)})
    run(made)


@pytest.mark.parametrize("extra", [0, 4])
def test_device_memory_access_must_lie_in_one_tensor(extra):
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 16)
    made.copy(sbuf(0, 16), replace(made.whole(x), address=x.address + extra))
    inputs = {"x": np.zeros((128, 16), np.float32)}
    if extra:
        assert "tensor x is [" in str(find(made, FindingKind.OUT_OF_RANGE, **inputs))
    else:
        run(made, **inputs)


@pytest.mark.parametrize("offset", [0, 192 * 1024])
def test_register_addresses_are_checked_when_they_are_known(offset):
    made = ProgramMaker()
    made.add("register_move", V, fields={"dst": 0, "imm": offset})
    made.add("memset", V, {"dst": sbuf(0, 16, register=0)})
    if offset:
        assert find(made, FindingKind.OUT_OF_RANGE).index == 1
    else:
        run(made)


def test_finds_broken_rule_when_a_start_partition_is_illegal():
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(0, 64, partitions=64, start=32)})
    assert "(C5)" in str(find(made, FindingKind.RULE))


def test_finds_broken_rule_when_gpsimd_uses_psum():
    made = ProgramMaker()
    made.add("memset", G, {"dst": psum(0, 64)})
    assert "(C10)" in str(find(made, FindingKind.RULE))


def test_allows_gpsimd_in_sbuf():
    made = ProgramMaker()
    made.add("memset", G, {"dst": A})
    run(made)


@pytest.mark.parametrize("mode", ["fast", "checked"])
def test_finds_write_to_a_tensor_the_host_owns(mode):
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 64)
    done = made.add("memset", V, {"dst": A}, signal=True)
    made.store(x, A, waits=[done])
    with pytest.raises(FindingError, match="writes input tensor x"):
        Machine(made.program(), mode=mode).run({"x": np.zeros((128, 64), np.float32)})


# ---- races


def producer_consumer(waits: bool, consumer: Engine = S) -> ProgramMaker:
    made = ProgramMaker()
    done = made.add("memset", V, {"dst": A}, signal=True)
    nops = 0 if waits else 100
    for _ in range(nops):  # the reader is late in time, but nothing orders it
        made.add("nop", consumer)
    operands = {"dst": B, "src": A}
    made.add("activation", consumer, operands, waits=[done] if waits else [], line=7)
    return made


def test_finds_race_when_a_reader_does_not_wait_though_it_is_late_enough():
    error = find(producer_consumer(waits=False), FindingKind.RACE)
    assert (error.engine, error.index) == ("scalar", 100)
    assert "reads sbuf bytes within [0, 256), which vector[0] writes" in str(error)
    assert "other: memset" in str(error)


def test_allows_reader_that_waits():
    run(producer_consumer(waits=True))


def test_finds_race_when_a_buffer_is_overwritten_while_it_may_be_read():
    made = ProgramMaker()
    done = made.add("memset", V, {"dst": A}, signal=True)
    made.add("activation", S, {"dst": B, "src": A}, waits=[done])
    made.add("memset", V, {"dst": A})
    assert "vector" in str(find(made, FindingKind.RACE))


def test_allows_overwriting_after_the_reader_has_signalled():
    made = ProgramMaker()
    done = made.add("memset", V, {"dst": A}, signal=True)
    read = made.add("activation", S, {"dst": B, "src": A}, waits=[done], signal=True)
    made.add("memset", V, {"dst": A}, waits=[read])
    run(made)


def test_finds_race_between_two_writers():
    made = ProgramMaker()
    made.add("memset", V, {"dst": A})
    made.add("memset", G, {"dst": A})
    find(made, FindingKind.RACE)


def test_allows_two_writers_of_different_partitions_and_bytes():
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(0, 64, partitions=64)})
    made.add("memset", G, {"dst": sbuf(0, 64, partitions=64, start=64)})
    made.add("memset", G, {"dst": sbuf(256, 64, partitions=64)})
    run(made)


@pytest.mark.parametrize("shift", [0, 4])
def test_interleaved_columns_race_only_where_they_meet(shift):
    made = ProgramMaker()
    made.add("memset", V, {"dst": sbuf(0, dims=((2, 32),))})
    made.add("memset", G, {"dst": sbuf(shift, dims=((2, 32),))})
    if shift:
        run(made)
    else:
        find(made, FindingKind.RACE)


def test_finds_race_when_a_wait_is_one_signal_short():
    made = ProgramMaker()
    made.add("memset", V, {"dst": A}, signal=True)
    made.add("memset", V, {"dst": B}, signal=True)
    made.add("activation", S, {"dst": C, "src": B}, waits=[(ENGINE_SEMAPHORE[V], 1)])
    find(made, FindingKind.RACE)


def test_allows_a_wait_for_a_later_signal_of_the_same_engine():
    made = ProgramMaker()
    made.add("memset", V, {"dst": A})
    done = made.add("memset", V, {"dst": B}, signal=True)
    made.add("activation", S, {"dst": C, "src": A}, waits=[done])
    run(made)


def test_allows_order_through_a_third_engine():
    made = ProgramMaker()
    done = made.add("memset", V, {"dst": A}, signal=True)
    relayed = made.add("memset", G, {"dst": B}, waits=[done], signal=True)
    made.add("activation", S, {"dst": C, "src": A}, waits=[relayed])
    run(made)


def transfer_and_reader(waited: int) -> ProgramMaker:
    """Two transfers on queue 0; a reader of the second waits for `waited` increments."""
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 64)
    made.load(A, x)
    made.load(B, x)
    made.add("activation", S, {"dst": C, "src": B}, waits=[(5, waited)])
    return made


X = {"x": np.zeros((128, 64), np.float32)}


def test_finds_race_when_a_reader_waits_for_the_transfer_before():
    find(transfer_and_reader(16), FindingKind.RACE, **X)


def test_finds_race_when_a_transfer_has_not_posted_all_increments():
    find(transfer_and_reader(31 - 15), FindingKind.RACE, **X)


@pytest.mark.parametrize("waited", [17, 32])
def test_allows_reader_of_a_completed_transfer(waited):
    run(transfer_and_reader(waited), **X)


def test_finds_race_when_the_trigger_engine_reuses_the_source_of_its_transfer():
    made = ProgramMaker()
    out = made.tensor("out", TensorKind.OUTPUT, 128, 64)
    made.add("memset", V, {"dst": A})
    made.store(out, A, engine=V)
    made.add("memset", V, {"dst": A})
    find(made, FindingKind.RACE)


def test_allows_reuse_once_the_transfer_is_complete():
    made = ProgramMaker()
    out = made.tensor("out", TensorKind.OUTPUT, 128, 64)
    made.add("memset", V, {"dst": A})
    stored = made.store(out, A, engine=V)
    made.add("memset", V, {"dst": A}, waits=[stored])
    run(made)


def test_finds_race_between_transfers_of_one_queue():
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 64)
    made.load(A, x)
    made.load(A, x)
    find(made, FindingKind.RACE, **X)


def test_allows_transfer_that_waits_for_the_one_before():
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 64)
    loaded = made.load(A, x)
    made.load(A, x, waits=[loaded])
    run(made, **X)


def test_finds_race_through_device_memory():
    made = ProgramMaker()
    scratch = made.tensor("scratch", TensorKind.SCRATCH, 128, 64)
    done = made.add("memset", V, {"dst": A}, signal=True)
    made.store(scratch, A, waits=[done])
    made.load(B, scratch, queue=1)
    find(made, FindingKind.RACE)


def test_allows_device_memory_read_after_a_completed_write():
    made = ProgramMaker()
    scratch = made.tensor("scratch", TensorKind.SCRATCH, 128, 64)
    done = made.add("memset", V, {"dst": A}, signal=True)
    stored = made.store(scratch, A, waits=[done])
    made.load(B, scratch, queue=1, waits=[stored])
    run(made)


def shared_semaphore(value: int) -> ProgramMaker:
    """Vector and GpSimd both add 1 to semaphore 30; Scalar reads what Vector wrote."""
    made = ProgramMaker()
    made.add("memset", V, {"dst": A})
    made.add("semaphore_add", V, fields={"semaphore": 30, "value": 1})
    for _ in range(200):
        made.add("nop", G)
    made.add("semaphore_add", G, fields={"semaphore": 30, "value": 1})
    made.add("activation", S, {"dst": C, "src": A}, waits=[(30, value)])
    return made


def test_finds_race_when_another_engine_could_have_reached_the_value():
    find(shared_semaphore(1), FindingKind.RACE)


def test_allows_wait_for_the_sum_of_two_engines():
    run(shared_semaphore(2))


def test_finds_race_in_a_rolled_loop():
    for waits in (True, False):
        made = ProgramMaker()
        made.add("register_move", V, fields={"dst": 0, "imm": 0})
        made.add("memset", V, {"dst": sbuf(0, 16, register=0)}, signal=True)
        fields = {"op": "add", "dst": 0, "a": 0, "use_imm": True, "imm": 64}
        made.add("register_alu", V, fields=fields)
        again = {"compare": "is_lt", "a": 0, "use_imm": True, "imm": 256, "target": 1}
        made.add("branch", V, fields=again)
        needed = 4 if waits else 3
        made.add("activation", S, {"dst": B, "src": A}, waits=[(ENGINE_SEMAPHORE[V], needed)])
        if waits:
            run(made)
        else:
            find(made, FindingKind.RACE)


# ---- semaphores


def test_finds_deadlock_and_prints_the_cycle():
    made = ProgramMaker()
    made.add("nop", V, waits=[(ENGINE_SEMAPHORE[S], 1)], signal=True, line=3)
    made.add("nop", S, waits=[(ENGINE_SEMAPHORE[V], 1)], signal=True)
    text = str(find(made, FindingKind.DEADLOCK))
    assert "vector[0] nop waits for S[2] >= 1, reached 0; the next to signal it" in text
    assert "cycle: vector -> scalar -> vector" in text


@pytest.mark.parametrize("mode", ["fast", "checked"])
def test_finds_deadlock_when_nothing_signals(mode):
    made = ProgramMaker()
    made.add("nop", V, waits=[(40, 1)])
    with pytest.raises(FindingError, match="nothing that could still run signals it"):
        Machine(made.program(), mode=mode).timeline()


def test_allows_waits_that_are_satisfied_in_turn():
    made = ProgramMaker()
    made.add("nop", V, signal=True)
    made.add("nop", V, waits=[(ENGINE_SEMAPHORE[S], 1)])
    made.add("nop", S, waits=[(ENGINE_SEMAPHORE[V], 1)], signal=True)
    run(made)


@pytest.mark.parametrize("value", [2**31 - 1, 2**31 - 2])
def test_semaphores_do_not_overflow(value):
    made = ProgramMaker()
    made.add("semaphore_add", V, fields={"semaphore": 40, "value": value})
    made.add("semaphore_add", V, fields={"semaphore": 40, "value": 1})
    if value == 2**31 - 1:
        error = find(made, FindingKind.SEMAPHORE_OVERFLOW)
        assert "S[40] reaches 2147483648" in str(error)
    else:
        run(made)


def reset_semaphore(waits_first: bool) -> ProgramMaker:
    """Vector signals S[40]; Scalar sets it back to 0, perhaps after waiting for the signal."""
    made = ProgramMaker()
    made.add("semaphore_add", V, fields={"semaphore": 40, "value": 1})
    for _ in range(50):
        made.add("nop", S)
    if waits_first:
        made.add("semaphore_wait", S, fields={"semaphore": 40, "value": 1})
    made.add("semaphore_set", S, fields={"semaphore": 40, "value": 0}, signal=True)
    return made


def test_finds_set_of_a_semaphore_that_may_still_be_signalled():
    find(reset_semaphore(waits_first=False), FindingKind.SEMAPHORE_RESET)


def test_allows_set_after_the_signals_it_clears_and_use_after_it():
    made = reset_semaphore(waits_first=True)
    made.add("nop", V, waits=[(ENGINE_SEMAPHORE[S], 1)])
    made.add("memset", V, {"dst": A})
    made.add("semaphore_add", V, fields={"semaphore": 40, "value": 1})
    made.add("activation", S, {"dst": B, "src": A}, waits=[(40, 1)])
    run(made)


def test_finds_signal_that_is_not_ordered_after_the_set():
    made = reset_semaphore(waits_first=True)
    for _ in range(200):
        made.add("nop", G)
    made.add("semaphore_add", G, fields={"semaphore": 40, "value": 1})
    find(made, FindingKind.SEMAPHORE_RESET)


# ---- values


def accumulation(first_accumulates: bool, between: bool) -> ProgramMaker:
    made = ProgramMaker()
    small = sbuf(0, 64, partitions=64)
    zeroed = made.add("memset", V, {"dst": small}, signal=True)
    cleared = made.add("memset", V, {"dst": psum(0, 64, partitions=64)}, signal=True)
    waits = [cleared] if first_accumulates else [zeroed]
    made.add("load_stationary", T, {"stationary": small}, waits=waits)
    operands = {"dst": psum(0, 64, partitions=64), "moving": small}
    if not first_accumulates:
        made.streams[V].pop()
    fields = {"accumulate": first_accumulates}
    done = made.add("multiply_moving", T, operands, fields, signal=True)
    waits = []
    if between:
        column = psum(0, 1, partitions=64)
        waits = [made.add("memset", V, {"dst": column}, waits=[done], signal=True)]
        waits = [(ENGINE_SEMAPHORE[V], 2)]
    made.add("multiply_moving", T, operands, {"accumulate": True}, waits=waits)
    return made


def test_finds_accumulation_onto_a_memset():
    error = find(accumulation(True, False), FindingKind.PSUM_ACCUMULATE)
    assert (error.engine, error.index) == ("tensor", 1)


def test_finds_accumulation_when_one_column_was_overwritten():
    error = find(accumulation(False, True), FindingKind.PSUM_ACCUMULATE)
    assert "accumulates onto 256 of 16384 bytes" in str(error)


def test_allows_accumulation_onto_a_matmul():
    run(accumulation(False, False))


@pytest.mark.parametrize("mode", ["fast", "checked"])
def test_finds_matmul_without_a_stationary_matrix_of_its_shape(mode):
    made = ProgramMaker()
    done = made.add("memset", V, {"dst": A}, signal=True)
    operands = {"dst": psum(0, 64, partitions=64), "moving": sbuf(0, 64)}
    made.add("load_stationary", T, {"stationary": sbuf(0, 32)}, waits=[done])
    made.add("multiply_moving", T, operands)
    with pytest.raises(FindingError, match="needs a stationary matrix of K=128, M=64; K=128, M=32"):
        Machine(made.program(), mode=mode).run({})


@pytest.mark.parametrize(("value", "is_valid"), [(3.0, True), (4.0, False)])
def test_activation_inputs_lie_in_the_valid_range(value, is_valid):
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 64)
    loaded = made.load(A, x)
    made.add("activation", S, {"dst": B, "src": A}, {"func": "sin"}, waits=[loaded])
    inputs = {"x": np.full((128, 64), value, np.float32)}
    if is_valid:
        run(made, **inputs)
    else:
        assert "activation sin" in str(find(made, FindingKind.ACTIVATION_RANGE, **inputs))


@pytest.mark.parametrize("table", ["gelu_and_others", "natural_log_exp_and_others"])
def test_explicit_table_loads_must_bring_the_function(table):
    made = ProgramMaker()
    made.add("act_table_load", S, fields={"table": table})
    made.add("memset", V, {"dst": A}, signal=True)
    waits = [(ENGINE_SEMAPHORE[V], 1)]
    made.add("activation", S, {"dst": B, "src": A}, {"func": "exp"}, waits=waits)
    if table.startswith("gelu"):
        find(made, FindingKind.ACTIVATION_TABLE)
    else:
        run(made)


# ---- control flow


@pytest.mark.parametrize("limit", [100, 1000])
def test_programs_that_do_not_end_are_given_up(limit):
    made = ProgramMaker()
    made.add("branch", V, fields={"target": 0})
    with pytest.raises(FindingError, match=f"{limit} instructions were executed"):
        Machine(made.program(), max_steps=limit).timeline()


@pytest.mark.parametrize("target", [1, 2])
def test_branches_stay_in_their_stream(target):
    made = ProgramMaker()
    made.add("branch", V, fields={"target": target})
    if target == 2:
        assert "branch to instruction 2 of a stream of 1" in str(
            find(made, FindingKind.CONTROL_FLOW)
        )
    else:
        run(made)


def test_fast_mode_trusts_the_program():
    """A racy program runs; the same program is refused in checked mode."""
    made = producer_consumer(waits=False)
    Machine(made.program()).run({})
    find(made, FindingKind.RACE)


def test_findings_name_the_op_of_the_model():
    made = ProgramMaker()
    made.add("tensor_copy", V, {"dst": A, "src": B}, line=5)
    error = find(made, FindingKind.UNWRITTEN_READ)
    assert "from op5" in str(error)


def test_patterns_that_lie_apart_touch_no_common_byte() -> None:
    """Of random pairs of columns: the short answer is never another than that of all bytes."""
    rng = np.random.default_rng(11)
    apart = 0
    for _ in range(2000):
        columns = [int(n) for n in rng.integers(1, 6, 2)]
        pitches = [int(n) for n in rng.choice([4, 6, 8, 12], 2)]
        starts = [int(n) * 4 for n in rng.integers(0, 24, 2)]
        a, b = (
            HbmAccess(F32, start, ((pitch, 5), (1, count)))
            for start, pitch, count in zip(starts, pitches, columns, strict=True)
        )
        touched = [
            {start // 4 + row * pitch + n for row in range(5) for n in range(count)}
            for start, pitch, count in zip(starts, pitches, columns, strict=True)
        ]
        assert bytes_meet(a, b) == bool(touched[0] & touched[1])
        apart += not touched[0] & touched[1]
    assert 200 < apart < 1800
