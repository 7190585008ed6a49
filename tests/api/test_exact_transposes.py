"""Infinities in transposes: a program that meets some is compiled again with transposes that keep
them; a program without its source says what to do."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import axonc

PROGRAM = """
func.func @main(%x: tensor<300x200xf32>) -> tensor<200x300xf32> {
  %0 = stablehlo.transpose %x, dims = [1, 0] : (tensor<300x200xf32>) -> tensor<200x300xf32>
  %1 = stablehlo.add %0, %0 : tensor<200x300xf32>
  return %1 : tensor<200x300xf32>
}
"""


def numbers(special: float) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
    x[3, 5] = special
    return x


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("checked", [False, True])
def test_compiles_again_where_a_transpose_on_the_tensor_engine_would_spread_them(
    special: float, checked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    program = axonc.compile(PROGRAM)
    finite, x = numbers(0.0), numbers(special)
    with caplog.at_level(logging.WARNING, logger="axonc"):
        for given in (finite, x, finite, x):
            (y,) = program.run(given, checked=checked)
            np.testing.assert_array_equal(y, 2 * given.T)
    (record,) = caplog.records
    assert ":4:" in record.getMessage()  # the line of the op that needs the transpose


@pytest.mark.parametrize("checked", [False, True])
def test_a_loaded_program_names_the_option(tmp_path: Path, checked: bool) -> None:
    axonc.compile(PROGRAM).save(tmp_path / "program.axon")
    program = axonc.load(tmp_path / "program.axon")
    with pytest.raises(axonc.ExecutionError, match="(?s)transpose-range.*--exact-tr") as caught:
        program.run(numbers(np.inf), checked=checked)
    assert ":4:" in str(caught.value)


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_keeps_them_with_exact_transposes(special: float) -> None:
    x = numbers(special)
    (y,) = axonc.compile(PROGRAM, exact_transposes=True).run(x, checked=True)
    np.testing.assert_array_equal(y, 2 * x.T)


def test_allows_finite_numbers_on_the_tensor_engine() -> None:
    x = numbers(0.0)
    (y,) = axonc.compile(PROGRAM).run(x, checked=True)
    np.testing.assert_array_equal(y, 2 * x.T)
