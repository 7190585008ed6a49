"""Complex numbers and Fourier transforms of JAX, to checked streams, against numpy and XLA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(2, *shape))
    return (drawn[0] + 1j * drawn[1]).astype(np.complex64)


def check(function: Callable[..., object], *inputs: np.ndarray, error: float = 1e-5) -> None:
    """error: relative to each number, and to the largest one."""
    lowered = jax.jit(function, keep_unused=True).lower(*inputs)
    expected = jax.tree.leaves(jax.jit(function)(*inputs))
    for found, wanted in zip(
        axonc.compile(lowered).run(*inputs, checked=True), expected, strict=True
    ):
        assert found.dtype == wanted.dtype
        scale = float(np.abs(wanted).max(initial=0))
        np.testing.assert_allclose(found, wanted, rtol=error, atol=error * scale)


@pytest.mark.parametrize(
    "name",
    "exp log log1p expm1 sqrt sin cos tan sinh cosh tanh arcsin arctan arccosh abs angle conj "
    "square reciprocal sign".split(),
)
def test_functions(name: str) -> None:
    check(getattr(jnp, name), numbers(7, 9))


@pytest.mark.parametrize("name", "add subtract multiply divide power equal maximum".split())
def test_functions_of_two(name: str) -> None:
    check(getattr(jnp, name), numbers(7, 9), numbers(7, 9, seed=1), error=2e-5)


def test_quotients_and_magnitudes_of_extreme_numbers() -> None:
    """Their squares are beyond float32."""
    large = np.array([3e30 + 4e30j, 3e-30 - 4e-30j, 1 + 0j, -2e38 + 1e10j], np.complex64)
    check(jnp.abs, large)
    check(lambda x: (1 + 2j) * x / x, large)
    found = axonc.compile(jax.jit(lambda x: 1 / x).lower(large)).run(np.zeros(4, np.complex64))[0]
    assert np.isinf(found.real).all()


@pytest.mark.parametrize("value", (0.0, -0.0, 50.0, -90.0, np.inf, 1e-20))
def test_hyperbolic_tangent_at_its_edges(value: float) -> None:
    z = (np.float32(value) + 1j * np.array([0.0, 0.5, 1.5, -2.0])).astype(np.complex64)
    with np.errstate(all="ignore"):
        z.real = value
        check(jnp.tanh, z)


STRUCTURES: dict[str, Callable[[jax.Array], object]] = {
    "a constant": lambda x: jnp.abs(x * (1 + 2j)),
    "a large constant": lambda x: x * jnp.asarray(numbers(6, 8, seed=3)),
    "sums and products": lambda x: (x.sum(0), x.prod(1), x.mean()),
    "scans": lambda x: (jnp.cumsum(x, 1), jnp.cumprod(x, 1)),
    "choices": lambda x: jnp.where(x.real > 0, x, x.conj() * 2),
    "places": lambda x: (x[jnp.array([3, 1, 1])], x.at[2].set(1j), x.at[jnp.array([1, 1])].add(1j)),
    "products of matrices": lambda x: x @ x.T,
    "moves": lambda x: jnp.pad(jnp.concatenate([x, x[::-1]], 1).T, ((1, 0), (0, 2))),
    "a loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, v: v * (1 + 0.1j), x),
    "angles": lambda x: jnp.exp(1j * x.real),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures(name: str) -> None:
    check(STRUCTURES[name], numbers(6, 8), error=3e-5)


def test_gradient() -> None:
    def loss(x: jax.Array) -> jax.Array:
        return jnp.abs(jnp.exp(1j * x) * (1 + 2j) + x).sum()

    check(jax.grad(loss), np.linspace(-3, 3, 30, dtype=np.float32))


@pytest.mark.parametrize("length", (1, 2, 5, 100, 128, 131, 200, 1000))
def test_transforms_of_any_length(length: int) -> None:
    """Factors (200 = 100 * 2, 1000), and a prime beyond a matrix."""
    x = numbers(3, length)
    check(lambda x: (jnp.fft.fft(x), jnp.fft.ifft(x)), x)
    check(jnp.fft.rfft, x.real)
    check(lambda x: jnp.fft.irfft(x, 2 * length - 1), x)


def test_transforms_of_several_dims() -> None:
    x = numbers(3, 6, 10)
    check(
        lambda x: (jnp.fft.fft2(x), jnp.fft.ifftn(x), jnp.fft.irfft2(x), jnp.fft.fft(x, axis=0)), x
    )
    check(jnp.fft.rfftn, x.real)


def test_complex_weights_state_and_files(tmp_path: Path) -> None:
    z = numbers(3, 4)
    lowered = jax.jit(lambda state, w, x: state * w + x, donate_argnums=0).lower(z, z, z)
    program = axonc.compile(lowered, weights={"w": z})
    program.save(tmp_path / "p.axon")
    session = axonc.load(tmp_path / "p.axon").session({"state": z})
    session.run(z)
    np.testing.assert_allclose(session.state()["state"], z * z + z, rtol=1e-5)
