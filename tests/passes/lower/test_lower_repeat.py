"""Repeats: operations that run several times as loops in the streams."""

import re

import numpy as np
import pytest

from axonc.backends.encoding import decode_stream, disassemble
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Engine
from axonc.context import make_context, parse_module
from axonc.dialects.ntile.printer import print_program
from axonc.kernel import Kernel
from axonc.passes.lower.lower import lower
from axonc.passes.lower.lower_segment import Streams
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.schedule.schedule import schedule
from axonc.passes.tile_level.tile_state import TileState

RNG = np.random.default_rng(3)
SHAPE = (128, 128)


def chain(count: int, kernel: Kernel) -> None:
    """x <- relu(w_i.T @ x) + x, a different w_i each time; every iteration's product is stored."""
    x = kernel.sbuf(SHAPE, F32, "x")
    kernel.dma(x, kernel.input("x", SHAPE, F32))
    names = [f"w{i}" for i in range(count)]
    weight = kernel.input(names[0], SHAPE, F32, each=names)
    results = [f"y{i}" for i in range(count)]
    stored = kernel.output(results[0], SHAPE, F32, each=results)
    with kernel.repeat(count):
        w = kernel.sbuf(SHAPE, F32, "w")
        kernel.dma(w, weight)
        product = kernel.psum(SHAPE, F32)
        kernel.matmul(product, w, x, accumulate=False)
        h = kernel.sbuf(SHAPE, F32, "h")
        zero = kernel.fill(0.0, F32)
        kernel.emit("activation", Engine.SCALAR, dst=h, src=product, bias=zero, func="relu")
        kernel.emit("tensor_tensor", Engine.VECTOR, dst=x, src0=h, src1=x, op="add")
        kernel.dma(stored, x)
    kernel.dma(kernel.output("z", SHAPE, F32), x)


def inputs(count: int) -> dict[str, np.ndarray]:
    made = {f"w{i}": RNG.standard_normal(SHAPE).astype(np.float32) / 16 for i in range(count)}
    return {"x": RNG.standard_normal(SHAPE).astype(np.float32), **made}


def expected(given: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    x, found = given["x"].astype(np.float64), {}
    for i in range(count):
        x = np.maximum(given[f"w{i}"].astype(np.float64).T @ x, 0) + x
        found[f"y{i}"] = x
    return {**found, "z": x}


@pytest.mark.parametrize("mode", ["fast", "checked"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_iterations_follow_each_other(mode, count):
    kernel, given = Kernel(), inputs(count)
    chain(count, kernel)
    made = kernel.compile().run(mode=mode, **given)
    for name, value in expected(given, count).items():
        np.testing.assert_allclose(made[name], value, rtol=1e-5, atol=1e-5)


def test_the_length_of_the_streams_does_not_depend_on_the_count():
    lengths = []
    for count in (3, 12):
        kernel = Kernel()
        chain(count, kernel)
        streams = kernel.compile().program.streams
        lengths.append([len(decode_stream(data)) for data in streams.values()])
    assert lengths[0] == lengths[1]


def test_weights_are_fetched_while_the_iteration_before_computes():
    times = []
    for count in (4, 24):
        kernel = Kernel()
        chain(count, kernel)
        times.append(kernel.compile().modelled_ns())
    per_iteration = (times[1] - times[0]) / 20
    alone = Kernel()
    chain(1, alone)
    assert per_iteration < 0.6 * alone.compile().modelled_ns()


def text_of(streams: Streams) -> list[str]:
    """Without source locations, whose numbers depend on who came first."""
    return [re.sub(r" loc=\d+", "", disassemble(stream)) for stream in streams.values()]


def test_the_text_of_a_scheduled_repeat_lowers_to_the_same_streams():
    kernel = Kernel()
    chain(3, kernel)
    assign_engines(kernel.program)
    allocate_memory(kernel.program)
    plan = schedule(kernel.program)
    state = TileState.from_module(
        parse_module(print_program(kernel.program, plan.order), make_context())
    )
    assert state.schedule is not None
    assert state.program.repeats == kernel.program.repeats
    assert state.program.tensors() == kernel.program.tensors()
    again = lower(state.program, state.schedule)
    assert text_of(again) == text_of(lower(kernel.program, plan))
