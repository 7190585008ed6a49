"""Traces hold every instruction, transfer and wait; summaries add up."""

from __future__ import annotations

import json

import pytest
from executor_program_maker import ProgramMaker, sbuf

from axonc.backends.executor.machine import Machine
from axonc.backends.executor.trace import reason_name, trace_json
from axonc.backends.numerics.dtypes import F32
from axonc.backends.program import TensorKind
from axonc.backends.targets.target import Engine
from axonc.kernel import Kernel


def small_machine() -> Machine:
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 64)
    out = made.tensor("out", TensorKind.OUTPUT, 128, 64)
    loaded = made.load(sbuf(0, 64), x, queue=3)
    operands = {"dst": sbuf(256, 64), "src": sbuf(0, 64)}
    done = made.add(
        "activation", Engine.SCALAR, operands, {"func": "exp"}, waits=[loaded], signal=True, line=8
    )
    made.store(out, sbuf(256, 64), waits=[done])
    return Machine(made.program())


def slices(machine: Machine) -> list[dict]:
    return [e for e in json.loads(trace_json(machine))["traceEvents"] if e["ph"] == "X"]


def test_trace_has_a_slice_per_instruction_and_transfer():
    names = sorted(event["name"] for event in slices(small_machine()))
    assert names.count("dma_copy") == 2 and names.count("transfer") == 2
    assert names.count("activation") == 1


def test_slices_say_where_they_come_from():
    (activation,) = [e for e in slices(small_machine()) if e["name"] == "activation"]
    assert activation["args"]["op"] == "op8"
    assert activation["args"]["source"] == "model.py:8"
    assert activation["args"]["instruction"].startswith("activation dst=f32@sbuf[0:128]+256[1][64]")


def test_waits_have_a_lane_of_their_own_and_a_name():
    events = slices(small_machine())
    (wait,) = [e for e in events if e["name"] == "wait for dma queue 3"]
    (activation,) = [e for e in events if e["name"] == "activation"]
    assert wait["tid"] != activation["tid"]
    assert wait["ts"] + wait["dur"] == pytest.approx(activation["ts"])


def test_no_slice_ends_before_it_starts_or_after_the_program():
    machine = small_machine()
    total_us = machine.timeline().total_ns / 1000
    assert all(e["dur"] >= 0 and e["ts"] + e["dur"] <= total_us for e in slices(machine))


def test_slices_of_a_lane_do_not_overlap():
    made = ProgramMaker()
    for offset in range(0, 4096, 512):
        operands = {"dst": sbuf(offset, 64), "src": sbuf(8192, 64)}
        made.add("tensor_copy", Engine.VECTOR, operands)
    events = [e for e in slices(Machine(made.program())) if e["name"] == "tensor_copy"]
    for earlier, later in zip(events, events[1:], strict=False):
        assert earlier["ts"] + earlier["dur"] <= later["ts"] + 1e-9
        assert earlier["args"]["result_visible_us"] > later["ts"]


def test_totals_of_a_run():
    timeline = small_machine().timeline()
    assert timeline.instruction_count[Engine.SYNC] == 2
    assert timeline.instruction_count[Engine.SCALAR] == 1
    assert timeline.dma_bytes == timeline.hbm_bytes == 2 * 128 * 64 * 4
    assert timeline.transfer_count == 2
    assert timeline.stall_ns[Engine.SCALAR]["activation table load"] == pytest.approx(368)


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("semaphore 0", "wait for tensor"),
        ("semaphore 5", "wait for dma queue 0"),
        ("own result", "own result"),
    ],
)
def test_reason_names(reason, name):
    assert reason_name(reason) == name


def test_slices_of_a_loop_say_which_iteration():
    kernel = Kernel()
    x = kernel.sbuf((128, 64), F32, "x")
    kernel.dma(x, kernel.input("x", (128, 64), F32))
    weights = kernel.input("w0", (128, 64), F32, each=["w0", "w1", "w2"])
    with kernel.repeat(3):
        w = kernel.sbuf((128, 64), F32, "w")
        kernel.dma(w, weights)
        kernel.emit("tensor_tensor", Engine.VECTOR, dst=x, src0=x, src1=w, op="add")
    kernel.dma(kernel.output("y", (128, 64), F32), x)
    events = slices(Machine(kernel.compile().program))
    added = [e["args"] for e in events if e["name"] == "tensor_tensor"]
    assert [args["iteration"] for args in added] == [0, 1, 2]
    transfers = [e["args"] for e in events if e["name"] == "transfer"]
    assert sorted(args.get("iteration", -1) for args in transfers) == [-1, -1, 0, 1, 2]
