"""Which result is the new value of which state: names decide, types never do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

RNG = np.random.default_rng(5)
SHAPE = (4, 16)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def lowered(function: Callable[..., object], *arguments: object, donate: object = 0) -> object:
    return jax.jit(function, donate_argnums=donate).lower(*arguments)


def pairs(
    function: Callable[..., object], *arguments: object, donate: object = 0
) -> dict[str, str]:
    executable = axonc.compile(lowered(function, *arguments, donate=donate))
    assert not executable.compiled.open_state
    return {r.state_of: r.name for r in executable.results if r.state_of}


H, X, W = floats(*SHAPE), floats(*SHAPE), floats(16, 16)


def cell(h: jax.Array, x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = jnp.tanh(h + x)
    return h @ w, h


def test_an_rnn_step_that_returns_its_output_first_carries_its_state() -> None:
    session = axonc.compile(lowered(cell, H, X, W)).session({"h": H}, checked=True)
    h = H
    for _ in range(3):
        x = floats(*SHAPE)
        y, h = cell(h, x, W)
        (found,) = session.run(x, W)
        np.testing.assert_allclose(found, y, atol=1e-4)
    np.testing.assert_allclose(session.state()["h"], h, atol=1e-5)


def test_caches_returned_in_another_order() -> None:
    def step(k: jax.Array, v: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        k, v = k.at[0].set(x), v.at[0].set(2 * x)
        return (k + v).sum(), v, k

    x = floats(16)
    executable = axonc.compile(lowered(step, H, H, x, donate=(0, 1)))
    session = executable.session(executable.zero_state(), checked=True)
    session.run(x)
    np.testing.assert_array_equal(session.state()["k"][0], x)
    np.testing.assert_array_equal(session.state()["v"][0], 2 * x)


def test_variables_with_a_new_in_their_name() -> None:
    def lstm(h: jax.Array, c: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        new_c = jax.nn.sigmoid(h) * c + x
        h_next = jnp.tanh(new_c)
        return h_next * 2, h_next, new_c

    assert pairs(lstm, H, H, X, donate=(0, 1)) == {"h": "result.1", "c": "result.2"}


def test_nested_results_and_a_result_that_is_returned_twice() -> None:
    def lstm(h: jax.Array, c: jax.Array, x: jax.Array) -> object:
        c = jax.nn.sigmoid(h) * c + x
        h = jnp.tanh(c)
        return h, (c, h)

    assert pairs(lstm, H, H, X, donate=(0, 1)) == {"h": "result.0", "c": "result.1.0"}


def test_keys_of_a_dictionary_and_of_a_tuple_behind_a_variable() -> None:
    def by_key(h: jax.Array, x: jax.Array) -> dict[str, jax.Array]:
        return {"a": h @ W, "h": jnp.tanh(h + x)}

    def behind(cache: dict[str, jax.Array], x: jax.Array) -> object:
        cache = {"v": cache["v"] + x, "k": cache["k"] - x}
        found = (cache["k"] * 2, cache)
        return found

    assert pairs(by_key, H, X) == {"h": "result.h"}
    cache = {"k": H, "v": H}
    expected = {"cache.k": "result.1.k", "cache.v": "result.1.v"}
    assert pairs(behind, cache, X) == expected


def test_a_tuple_of_the_same_keys_and_types_is_the_state_without_any_names() -> None:
    def swapped(pair: tuple[jax.Array, jax.Array], x: jax.Array) -> object:
        return x[0] + pair[0][0], (pair[1] + 1, pair[0] * x)

    assert pairs(swapped, (H, H), X) == {"pair.0": "result.1.0", "pair.1": "result.1.1"}


def test_without_names_the_only_result_that_depends_on_the_argument() -> None:
    assert pairs(lambda h, x: (x * 2, h + 1), H, X) == {"h": "result.1"}
    assert pairs(lambda h, x: (h * 2 + x)[None][0], H, X) == {"h": "result"}


def test_without_names_several_pairs_if_jax_has_chosen_them_too() -> None:
    in_order = pairs(lambda a, b, x: (a + x, b - x), H, H, X, donate=(0, 1))
    assert in_order == {"a": "result.0", "b": "result.1"}


UNDECIDED = {
    "both depend on it": (lambda h, x: (h @ x.T @ x, h + x), (H, X), 0),
    "the program says one order, JAX another": (
        lambda a, b, x: (b + 1, a * x),
        (H, H, X),
        (0, 1),
    ),  # fmt: skip
}


@pytest.mark.parametrize("why", UNDECIDED)
def test_what_nothing_decides_is_asked_for(why: str) -> None:
    function, arguments, donate = UNDECIDED[why]
    executable = axonc.compile(lowered(function, *arguments, donate=donate))
    assert not executable.state_inputs
    with pytest.raises(axonc.UsageError, match=r"may be '.*no names decide.*") as caught:
        executable.session({})
    assert "aliases={'" in str(caught.value.hint)
    with pytest.raises(axonc.UsageError, match="no names decide"):
        executable.zero_state()


def test_the_user_says_it_to_the_compiler_or_to_the_session() -> None:
    function = UNDECIDED["both depend on it"][0]
    source = lowered(function, H, X)
    said = axonc.compile(source, aliases={"h": "result.1"}).session({"h": H}, checked=True)
    open_ = axonc.compile(source).session({"h": H}, aliases={"h": "result.0"}, checked=True)
    for _ in range(2):
        said.run(X)
        open_.run(X)
    np.testing.assert_allclose(said.state()["h"], H + 2 * X, atol=1e-5)
    product = H @ X.T @ X
    np.testing.assert_allclose(open_.state()["h"], product @ X.T @ X, rtol=1e-3, atol=1e-3)


def test_a_session_may_swap_what_was_updated_in_place() -> None:
    """Each new value lies in the memory of the other input; both are moved, neither is lost."""

    def both(k: jax.Array, v: jax.Array, x: jax.Array, at: jax.Array) -> object:
        k = jax.lax.dynamic_update_slice(k, x, (at, 0))
        v = jax.lax.dynamic_update_slice(v, 2 * x, (at, 0))
        return k, v

    x, at = floats(1, 16), np.int32(1)
    executable = axonc.compile(lowered(both, H, H, x, at, donate=(0, 1)))
    assert [t.alias for t in executable.compiled.program.tensors if t.alias] == ["k", "v"]
    aliases = {"k": "result.1", "v": "result.0"}
    start = {"k": floats(*SHAPE), "v": floats(*SHAPE)}
    session = executable.session(start, aliases=aliases, checked=True)
    k, v = start["k"], start["v"]
    for _ in range(3):
        assert session.run(x, at) == []
        v, k = map(np.asarray, both(k, v, x, at))
    np.testing.assert_array_equal(session.state()["k"], k)
    np.testing.assert_array_equal(session.state()["v"], v)


def test_wrong_aliases_are_named() -> None:
    source = lowered(lambda h, x: (h + x, x[0]), H, X)
    executable = axonc.compile(source)
    for aliases, message in (
        ({"g": "result.0"}, "no input 'g'"),
        ({"h": "result.7"}, r"no result 'result\.7'"),
        ({"h": "result.1"}, r"'result\.1: .*' cannot be the new value of input 'h: "),
        ({"h": "result.0", "x": "result.0"}, "of one input only"),
    ):
        with pytest.raises(axonc.UsageError, match=message):
            axonc.compile(source, aliases=aliases)
        with pytest.raises(axonc.UsageError, match=message):
            executable.session({}, aliases=aliases)


def test_what_is_open_stays_open_in_files(tmp_path: Path) -> None:
    from axonc.frontends import import_program

    function = UNDECIDED["both depend on it"][0]
    imported = import_program(lowered(function, H, X))
    again = import_program(imported.module_bytes)
    assert imported.open_state == again.open_state == {"h": ("result.0", "result.1")}
    axonc.compile(imported).save(tmp_path / "p.axon")
    with pytest.raises(axonc.UsageError, match="no names decide"):
        axonc.load(tmp_path / "p.axon").session({"h": H})


def test_buffers_of_torch_begin_with_the_values_of_the_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Average(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_var", torch.ones(8))
            self.register_buffer("seen", torch.full((1,), 5, dtype=torch.int64))

        def forward(self, x: object) -> object:
            self.running_var.mul_(0.5).add_(x)
            self.seen.add_(1)
            return self.running_var * 2

    module = Average().eval()
    executable = axonc.compile(torch.export.export(module, (torch.zeros(8),), strict=False))
    module(torch.full((8,), 100.0))  # the module goes on, the program does not notice
    executable.save(tmp_path / "p.axon")
    for found in (executable, axonc.load(tmp_path / "p.axon")):
        initial = found.initial_state()
        np.testing.assert_array_equal(initial["running_var"], np.ones(8, np.float32))
        np.testing.assert_array_equal(initial["seen"], np.array([5]))
        session = found.session(checked=True)
        (doubled,) = session.run(np.full(8, 3, np.float32))
        np.testing.assert_array_equal(doubled, np.full(8, 2 * (0.5 + 3), np.float32))
        np.testing.assert_array_equal(session.state()["seen"], [6])
        begun = found.session({"running_var": np.zeros(8, np.float32)})  # the rest as it was
        begun.run(np.zeros(8, np.float32))
        np.testing.assert_array_equal(begun.state()["seen"], [6])


def test_state_without_values_has_to_be_given() -> None:
    with pytest.raises(axonc.UsageError, match="state 'h' is missing"):
        axonc.compile(lowered(cell, H, X, W)).session()
