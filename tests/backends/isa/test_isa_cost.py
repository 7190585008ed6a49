"""Initiation intervals against the published formulas and measurements (machine.md)."""

import pytest

from axonc.backends.cost.intervals import CostModel
from axonc.backends.encoding.assembler import assemble
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine

INF2 = TARGETS["inf2"]


def cycles(line: str) -> float:
    (made,) = assemble(line)
    return made.spec.cost.cycles(made, INF2)


def tile(size: int, dtype: str = "f32", stride: int = 1, memory: str = "sbuf") -> str:
    return f"{memory}[0:128]@0x0:{dtype}[{size}:{stride}]"


def two(mnemonic: str, n: int, dtype: str = "f32", rest: str = "", first: str = "") -> str:
    src0 = first or tile(n, dtype)
    return f"vector: {mnemonic} dst={tile(n, dtype)} src0={src0} src1={tile(n, dtype)} {rest}"


def one(mnemonic: str, n: int, engine: str = "vector", rest: str = "") -> str:
    return f"{engine}: {mnemonic} dst={tile(n)} src={tile(n)} {rest}"


PUBLISHED = [
    # 3.1, PE cycles
    ("tensor: load_stationary stationary=" + tile(128, "bf16"), 32),
    ("tensor: load_stationary stationary=" + tile(128, "f32"), 128),
    (f"tensor: multiply_moving dst={tile(512, memory='psum')} moving={tile(512, 'bf16')}", 512),
    (f"tensor: multiply_moving dst={tile(512, memory='psum')} moving={tile(512, 'f32')}", 2048),
    (f"tensor: multiply_moving dst={tile(512, memory='psum')} moving={tile(512, 'tf32')}", 512),
    (f"tensor: multiply_moving dst={tile(1, memory='psum')} moving={tile(1, 'bf16')}", 64),
    # 3.2, Vector cycles
    (two("tensor_tensor", 8192), 16384),
    (two("tensor_tensor", 512, first=tile(512, memory="psum")), 512),
    (two("tensor_tensor", 512, "bf16", "op=multiply"), 512),
    (two("tensor_tensor", 512, "bf16", "op=max"), 1024),
    (two("tensor_tensor", 4), 64),
    (two("scalar_tensor_tensor", 512), 1024),
    (two("scalar_tensor_tensor", 512, "bf16", "op0=subtract op1=multiply"), 512),
    (two("scalar_tensor_tensor", 511, "bf16", "op0=subtract op1=multiply"), 1022),
    (two("tensor_tensor_scan", 512), 1024),
    (one("tensor_scalar", 512, rest="op0=multiply op1=add"), 512),
    (f"vector: tensor_reduce dst={tile(1)} src={tile(512)}", 512),
    (f"vector: tensor_reduce dst={tile(1, 'bf16')} src={tile(512, 'bf16')} op=max", 256),
    (f"vector: tensor_reduce dst={tile(1, 'bf16')} src={tile(512, 'bf16')} op=min", 512),
    (f"vector: bn_stats dst={tile(6)} src={tile(512)}", 512),
    (f"vector: bn_aggr dst={tile(2)} src={tile(48)}", 208),
    (one("tensor_copy", 512), 512),
    (one("reciprocal", 128), 1024),
    (one("reciprocal", 1), 64),
    (f"vector: memset dst={tile(512, 'bf16')} value_bits=0", 256),
    (f"vector: memset dst={tile(512, 'bf16')} value_bits=1", 512),
    (f"vector: memset dst={tile(512)} value_bits=0", 512),
    (
        f"vector: tensor_copy_predicated dst={tile(512)} src={tile(512)} "
        f"predicate={tile(512, 'u8')}",
        1024,
    ),
    (
        f"vector: tensor_copy_predicated dst={tile(512)} src={tile(512, memory='psum')} "
        f"predicate={tile(512, 'u8')}",
        512,
    ),
    # 3.3, Scalar cycles
    (one("activation", 512, "scalar"), 512),
    (one("activation", 1, "scalar"), 64),
    (one("activation", 512, "scalar", f"accumulate={tile(1)}"), 576),
    # 3.4, GpSimd cycles
    (f"gpsimd: iota dst={tile(512, 'i32')}", 662),
    (one("affine_select", 512, "gpsimd"), 662),
    (f"gpsimd: tensor_tensor dst={tile(8)} src0={tile(8)} src1={tile(8)} op=pow", 158),
]


