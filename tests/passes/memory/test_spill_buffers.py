"""What does not fit SBUF goes out and comes back with its bytes: whole models on a machine with
little on-chip memory, and the parts of the pass."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.program import SPILL_PREFIX
from axonc.backends.targets import INF2, TARGETS
from axonc.diagnostics import CapacityError
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import View
from axonc.driver.driver import compile_imported
from axonc.options import CompileOptions
from axonc.passes.memory.buffer_placement import lifetimes
from axonc.passes.memory.spill_buffers import spill_buffers
from axonc.passes.memory.spill_plan import plan_spills
from axonc.passes.memory.spill_transfers import written_boxes
from axonc.run.executable import Executable

RNG = np.random.default_rng(0)
DIM = 256
SHAPES = [(4, 75, DIM), (DIM, 4 * DIM), (4 * DIM, DIM)] + [(DIM, 4, 64)] * 3
ARRAYS = [(RNG.standard_normal(s) * (1.0 if len(s) == 3 and s[0] == 4 else 0.05)) for s in SHAPES]
ARRAYS = [a.astype(np.float32) for a in ARRAYS]


def encoder(x, w1, w2, wq, wk, wv):
    for _ in range(2):
        q, k, v = (jnp.einsum("bti,ihd->bthd", x, w) for w in (wq, wk, wv))
        p = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k) / 8, -1)
        y = jnp.einsum("bhts,bshd->bthd", p, v).reshape(x.shape) + x
        y = (y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True) + 1e-6)
        x = jax.nn.gelu(y @ w1) @ w2 + y
    return x


@pytest.fixture
def small_machine(monkeypatch):
    """Sets the bytes of SBUF per partition."""

    def use(kib):
        small = replace(INF2, sbuf_partition_bytes=kib * 1024)
        monkeypatch.setitem(TARGETS, "inf2", small)

    return use


def spilled(executable):
    tensors = executable.compiled.program.tensors
    return [t for t in tensors if t.name.startswith(SPILL_PREFIX)]


def test_an_encoder_with_an_eighth_of_the_memory(small_machine):
    lowered = jax.jit(encoder).lower(*ARRAYS)
    whole = axonc.compile(lowered)
    assert not spilled(whole) and whole.profile().spill_save_bytes == 0
    expected = whole.run(*ARRAYS, checked=True)[0]
    small_machine(24)
    tight = axonc.compile(lowered)
    assert len(spilled(tight)) > 1
    (found,) = tight.run(*ARRAYS, checked=True)
    np.testing.assert_array_equal(found, expected)
    facts = tight.profile()
    assert facts.spill_save_bytes > 0 and facts.spill_reload_bytes > 0


def test_an_operation_that_cannot_fit_is_named(small_machine):
    small_machine(16)
    with pytest.raises(CapacityError, match=r"one operation needs [\d,]+ bytes .*beside constants"):
        axonc.compile(jax.jit(encoder).lower(*ARRAYS))


def products(x, w):
    """Every product's operand is transposed: four row tiles are written together."""
    for _ in range(2):
        x = x @ w + jnp.sin(x)
    return x


def pooled(x, k):
    """The edges of all images are pooled together."""
    dims = ("NHWC", "HWIO", "NHWC")
    x = jax.nn.relu(jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=dims))
    window = (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window)


@pytest.mark.parametrize(
    "function, shapes, kib",
    [
        (products, [(2048, 512), (512, 512)], 56),
        (pooled, [(4, 56, 56, 6), (1, 1, 6, 8)], 64),
    ],
)
def test_operations_that_hold_far_parts_together_are_cut(small_machine, function, shapes, kib):
    rng = np.random.default_rng(1)
    arrays = [(rng.standard_normal(s) / s[-2] ** 0.5).astype(np.float32) for s in shapes]
    lowered = jax.jit(function).lower(*arrays)
    whole = axonc.compile(lowered)
    expected = whole.run(*arrays, checked=True)[0]
    small_machine(kib)
    (found,) = axonc.compile(lowered).run(*arrays, checked=True)
    np.testing.assert_array_equal(found, expected)


def random_program(seed: int, sbuf_bytes: int) -> KernelBuilder:
    """Tiles of many sizes, some read again much later."""
    rng = np.random.default_rng(seed)
    kernel = KernelBuilder(replace(INF2, sbuf_partition_bytes=sbuf_bytes))
    tiles = []
    for _ in range(200):
        if len(tiles) < 2 or rng.random() < 0.4:
            tile = kernel.sbuf((128, int(rng.integers(1, 300))), F32)
            kernel.memset(tile, 0.0)
            tiles.append(tile)
        else:
            a, b = rng.choice(len(tiles), 2, replace=False)
            kernel.copy(tiles[a][:, 0:1], tiles[b][:, 0:1])
    for op in kernel.program.ops:
        op.forms = op.forms[:1]
    return kernel


