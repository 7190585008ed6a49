"""Random numbers of torch: distributions, and who draws what."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def drawn(function: Callable[..., object], *inputs: object) -> list[np.ndarray]:
    """Results of the first call with seed 0, in checked mode."""

    class Model(torch.nn.Module):
        def forward(self, *given: object) -> object:
            return function(*given)

    program = torch.export.export(Model(), inputs, strict=False)
    return axonc.compile(program).run(*(np.asarray(x) for x in inputs), checked=True)


def test_dropout_in_training() -> None:
    x = torch.arange(1.0, 2001.0).reshape(4, 500)
    found, other = drawn(lambda x: (functional.dropout(x, 0.25), functional.dropout(x, 0.25)), x)
    kept = found != 0
    np.testing.assert_allclose(found[kept], (x.numpy() / 0.75)[kept], rtol=1e-6)
    assert 0.7 < kept.mean() < 0.8
    assert 0.5 < (kept == (other != 0)).mean() < 0.75  # two draws, not one


def test_uniform_normal_and_integers() -> None:
    def function() -> object:
        x = torch.rand(4000), torch.randn(4000), torch.randint(2, 9, (4000,))
        return (*x, torch.empty(4000).uniform_(1, 3), torch.empty(4000).exponential_(2.0))

    unit, normal, integers, uniform, exponential = drawn(function)
    assert 0 <= unit.min() and unit.max() < 1 and abs(unit.mean() - 0.5) < 0.02
    assert abs(normal.mean()) < 0.06 and abs(normal.std() - 1) < 0.05
    assert integers.dtype == np.int64 and set(integers) == set(range(2, 9))
    assert 1 <= uniform.min() and uniform.max() < 3 and abs(uniform.mean() - 2) < 0.04
    assert exponential.min() > 0 and abs(exponential.mean() - 0.5) < 0.04


def test_bernoulli_multinomial_and_permutation() -> None:
    weights = torch.tensor([[0.0, 1.0, 3.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    probability = torch.full((3000,), 0.3)
    found, places, many, order = drawn(
        lambda p, w: (
            torch.bernoulli(p),
            torch.multinomial(w, 2),
            torch.multinomial(w, 600, replacement=True),
            torch.randperm(9),
        ),
        probability,
        weights,
    )
    assert set(found) == {0.0, 1.0} and abs(found.mean() - 0.3) < 0.04
    assert sorted(places[0]) == [1, 2] and sorted(places[1]) == [0, 3]
    assert set(many[0]) == {1, 2} and abs((many[0] == 2).mean() - 0.75) < 0.08
    assert sorted(order) == list(range(9))


def test_attention_with_dropout() -> None:
    """All values are equal, so each row is the sum of the probabilities that stay."""
    q, v = torch.randn(1, 2, 64, 8), torch.ones(1, 2, 64, 8)
    (found,) = drawn(
        lambda q, v: functional.scaled_dot_product_attention(q, q, v, dropout_p=0.5), q, v
    )
    assert abs(found.mean() - 1) < 0.1 and found.std() > 0.05