@pytest.mark.parametrize(("line", "expected"), PUBLISHED)
def test_published_formula(line: str, expected: float) -> None:
    assert cycles(line) == pytest.approx(expected)


def test_tensor_tensor_measured() -> None:
    """14968 ns were measured for N = 8192 in f32; the formula gives all but the latency."""
    clock = INF2.engines[assemble(two("tensor_tensor", 8192))[0].engine].clock_ghz
    assert cycles(two("tensor_tensor", 8192)) / clock == pytest.approx(14968, rel=0.03)


def test_act_table_load_takes_368_ns() -> None:
    assert cycles("scalar: act_table_load table=gelu_and_others") / 1.4 == pytest.approx(368)


def test_sequencer_instructions_take_9_ns_and_a_dma_trigger_50() -> None:
    assert cycles("vector: semaphore_wait semaphore=1 value=1") / 1.12 == pytest.approx(9)
    trigger = f"scalar: dma_copy dst={tile(8)} src=hbm@0x0:f32[1024:1]"
    assert cycles(trigger) / 1.4 == pytest.approx(50)


def test_only_a_stationary_load_has_the_short_pipeline_of_the_tensor_engine() -> None:
    """A register that TensorE loads from SBUF takes the way of any other operand."""
    load, register = assemble(
        f"tensor: load_stationary stationary={tile(1, 'bf16')}\n"
        "tensor: register_load src=sbuf[0:1]@0x0:i32[1:1] dst=7"
    )
    model, engine = CostModel(INF2), INF2.engines[Engine.TENSOR]
    assert model.cost(register).latency_ns == engine.latency_ns
    assert model.cost(load).latency_ns < INF2.load_stationary_latency_ns < engine.latency_ns


def test_local_gather_charges_short_runs_more_per_element() -> None:
    def gather(run: int) -> str:
        return (
            f"gpsimd: local_gather dst={tile(16 * 4 * run)} src={tile(512)} "
            f"indices={tile(4, 'u16')} elements_per_index={run}"
        )

    assert cycles(gather(1)) == pytest.approx(150 + 64 * 32 / 4)
    assert cycles(gather(8)) == pytest.approx(150 + 64 * 8 * (60 / 32))


@pytest.mark.parametrize(
    ("dtype", "stride", "factor"),
    [("f32", 4, 1), ("f32", 5, 2), ("bf16", 8, 1), ("bf16", 9, 2), ("f32", -5, 2), ("f32", 0, 1)],
)
def test_an_innermost_stride_beyond_16_bytes_halves_the_bandwidth(
    dtype: str, stride: int, factor: int
) -> None:
    line = f"vector: tensor_copy dst={tile(256)} src={tile(256, dtype, stride)}"
    assert cycles(line) == 256 * factor


def test_only_the_innermost_dim_with_more_than_one_element_counts() -> None:
    rows = "sbuf[0:128]@0x0:f32[2:4096,128:1,1:64]"
    assert cycles(f"vector: tensor_copy dst={tile(256)} src={rows}") == 256


def test_a_register_address_takes_at_least_600_cycles() -> None:
    dynamic = "sbuf[0:128]@0x0+r3:f32[{}:1]"
    small = f"vector: tensor_copy dst={tile(8)} src={dynamic.format(8)}"
    large = f"vector: tensor_copy dst={tile(4096)} src={dynamic.format(4096)}"
    assert cycles(small) == 600 and cycles(large) == 4096
    matmul = f"tensor: load_stationary stationary={dynamic.format(64)}"
    assert cycles(matmul) == 600
