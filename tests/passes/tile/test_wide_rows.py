"""Rows and tensors that do not fit SBUF, column block by column block, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

EPSILON = 1e-5


def layer_norm(x, gamma, beta):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / (variance + EPSILON) ** 0.5 * gamma + beta


def rms_norm(x, gamma):
    return x / ((x * x).mean(-1, keepdims=True) + EPSILON) ** 0.5 * gamma


def softmax(x):
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


WIDE = (2, 60000)
CASES = {
    # name: (function for JAX, the same for numpy, shapes)
    "sum": (lambda x: x.sum(-1), None, [WIDE]),
    "max": (lambda x: jnp.abs(x).max(-1), lambda x: np.abs(x).max(-1), [(3, 100000)]),
    "softmax": (lambda x: jax.nn.softmax(x, -1), softmax, [WIDE]),
    "layer_norm": (layer_norm, None, [WIDE, WIDE[1:], WIDE[1:]]),
    "many_rows": (layer_norm, None, [(200, 20000), (20000,), (20000,)]),
    "rms_norm": (rms_norm, None, [(130, 16000), (16000,)]),
    "chain": (
        lambda x, y: jnp.tanh(x * y + 1) * x - y,
        lambda x, y: np.tanh(x * y + 1) * x - y,
        [(3, 100000), (3, 100000)],
    ),
    "iota": (
        lambda x: x + jnp.arange(70000, dtype=jnp.float32),
        lambda x: x + np.arange(70000),
        [(2, 70000)],
    ),
    "tall": (lambda x: jnp.exp(x) * x, lambda x: np.exp(x) * x, [(4096, 3000)]),
    "dot": (lambda x, w: x @ w, None, [(4, 60000), (60000, 8)]),
    "sum_of_all": (lambda x: (x * x).sum(), None, [(300, 50000)]),
    "slices": (lambda x: x[:, 100:50000] - x[:, 200:50100], None, [(4, 60000)]),
}
SLOW = {"tall", "sum_of_all", "many_rows"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES]
)
def test_wider_than_sbuf(name):
    function, reference, shapes = CASES[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    executable = axonc.compile(jax.jit(function).lower(*arrays))
    (found,) = executable.run(*arrays, checked=True)
    expected = (reference or function)(*(a.astype(np.float64) for a in arrays))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_integers_are_summed_exactly_in_pieces():
    values = np.random.default_rng(1).integers(-(2**30), 2**30, WIDE, np.int32)
    executable = axonc.compile(jax.jit(lambda x: x.sum(-1)).lower(values))
    with np.errstate(over="ignore"):
        expected = values.sum(-1, dtype=np.int32)
    np.testing.assert_array_equal(executable.run(values, checked=True)[0], expected)


def test_what_streams_through_is_not_spilled():
    """Loads stand beside the first use of their piece, stores beside its last write."""
    function, _, shapes = CASES["chain"]
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    profile = axonc.compile(jax.jit(function).lower(*arrays)).profile()
    assert profile.spill_save_bytes == profile.spill_reload_bytes == 0
    identity = 128 * 128 * 4  # for the transposes
    assert profile.hbm_bytes_read == sum(a.nbytes for a in arrays) + identity
