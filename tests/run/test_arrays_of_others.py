"""Arrays of other libraries as inputs, calls without `.run`, results by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import axonc

VALUES = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)


def doubled(dtype: Any) -> axonc.Executable:
    def function(x: jax.Array) -> dict[str, jax.Array]:
        return {"twice": x + x, "same": x}

    return axonc.compile(jax.jit(function).lower(jax.ShapeDtypeStruct((4, 4), dtype)))


class OnlyDlpack:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class OnlyArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return VALUES


@pytest.mark.parametrize("make", [OnlyDlpack, lambda _: OnlyArray(), jnp.asarray])
def test_whatever_gives_an_array_is_one(make: Callable[[np.ndarray], object]) -> None:
    same, twice = doubled(np.float32)(make(VALUES))
    np.testing.assert_array_equal(twice, 2 * VALUES)
    np.testing.assert_array_equal(same, VALUES)


def test_tensors_of_torch_in_types_numpy_has_no_name_for() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(VALUES).to(torch.bfloat16)
    for given in (tensor, tensor.T.contiguous().T, tensor.clone().requires_grad_()):
        same, twice = doubled(jnp.bfloat16).run(given, checked=True)
        assert twice.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(twice.astype(np.float32), 2 * VALUES)  # exact in bf16
    named = doubled(jnp.bfloat16).run({"x": tensor})
    np.testing.assert_array_equal(named[0].astype(np.float32), VALUES)


def test_a_tensor_that_is_a_strided_view_or_negated() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(VALUES).requires_grad_()
    same, _ = doubled(np.float32)(tensor.T)
    np.testing.assert_array_equal(same, VALUES.T)


def test_what_is_no_array_is_named() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            raise TypeError("no bytes here")

    executable = doubled(np.float32)
    with pytest.raises(axonc.ExecutionError, match="input 'x' is a Broken that is no array: no by"):
        executable(Broken())
    with pytest.raises(axonc.ExecutionError, match=r"input 'x' is object\[\]"):
        executable(object())


def test_results_have_names_and_stay_a_list() -> None:
    executable = doubled(np.float32)
    found = executable(VALUES)
    assert isinstance(found, list)
    assert executable.result_names == ("result.same", "result.twice")
    named = executable.run_by_name(VALUES)
    assert list(named) == ["result.same", "result.twice"]
    np.testing.assert_array_equal(named["result.twice"], 2 * VALUES)
