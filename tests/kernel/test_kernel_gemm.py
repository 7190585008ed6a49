"""The published GEMM kernels: results when small, time per row of blocks (all: tools/bench)."""

import numpy as np
import pytest

from axonc.backends.numerics.dtypes import BF16
from axonc.kernel import Kernel
from axonc.tools.bench.gemm_kernels import KERNELS, PUBLISHED, Problem, blocked_all, compile_kernel
from axonc.tools.bench.instructions import MEASURED

SMALL = Problem(m=256, n=1024, k=512)
TOLERANCE = 0.15
PEAK_FLOPS = 128 * 128 * 2 * 2.8e9

BLOCKS = {"blocked_all": dict(tiles_m=2, tiles_n=2, tiles_k=2)}
"""Blocks that fit the small problem."""


def operands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """lhsT, rhs in bf16 and their product in float64."""
    rng = np.random.default_rng(7)
    lhs_t = rng.standard_normal((SMALL.k, SMALL.m)).astype(BF16.numpy)
    rhs = rng.standard_normal((SMALL.k, SMALL.n)).astype(BF16.numpy)
    return lhs_t, rhs, lhs_t.astype(np.float64).T @ rhs.astype(np.float64)


@pytest.mark.parametrize("mode", ["fast", "checked"])
@pytest.mark.parametrize("name", KERNELS)
def test_results(name, mode):
    kernel = Kernel()
    KERNELS[name].build(kernel, SMALL, **BLOCKS.get(name, {}))
    lhs_t, rhs, expected = operands()
    found = kernel.compile().run(mode=mode, lhsT=lhs_t, rhs=rhs)["result"].astype(np.float64)
    # Half a unit in the last place per rounding to bf16: one, or one per K block of blocked_all.
    roundings = 2 if name == "blocked_all" else 1
    np.testing.assert_allclose(
        found, expected, rtol=roundings * 2.0**-8, atol=roundings * 2.0**-8 * np.abs(expected).max()
    )


def test_blocked_all_rounds_its_partial_sums():
    """The sums over K blocks live in bf16, as in the tutorial: more blocks, other bits."""
    lhs_t, rhs, _ = operands()
    results = []
    for tiles_k in (1, 4):
        kernel = Kernel()
        blocked_all(kernel, SMALL, 2, 2, tiles_k)
        results.append(kernel.compile().run(lhsT=lhs_t, rhs=rhs)["result"])
    assert not np.array_equal(*results)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        # Whole rows of blocks, so that time is proportional to m (or n for blocked_all).
        ("tiled", Problem(m=256, n=8192, k=8192)),
        ("hoisted_loads", Problem(m=256, n=8192, k=8192)),
        ("blocked_free_dims", Problem(m=512, n=8192, k=8192)),
        ("blocked_all", Problem(m=4096, n=1024, k=8192)),
    ],
)
def test_time_is_in_proportion_to_the_published(name, problem):
    modelled_ms = compile_kernel(name, problem).modelled_ns() * 1e-6
    share = problem.flops / PUBLISHED.flops
    assert modelled_ms == pytest.approx(KERNELS[name].published_ms * share, rel=TOLERANCE)
    assert modelled_ms > problem.flops / PEAK_FLOPS * 1e3


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_full_size_time(name):
    modelled_ms = compile_kernel(name).modelled_ns() * 1e-6
    assert modelled_ms == pytest.approx(KERNELS[name].published_ms, rel=TOLERANCE)
    assert modelled_ms > PUBLISHED.flops / PEAK_FLOPS * 1e3


@pytest.mark.parametrize("name", MEASURED)
def test_single_instruction_times(name):
    published, measure = MEASURED[name]
    assert measure() == pytest.approx(published, rel=TOLERANCE)