@pytest.mark.parametrize("seed", range(5))
def test_planned_stays_fit_and_cover_every_use(seed):
    program = random_program(seed, 1 << 20).program
    capacity = 8192
    plan = plan_spills(program, capacity, set())
    assert plan.too_large is None and len(plan.stays) > 3
    alive = np.zeros(len(program.ops), int)
    for life in lifetimes(program):
        stays = plan.stays.get(life.buffer)
        ranges = [(life.first, life.last)] if stays is None else [(s.begin, s.last) for s in stays]
        for first, last in ranges:
            alive[first : last + 1] += -(-life.buffer.partition_bytes // 64) * 64
        for before, after in zip(ranges, ranges[1:], strict=False):
            assert before[1] < after[0]
        for number, op in enumerate(program.ops):
            if any(view.buffer is life.buffer for _, view in op.accesses()):
                assert any(first <= number <= last for first, last in ranges)
    assert alive.max() <= capacity


@pytest.mark.parametrize("seed", range(5))
def test_no_buffer_is_read_before_its_bytes_are_there(seed):
    """Every read finds, in the buffer it names, a write of at least one byte before it, and the
    program fits."""
    program = random_program(seed, 12288).program
    count = len(program.ops)
    assert spill_buffers(program)
    assert len(program.ops) > count
    written = set()
    for op in program.ops:
        for role, view in op.accesses():
            if role.name == "READ":
                assert view.buffer in written
        written.update(view.buffer for role, view in op.accesses() if role.name != "READ")
    assert not spill_buffers(program)


def test_boxes_are_what_the_views_cover():
    rng = np.random.default_rng(3)
    for _ in range(50):
        kernel = KernelBuilder(INF2)
        buffer = kernel.sbuf((128, 96), BF16).buffer
        touched = np.zeros((128, 192), bool)
        views = []
        for _ in range(int(rng.integers(1, 6))):
            first, last = sorted(rng.choice(129, 2, replace=False).tolist())
            offset, step, size = (int(rng.integers(*r)) for r in ((0, 20), (1, 4), (1, 20)))
            dims = ((step * size, 2), (step, size)) if offset + 2 * step * size <= 96 else ((1, 3),)
            views.append(View(buffer, BF16, first, last - first, 2 * offset, dims))
            for i in range(dims[0][1]):
                for j in range(dims[-1][1] if len(dims) > 1 else 1):
                    at = 2 * (offset + i * dims[0][0] + (j * dims[1][0] if len(dims) > 1 else 0))
                    touched[first:last, at : at + 2] = True
        found = np.zeros_like(touched)
        for first, last, low, high in written_boxes(buffer, views):
            assert not found[first:last, low:high].any()
            found[first:last, low:high] = True
        np.testing.assert_array_equal(found, touched)


def test_memory_of_a_spilled_buffer_is_scratch():
    program = random_program(0, 12288).program
    spill_buffers(program)
    outside = [b for b in program.buffers if b.memory is Memory.HBM]
    assert outside and all(b.tensor.kind.value == "scratch" for b in outside)


@pytest.mark.parametrize(("name", "kib"), [("bert-large", 4), ("llama-prefill", 8)])
def test_repeated_layers_spill_in_every_iteration(small_machine, name, kib):
    pytest.importorskip("torch", reason="the models are PyTorch's")
    from axonc.tools.models.registry import build

    small_machine(kib)
    model = build(name, layers=3, small=True, batch=4, seed=1)
    options = CompileOptions()
    executable = Executable(compile_imported(model.imported(), options))
    assert spilled(executable)
    arrays = model.arrays()
    inputs = {tensor.name: arrays[tensor.name] for tensor in executable.inputs}
    results = executable.run(inputs, checked=True)
    for found, wanted in zip(results, model.expected(double=True), strict=True):
        assert abs(found - wanted).max() <= 1e-5 * abs(wanted).max()
    saved = executable.profile().spill_save_bytes
    tensors = sum(t.size_bytes for t in spilled(executable))
    assert saved >= 2 * tensors, "stored once, not in every iteration"


def residual(weights, x):
    """What an iteration hands on is larger than what an operation needs."""
    for w, v in weights:
        x = x + jnp.tanh(jnp.tanh((x * 0.9 + 0.1) @ w) * 0.7 @ v - 0.05) * 0.5
    return x


@pytest.mark.parametrize("kib", [24, 32])
def test_what_iterations_hand_on_may_leave(small_machine, kib):
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((5, 2, 128, 128)).astype(np.float32) / 12
    layers = [tuple(pair) for pair in weights]
    x = rng.standard_normal((4096, 128)).astype(np.float32)
    lowered = jax.jit(residual).lower(layers, x)
    small_machine(kib)
    executable = axonc.compile(lowered)
    assert any("carried" in t.name for t in spilled(executable)) == (kib == 24)
    arrays = [a for pair in layers for a in pair]
    with jax.enable_x64(True):
        wide = [tuple(a.astype(np.float64) for a in pair) for pair in layers]
        wanted = np.asarray(residual(wide, x.astype(np.float64)))
    assert wanted.dtype == np.float64
    for checked in (True, False):
        (found,) = executable.run(*arrays, x, checked=checked)
        assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()
