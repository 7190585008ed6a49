"""Values carried by repeats: handed over without copies, their bytes free while they rest."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.backends.encoding import decode_stream, disassemble
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Engine
from axonc.context import make_context, parse_module
from axonc.dialects.ntile.printer import print_program
from axonc.kernel import Kernel
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.memory.buffer_placement import lifetimes
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.tile_level.dependencies import dependence_graph
from axonc.passes.tile_level.tile_state import TileState

RNG = np.random.default_rng(8)
LAYERS = 5
ROOM = 49152
"""float32 numbers in a partition of SBUF."""


def resting(columns: int, count: int = 4) -> Kernel:
    """x <- 2 * x + 1 by way of three buffers, x being read first and written last."""
    kernel = Kernel()
    x = kernel.sbuf((128, columns), F32, "x")
    x.buffer.renewed = True
    kernel.dma(x, kernel.input("x", (128, columns), F32))
    with kernel.repeat(count):
        a, b, c = (kernel.sbuf((128, columns), F32, name) for name in "abc")
        double = {"op0": "multiply", "imm0": 2.0, "op1": "add", "imm1": 1.0}
        kernel.emit("tensor_scalar", Engine.VECTOR, dst=a, src=x, **double)
        kernel.copy(b, a)
        kernel.copy(c, b)
        kernel.copy(x, c)
    kernel.dma(kernel.output("y", (128, columns), F32), x)
    return kernel


@pytest.mark.parametrize("columns", [64, ROOM // 2 - 64])
def test_others_have_the_bytes_of_a_value_that_rests(columns):
    """At most two of the four fit at the greater width: b lies where x was."""
    x = RNG.standard_normal((128, columns)).astype(np.float32)
    wanted = x
    for _ in range(4):
        wanted = wanted * np.float32(2) + np.float32(1)
    made = resting(columns).compile().run(x=x, mode="checked")
    np.testing.assert_array_equal(made["y"], wanted)


def test_without_a_rest_they_do_not_fit():
    kernel = resting(ROOM // 2 - 64)
    for buffer in kernel.program.buffers:
        buffer.renewed = False
    with pytest.raises(axonc.CapacityError):
        allocate_memory(kernel.program)


def test_the_next_write_waits_for_those_who_had_the_bytes():
    program = resting(ROOM // 2 - 64).program
    assign_engines(program)
    allocate_memory(program)
    x, b = (next(u for u in program.buffers if u.name == name) for name in "xb")
    assert x.address == b.address
    (repeat,) = program.repeats
    last = dependence_graph(program.part(repeat), 2, {x}).predecessors
    period = repeat.end - repeat.first
    assert period - 1 in last[period], "the next iteration reads what this one wrote"
    lives = [(life.first, life.last) for life in lifetimes(program) if life.buffer is x]
    assert lives == [(0, 1), (4, 5)]


def test_the_text_says_what_is_renewed():
    program = resting(64).program
    with make_context() as context:
        again = TileState.from_module(parse_module(print_program(program), context)).program
    assert [b.renewed for b in again.buffers] == [b.renewed for b in program.buffers]
    assert any(b.renewed for b in again.buffers)


# ---- from a program ----------------------------------------------------------------------------


def act(h):
    """Long enough a chain for layers to be worth a loop."""
    return jnp.tanh(h * 0.7 + 0.1) * 1.1 - 0.05


def pre_norm(layers, x):
    """The residual is read last in the middle of a layer: its result can take its place."""
    for w, v in layers:
        x = x + act(x @ w)
        x = x + act(x @ v) * 0.5
    return x


def read_to_the_end(layers, x):
    for w, v in layers:
        x = act(act(x @ w) @ v) + x
    return x


def swapping(layers, x):
    """Two carried values change places."""
    y = x * 2
    for w, v in layers:
        x, y = y, act(x @ w) @ v + act(y) * 0.5
    return x - y


def shared(layers, x):
    """One result becomes both carried values."""
    y = x * 2
    for w, v in layers:
        y = act(act(x @ w + y) @ v)
        x = y
    return x + jnp.tanh(y)


def disassembled(executable) -> str:
    streams = executable.compiled.program.streams.values()
    return "".join(disassemble(decode_stream(data)) for data in streams)


def tied(layers, x):
    """A weight of a layer is read outside of it, too."""
    x = x @ layers[0][0]
    for w, v in layers:
        x = x + act(act(x @ w) @ v)
    return x @ layers[-1][1]


def mirrored(layers, x):
    """Each weight is one of two layers."""
    for (w, _), (_, v) in zip(layers, reversed(layers), strict=True):
        x = x + act(act(x @ w) @ v + act(x @ v))
    return x


def alternating(layers, x):
    for k in range(6):
        w, v = layers[k % 2]
        x = x + act(act(x @ w) @ v)
    return x


REPEATED = (pre_norm, read_to_the_end, swapping, shared, tied)


@pytest.mark.parametrize("function", [*REPEATED, mirrored, alternating])
@pytest.mark.parametrize("tokens", [40, 300])
def test_programs(function, tokens):
    scale = np.float32(0.08)
    layers = [
        tuple(RNG.standard_normal((192, 192)).astype(np.float32) * scale for _ in range(2))
        for _ in range(LAYERS)
    ]
    x = RNG.standard_normal((tokens, 192)).astype(np.float32)
    executable = axonc.compile(jax.jit(function, keep_unused=True).lower(layers, x))
    assert function not in REPEATED or "branch" in disassembled(executable), "nothing was repeated"
    arrays = [a for pair in layers for a in pair]
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(np.float64), (layers, x))
        wanted = np.asarray(function(*wide))
    for checked in (True, False):
        given = {t.name: a for t, a in zip(executable.inputs, [*arrays, x], strict=True)}
        (found,) = executable.run(given, checked=checked)
        assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()


def looped(data: bytes) -> list[str]:
    """The instructions of the loop in a stream."""
    lines = disassemble(decode_stream(data)).splitlines()
    branches = [n for n, line in enumerate(lines) if "branch" in line]
    if not branches:
        return []
    (end,) = branches
    return lines[int(re.search(r"target=(\d+)", lines[end])[1]) : end]


def test_a_result_is_made_where_it_is_carried():
    """The last addition of an iteration writes the buffer that the next one reads: no copies."""
    layers = [
        tuple(jax.ShapeDtypeStruct((128, 128), np.float32) for _ in range(2)) for _ in range(LAYERS)
    ]
    x = jax.ShapeDtypeStruct((128, 128), np.float32)
    program = axonc.compile(jax.jit(pre_norm).lower(layers, x)).compiled.program
    lines = [line for data in program.streams.values() for line in looped(data)]
    assert any("func=tanh" in line for line in lines)
    assert not [line for line in lines if re.search(r"func=copy (?!scale)|tensor_copy", line)]
