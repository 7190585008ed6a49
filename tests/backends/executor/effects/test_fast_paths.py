"""The direct closures write the same bits as the general one, also in place and overlapping."""

from __future__ import annotations

import numpy as np
import pytest
from executor_program_maker import TARGET, sbuf

from axonc.backends.executor.effects.bind import bind
from axonc.backends.executor.effects.bindings import Bindings
from axonc.backends.executor.effects.fast_paths import direct_closure
from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.semantics import EngineState
from axonc.backends.isa import instruction
from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.alu import ALU_BY_NAME, AluKind
from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.targets.target import Engine

FLOAT_OPS = [op.name for op in ALU_BY_NAME.values() if op.kind is not AluKind.BITVEC]
A, B, C = sbuf(0, 24), sbuf(128, 24), sbuf(256, 24)
SHIFTED = sbuf(4, 24)
COLUMN, INSIDE_A = sbuf(512, 1), sbuf(8, 1)


def memory_after(made, allow_direct: bool) -> np.ndarray:
    """SBUF after the instruction, from the same random contents."""
    memory = MemorySystem(TARGET, ())
    values = np.random.default_rng(5).standard_normal((128, 256)).astype(np.float32)
    memory.on_chip[Memory.SBUF][:, :1024] = values.view(np.uint8)
    states = {engine: EngineState() for engine in Engine}
    with np.errstate(all="ignore"):
        bind(made, Bindings(TARGET, memory, states, allow_direct=allow_direct))()
    return memory.on_chip[Memory.SBUF][:, :1024].copy()


def assert_same_bits(made) -> None:
    np.testing.assert_array_equal(memory_after(made, True), memory_after(made, False))


@pytest.mark.parametrize("op", FLOAT_OPS)
@pytest.mark.parametrize("destination", [C, A, SHIFTED])
def test_tensor_tensor(op, destination):
    operands = {"dst": destination, "src0": A, "src1": B}
    assert_same_bits(instruction("tensor_tensor", Engine.VECTOR, operands, {"op": op}))


@pytest.mark.parametrize("op0", FLOAT_OPS)
@pytest.mark.parametrize("op1", ["bypass", "multiply", "is_gt", "reciprocal"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("scalars", [{}, {"scalar0": COLUMN, "scalar1": INSIDE_A}])
@pytest.mark.parametrize("destination", [C, A, SHIFTED])
def test_tensor_scalar(op0, op1, reverse, scalars, destination):
    fields = {"op0": op0, "op1": op1, "imm0": 0.3, "imm1": -1.5}
    fields |= {"reverse0": reverse, "reverse1": not reverse}
    operands = {"dst": destination, "src": A, **scalars}
    assert_same_bits(instruction("tensor_scalar", Engine.VECTOR, operands, fields))


def test_direct_closures_are_used_where_they_can_be():
    views = {name: np.zeros((2, 3), np.float32) for name in ("dst", "src0", "src1")}
    assert direct_closure("tensor_tensor", views, {"op": "add"}, {F32.name}) is not None
    assert direct_closure("tensor_tensor", views, {"op": "add"}, {F32.name, BF16.name}) is None
    assert direct_closure("tensor_tensor", views, {"op": "relu"}, {F32.name}) is None
    assert direct_closure("activation", views, {}, {F32.name}) is None
