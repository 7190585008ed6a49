"""Programs whose arguments alone are larger than device memory are refused at once."""

from __future__ import annotations

import pytest

import axonc
from axonc.weights.references import WeightRef

ROWS = 1 << 17
TEXT = """
func.func @main(%x: tensor<8x{rows}xf32>, %w: tensor<{rows}x32768xf32>) -> tensor<8x32768xf32> {{
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
      : (tensor<8x{rows}xf32>, tensor<{rows}x32768xf32>) -> tensor<8x32768xf32>
  return %0 : tensor<8x32768xf32>
}}"""


def refused(*, is_weight: bool, rows: int = ROWS, **options: object) -> str:
    weights = {"arg1": WeightRef.absent((rows, 32768), "f32", name="arg1")} if is_weight else None
    passes: list[str] = []
    with pytest.raises(axonc.CapacityError) as caught:
        axonc.compile(
            TEXT.format(rows=rows),
            weights=weights,
            progress=lambda name, index, total: passes.append(name),
            **options,
        )
    assert "tile" not in passes
    return str(caught.value)


def test_inputs() -> None:
    error = refused(is_weight=False)
    assert "device memory: 17,184,063,488 bytes needed, a core has 17,179,869,184" in error
    assert "if these inputs are weights, bind them (--weights)" in error


def test_weights_name_the_smallest_change() -> None:
    error = refused(is_weight=True)
    assert "--auto-cast matmult --auto-cast-type bf16 (weights of half the size)" in error
    assert "--tensor-parallel over 2 cores" in error


def test_weights_in_a_type_that_is_still_too_wide() -> None:
    error = refused(is_weight=True, rows=2 * ROWS, auto_cast="matmult")
    assert "17,179,869,184 B  weights" in error and "auto-cast" not in error


def test_what_may_become_smaller_is_not_refused_early() -> None:
    """Only the bound is asked: a compile would take minutes."""
    from axonc.driver.least_memory import refuse_what_cannot_fit
    from axonc.driver.pipeline import load_module
    from axonc.frontends import import_program
    from axonc.options import CompileOptions

    weights = {"arg1": WeightRef.absent((ROWS, 32768), "f32", name="arg1")}
    program = import_program(TEXT.format(rows=ROWS), weights=weights)
    module = load_module(program)
    for options in ({"auto_cast": "all"}, {"weight_dtype": "int8", "auto_cast": "matmult"}):
        refuse_what_cannot_fit(module, program, CompileOptions(**options))
    with pytest.raises(axonc.CapacityError):
        refuse_what_cannot_fit(module, program, CompileOptions())
