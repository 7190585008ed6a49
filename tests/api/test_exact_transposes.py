"""Infinities in transposes: a program that meets some is compiled again with transposes that keep
them, also one that was loaded, from the source in its file; where that is not enough, it says what
to do."""

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


WEIGHTED = """
func.func @main(%x: tensor<300x200xf32>, %w: tensor<20x300xf32>, %unused: tensor<3xf32>)
    -> (tensor<200x300xf32>, tensor<20x200xf32>) {
  %0 = stablehlo.transpose %x, dims = [1, 0] : (tensor<300x200xf32>) -> tensor<200x300xf32>
  %1 = stablehlo.add %0, %0 : tensor<200x300xf32>
  %2 = stablehlo.dot_general %w, %x, contracting_dims = [1] x [0]
      : (tensor<20x300xf32>, tensor<300x200xf32>) -> tensor<20x200xf32>
  return %1, %2 : tensor<200x300xf32>, tensor<20x200xf32>
}
"""
X = np.random.default_rng(1).standard_normal((300, 200)).astype(np.float32)
X[3, 5] = np.inf
WEIGHTS = {"w": np.eye(20, 300, dtype=np.float32), "unused": np.zeros(3, np.float32)}
NAMED = WEIGHTED.replace("%w: tensor<20x300xf32>", '%w: tensor<20x300xf32> {neuron.name = "w"}')
NAMED = NAMED.replace("tensor<3xf32>)", 'tensor<3xf32> {neuron.name = "unused"})')


def check_loaded(program: axonc.Executable, checked: bool = False) -> None:
    y, _ = program.run(X, checked=checked)
    np.testing.assert_array_equal(y, 2 * X.T)
    assert program.compiled.options.exact_transposes


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("embed", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_a_loaded_program_is_compiled_again_too(
    tmp_path: Path, checked: bool, embed: bool, times: int
) -> None:
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    program = axonc.compile(NAMED, weights=tmp_path / "w.npz")
    for _ in range(times):
        program.save(tmp_path / "program.axon", embed_weights=embed)
        program = axonc.load(tmp_path / "program.axon")
    check_loaded(program, checked)
    program.save(tmp_path / "exact.axon")
    check_loaded(axonc.load(tmp_path / "exact.axon"))


def test_a_loaded_program_of_8_bit_weights_needs_the_originals(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    program = axonc.compile(NAMED, weights=tmp_path / "w.npz", weight_dtype="int8")
    program.save(tmp_path / "refers.axon")
    program.save(tmp_path / "embeds.axon", embed_weights=True)
    check_loaded(axonc.load(tmp_path / "refers.axon"))
    with pytest.raises(axonc.ExecutionError, match="(?s)transpose-range.*--exact-tr"):
        axonc.load(tmp_path / "embeds.axon").run(X)


def test_a_loaded_program_of_several_cores_is_compiled_again(tmp_path: Path) -> None:
    path = tmp_path / "cut.axon"
    axonc.compile(NAMED, weights=WEIGHTS, cores=2, parallel="tensor").save(path)
    check_loaded(axonc.load(path))


def test_a_loaded_pipeline_is_compiled_again(tmp_path: Path) -> None:
    square = "tensor<200x200xf32>"
    text = f"""func.func @main(%x: {square}, %w: {square} {{neuron.name = "w"}}) -> {square} {{
      %0 = stablehlo.dot_general %w, %x, contracting_dims = [1] x [0]
          : ({square}, {square}) -> {square}
      %1 = stablehlo.exponential %0 : {square}
      %2 = stablehlo.dot_general %w, %1, contracting_dims = [1] x [0]
          : ({square}, {square}) -> {square}
      %3 = stablehlo.transpose %2, dims = [1, 0] : ({square}) -> {square}
      %4 = stablehlo.add %3, %3 : {square}
      return %4 : {square}
    }}"""
    weights = {"w": np.eye(200, dtype=np.float32)}
    program = axonc.compile(text, weights=weights, cores=2, parallel="pipeline")
    program.save(tmp_path / "stages.axon")
    program = axonc.load(tmp_path / "stages.axon")
    x = np.zeros((200, 200), np.float32)
    x[3] = 100  # exp(100) is infinite
    (y,) = program.run(x)
    assert np.isinf(y[:, 3]).all()
    assert program.compiled.options.exact_transposes


def test_a_program_that_is_exact_carries_no_source(tmp_path: Path) -> None:
    axonc.compile(PROGRAM, exact_transposes=True).save(tmp_path / "exact.axon")
    axonc.compile(PROGRAM).save(tmp_path / "plain.axon")
    assert axonc.load(tmp_path / "exact.axon").compiled.source is None
    assert axonc.load(tmp_path / "plain.axon").compiled.source is not None


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_keeps_them_with_exact_transposes(special: float) -> None:
    x = numbers(special)
    (y,) = axonc.compile(PROGRAM, exact_transposes=True).run(x, checked=True)
    np.testing.assert_array_equal(y, 2 * x.T)


def test_allows_finite_numbers_on_the_tensor_engine() -> None:
    x = numbers(0.0)
    (y,) = axonc.compile(PROGRAM).run(x, checked=True)
    np.testing.assert_array_equal(y, 2 * x.T)
