"""64-bit inputs in one word of the machine or in two, and what becomes of values beyond 32 bits."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.backends.program import TensorKind

BEYOND = np.array([0, 5, -5, 2**31 - 1, 2**31, -(2**31) - 1, 2**40 + 3, -(2**63), 2**63 - 1])


def compiled(function: object, *arrays: np.ndarray) -> axonc.Executable:
    with jax.enable_x64(True):
        return axonc.compile(jax.jit(function, keep_unused=True).lower(*arrays))


def words_of(executable: axonc.Executable, name: str) -> int:
    """How many words an input takes."""
    (holder,) = executable.holders(TensorKind.INPUT, name)
    host = next(h for h in executable.inputs if h.name == name)
    return 2 if len(holder.tensor.shape) > len(host.shape) else 1


def test_a_mask_takes_one_word_and_saturates() -> None:
    executable = compiled(lambda m: (m != 0, m > 3, m < -4), BEYOND)
    (name,) = (h.name for h in executable.inputs)
    assert words_of(executable, name) == 1
    for found, wanted in zip(
        executable.run(BEYOND, checked=True), (BEYOND != 0, BEYOND > 3, BEYOND < -4), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_saturation_survives_a_file(tmp_path: Path) -> None:
    executable = compiled(lambda m: m > 3, BEYOND)
    executable.save(tmp_path / "p.axon")
    loaded = axonc.load(tmp_path / "p.axon")
    assert loaded.inputs == executable.inputs and loaded.inputs[0].limits is not None
    np.testing.assert_array_equal(loaded.run(BEYOND)[0], BEYOND > 3)


NEXT = """func.func @main(%i: tensor<i64>, %x: tensor<10xf32>) -> tensor<1xf32> {
  %one = stablehlo.constant dense<1> : tensor<i64>
  %0 = stablehlo.add %i, %one : tensor<i64>
  %1 = stablehlo.dynamic_slice %x, %0, sizes = [1] : (tensor<10xf32>, tensor<i64>) -> tensor<1xf32>
  return %1 : tensor<1xf32>
}"""


def test_an_offset_draws_the_limits_of_a_place_in() -> None:
    executable = axonc.compile(NEXT)
    table = np.arange(10, dtype=np.float32)
    assert words_of(executable, executable.inputs[0].name) == 1
    for place in (0, 8, 9, -1, -7, 2**31 - 2**20 - 1):
        wanted = np.clip(place + 1, 0, 9)
        assert executable.run(np.array(place), table, checked=True)[0] == wanted
    with pytest.raises(axonc.ExecutionError, match="takes -2146435072 to 2146435071"):
        executable.run(np.array(2**31 - 1), table)


def test_places_of_a_table_saturate() -> None:
    table = np.arange(10, dtype=np.float32)
    text = """func.func @main(%i: tensor<9xi64>, %x: tensor<10xf32>) -> tensor<9xf32> {
      %0 = "stablehlo.gather"(%x, %i) <{dimension_numbers = #stablehlo.gather<
            collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>,
            slice_sizes = array<i64: 1>}> : (tensor<10xf32>, tensor<9xi64>) -> tensor<9xf32>
      return %0 : tensor<9xf32>
    }"""
    executable = axonc.compile(text)
    assert words_of(executable, executable.inputs[0].name) == 1
    np.testing.assert_array_equal(executable.run(BEYOND, table)[0], np.clip(BEYOND, 0, 9))


def test_places_that_are_cut_off_are_checked() -> None:
    executable = compiled(lambda i, x: x[i], BEYOND[:2], np.zeros(10, np.float32))
    executable.run(np.array([0, 9]), np.zeros(10, np.float32))
    with pytest.raises(axonc.ExecutionError, match=r"holds 2147483648 at \[1\]"):
        executable.run(np.array([0, 2**31]), np.zeros(10, np.float32))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: x // 7,
        lambda x: x.astype(jnp.int32),
        lambda x: x.astype(jnp.float32),
        lambda x: x < 2**31 - 1,
        lambda x: x < 2**40,
        lambda x: (x * 3) % 5 == 1,
        lambda x: x < x[0],
        lambda x: jnp.where(x > 0, x, 0).sum() > 5,
        lambda x: (x << 1) > 0,
        lambda x: x + 1000 > 7,
        lambda x: x - 9 < 2,
        lambda x: x.astype(jnp.int32) > 7,
    ],
)
def test_what_tells_large_values_apart_takes_two_words(function: object) -> None:
    executable = compiled(function, BEYOND)
    assert words_of(executable, executable.inputs[0].name) == 2
    with jax.enable_x64(True):
        wanted = jax.jit(function)(BEYOND)
    np.testing.assert_array_equal(executable.run(BEYOND, checked=True)[0], np.asarray(wanted))


def test_two_words_reach_a_repeated_block() -> None:
    x, w = np.arange(16).reshape(4, 4), np.ones((4, 4, 4), np.int64)

    def counted(x: jax.Array, w: jax.Array) -> jax.Array:
        for n in range(4):
            x = x @ w[n] + 2**33
        return x

    executable = compiled(counted, x, w)
    np.testing.assert_array_equal(executable.run(x, w, checked=True)[0], _counted(x, w))


def _counted(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    for n in range(4):
        x = x @ w[n] + 2**33
    return x


STEP = """func.func @main(%n: tensor<i64> {neuron.name = "n"}, %x: tensor<i64> {neuron.name = "x"},
                               %t: tensor<10xf32> {neuron.name = "t"})
    -> (tensor<i64> {neuron.name = "next"}, tensor<1xf32> {neuron.name = "y"}) {
  %0 = stablehlo.add %n, %x : tensor<i64>
  %1 = stablehlo.dynamic_slice %t, %n, sizes = [1] : (tensor<10xf32>, tensor<i64>) -> tensor<1xf32>
  return RESULT, %1 : tensor<i64>, tensor<1xf32>
}"""
TABLE = np.arange(10, dtype=np.float32)


def test_state_takes_as_many_words_as_its_next_value() -> None:
    """The state alone would take one word, its next value takes two."""
    executable = axonc.compile(STEP.replace("RESULT", "%x"), aliases={"n": "next"})
    assert words_of(executable, "n") == 2
    session = executable.session({"n": np.array(2)})
    assert session.run(np.array(3), TABLE)[0] == 2
    assert session.run(np.array(2**40), TABLE)[0] == 3
    assert session.run(np.array(0), TABLE)[0] == 9
    assert session.state()["n"] == 0


def test_state_in_one_word_may_follow_from_two() -> None:
    """Which result is the next value of `n` is said when the program is compiled already."""
    executable = axonc.compile(STEP.replace("RESULT", "%x"))
    assert (words_of(executable, "n"), words_of(executable, "x")) == (1, 2)
    session = executable.session({"n": np.array(2)}, aliases={"n": "next"})
    assert session.run(np.array(3), TABLE)[0] == 2
    assert session.run(np.array(2**40), TABLE)[0] == 3
    assert session.run(np.array(-(2**40)), TABLE)[0] == 9
    assert session.run(np.array(0), TABLE)[0] == 0


def test_weights_of_64_bits() -> None:
    text = """func.func @main(%x: tensor<3xi64> {neuron.name = "x"},
                                   %w: tensor<3xi64> {neuron.name = "w"}) -> tensor<3xi64> {
      %0 = stablehlo.multiply %x, %w : tensor<3xi64>
      return %0 : tensor<3xi64>
    }"""
    weight = np.array([2**40, -1, 3])
    executable = axonc.compile(text, weights={"w": weight})
    x = np.array([5, 2**35, -(2**62)])
    np.testing.assert_array_equal(executable.run(x, checked=True)[0], x * weight)
