"""Wrong arguments of a call: one error with the argument, what was found, what was expected."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from small_models import DENSE, SELECT, dense_arrays

import axonc


@pytest.fixture(scope="module")
def dense() -> axonc.Executable:
    return axonc.compile(DENSE)


@pytest.fixture(scope="module")
def select() -> axonc.Executable:
    return axonc.compile(SELECT)


def refused(executable: axonc.Executable, *arrays: object) -> str:
    with pytest.raises(axonc.ExecutionError) as caught:
        executable.run(*arrays)
    return str(caught.value)


def test_wrong_count(dense: axonc.Executable) -> None:
    message = refused(dense, dense_arrays()["x"])
    assert "1 arrays given, the program takes 3: x: tensor<4x8xf32>" in message


def test_wrong_shape(dense: axonc.Executable) -> None:
    arrays = dense_arrays() | {"x": np.zeros((3, 8), np.float32)}
    assert "input 'x' is float32[3, 8], expected float32[4, 8]" in refused(dense, arrays)


def test_wrong_shape_of_the_right_size_hints_at_reshape(dense: axonc.Executable) -> None:
    arrays = dense_arrays() | {"x": np.zeros((8, 4), np.float32)}
    assert "reshape it: array.reshape((4, 8))" in refused(dense, arrays)


def test_wrong_dtype(dense: axonc.Executable) -> None:
    arrays = dense_arrays() | {"x": np.zeros((4, 8))}
    message = refused(dense, arrays)
    assert "input 'x' is float64[4, 8], expected float32[4, 8]" in message
    assert "array.astype('float32')" in message


def test_unknown_name_suggests_the_nearest(dense: axonc.Executable) -> None:
    arrays = dense_arrays()
    arrays["ww"] = arrays.pop("w")
    message = refused(dense, arrays)
    assert "no input 'ww'" in message and "did you mean 'w'?" in message


def test_missing_name(dense: axonc.Executable) -> None:
    arrays = dense_arrays()
    del arrays["b"]
    assert "input 'b' is missing" in refused(dense, arrays)


def test_places_beyond_32_bits_are_named() -> None:
    rows = axonc.compile(
        """func.func @main(%ids: tensor<4xi64> {neuron.name = "ids"}, %x: tensor<9xf32>)
            -> tensor<4xf32> {
          %0 = stablehlo.convert %ids : (tensor<4xi64>) -> tensor<4xi32>
          %1 = "stablehlo.gather"(%x, %0) <{dimension_numbers = #stablehlo.gather<
            collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>,
            slice_sizes = array<i64: 1>}> : (tensor<9xf32>, tensor<4xi32>) -> tensor<4xf32>
          return %1 : tensor<4xf32>
        }"""
    )
    message = refused(rows, np.array([1, 2, 2**31, 4]), np.zeros(9, np.float32))
    assert "input 'ids' holds 2147483648 at [2]" in message
    assert "int32, -2147483648 to 2147483647" in message


def test_integers_that_are_returned_may_be_of_any_size(select: axonc.Executable) -> None:
    ids = np.array([1, 2**31, -(2**63), 2**63 - 1])
    chosen, _ = select.run(ids, np.ones(4, bool), np.zeros(4, np.int64))
    assert chosen.tolist() == ids.tolist()


def test_integers_that_just_fit_are_accepted(select: axonc.Executable) -> None:
    ids = np.array([-(2**31), 2**31 - 1, 0, -1])
    chosen, _ = select.run(ids, np.ones(4, bool), np.zeros(4, np.int64))
    assert chosen.tolist() == ids.tolist()


def test_scalars_keep_rank_zero() -> None:
    text = """func.func @main(%x: tensor<f32>) -> tensor<f32> {
      %0 = stablehlo.add %x, %x : tensor<f32>
      return %0 : tensor<f32>
    }"""
    (y,) = axonc.compile(text).run(np.float32(1.5))
    assert y.shape == () and y == 3.0


def test_nested_weights_are_bound_by_their_paths() -> None:
    weights = {"layers": [{"w": np.eye(4, dtype=np.float32)}, {"w": np.ones((4, 3), np.float32)}]}

    def program(params: dict[str, list[dict[str, jax.Array]]], x: jax.Array) -> jax.Array:
        for layer in params["layers"]:
            x = x @ layer["w"]
        return x

    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    executable = axonc.compile(jax.jit(program).lower(weights, x), weights=weights)
    assert [t.name for t in executable.inputs] == ["x"]
    np.testing.assert_allclose(executable.run(x)[0], x @ np.ones((4, 3)), rtol=1e-6)
