"""Hand-written kernels: what `axonc.kernel` promises to the person who writes one."""

import doctest
import runpy
from pathlib import Path

import numpy as np
import pytest

import axonc.kernel
from axonc.backends.numerics.dtypes import BF16, F32, I32
from axonc.backends.targets import INF2
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CapacityError, ExecutionError, UsageError, VerifyError
from axonc.kernel import Kernel
from axonc.project_paths import project_path

ROOT = Path(__file__).parents[2]


def scaled(kernel: Kernel, shape: tuple[int, int] = (128, 64)) -> None:
    """y = 2 x."""
    tile = kernel.sbuf(shape, F32)
    kernel.dma(tile, kernel.input("x", shape, F32))
    kernel.emit("activation", dst=tile, src=tile, func="copy", scale=2.0)
    kernel.dma(kernel.output("y", shape, F32), tile)


def test_the_docstring_is_true():
    assert doctest.testmod(axonc.kernel).failed == 0


def test_the_tutorial_runs(capsys):
    runpy.run_path(str(ROOT / "docs/tutorial/write_a_kernel.py"), run_name="__main__")
    assert "largest difference" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["fast", "checked"])
def test_a_kernel_computes(mode):
    kernel = Kernel(INF2)
    scaled(kernel)
    x = np.random.default_rng(1).standard_normal((128, 64)).astype(np.float32)
    np.testing.assert_array_equal(kernel.compile().run(mode=mode, x=x)["y"], 2 * x)


def test_time_is_modelled_without_a_run():
    kernel = Kernel()
    scaled(kernel)
    compiled = kernel.compile()
    assert compiled.modelled_ns() == compiled.timeline().total_ns
    assert compiled.modelled_ns() > INF2.program_start_ns + 2 * INF2.dma.fixed_latency_ns
    assert compiled.timeline(record=True).transfers is not None


def test_two_builds_are_the_same_bytes():
    first, second = Kernel(), Kernel()
    scaled(first)
    scaled(second)
    assert first.compile().program.streams == second.compile().program.streams


def test_instructions_know_the_line_that_wrote_them():
    kernel = Kernel()
    scaled(kernel)
    program = kernel.compile().program
    files = {location.file for location in program.locations[1:]}
    assert files == {project_path(__file__)}
    assert {location.name for location in program.locations[1:]} == {"scaled"}


def test_wrong_input_is_named():
    kernel = Kernel()
    scaled(kernel)
    compiled = kernel.compile()
    with pytest.raises(ExecutionError, match="'x' is float64"):
        compiled.run(x=np.zeros((128, 64)))
    with pytest.raises(ExecutionError, match="x is missing"):
        compiled.run()


# ---- errors of the builder -------------------------------------------------------------------


def test_unknown_instruction_suggests_one():
    with pytest.raises(VerifyError, match="no instruction 'activaton'[^$]*'activation'"):
        Kernel().emit("activaton")


def test_unknown_operand_suggests_one():
    kernel = Kernel()
    tile = kernel.sbuf((128, 8), F32)
    with pytest.raises(VerifyError, match="no operand or field 'fnc'[^$]*'func'"):
        kernel.emit("activation", dst=tile, src=tile, fnc="exp")


def test_missing_operand_is_named():
    kernel = Kernel()
    with pytest.raises(VerifyError, match="operand 'src' is missing"):
        kernel.emit("activation", dst=kernel.sbuf((128, 8), F32), func="exp")


def test_operand_must_be_a_view():
    kernel = Kernel()
    tile = kernel.sbuf((128, 8), F32)
    with pytest.raises(VerifyError, match="operand 'src' is a ndarray"):
        kernel.emit("activation", dst=tile, src=np.zeros((128, 8)), func="exp")


def test_unknown_function_names_the_line():
    kernel = Kernel()
    tile = kernel.sbuf((128, 8), F32)
    with pytest.raises(VerifyError, match=r"(?s)test_kernel.*C12.*func = 'expp'"):
        kernel.emit("activation", dst=tile, src=tile, func="expp")


@pytest.mark.parametrize("partitions", [0, 129])
def test_partitions_are_limited(partitions):
    with pytest.raises(VerifyError, match=f"{partitions} partitions; a tile has 1 to 128"):
        Kernel().sbuf((partitions, 4), F32)


@pytest.mark.parametrize("index", [slice(0, 129), slice(5, 5), 128, (0, 8), (0, slice(4, 9))])
def test_views_stay_inside(index):
    tile = Kernel().sbuf((128, 8), F32)
    with pytest.raises(IndexError, match="outside a dimension of size"):
        tile[index]


def test_shapes_must_agree():
    kernel = Kernel()
    a, b = kernel.sbuf((128, 8), F32), kernel.sbuf((128, 9), F32)
    with pytest.raises(VerifyError, match="tensor_tensor"):
        kernel.emit("tensor_tensor", dst=a, src0=a, src1=b, op="add")


def test_matmul_does_not_write_sbuf():
    kernel = Kernel()
    a = kernel.sbuf((128, 128), BF16)
    with pytest.raises(VerifyError, match="dst is in sbuf"):
        kernel.matmul(kernel.sbuf((128, 128), F32), a, a, accumulate=False)


def test_queues_are_not_chosen_by_hand():
    kernel = Kernel()
    x = kernel.input("x", (128, 8), I32)
    with pytest.raises(VerifyError, match="queue"):
        kernel.dma(kernel.sbuf((128, 8), I32), x, queue=3)


def test_transfers_are_triggered_by_one_engine():
    kernel = Kernel()
    x, tile = kernel.input("x", (128, 8), I32), kernel.sbuf((128, 8), I32)
    with pytest.raises(VerifyError, match="not by the gpsimd engine"):
        kernel.emit("dma_copy", Engine.SCALAR, dst=tile, src=x)


def test_names_of_inputs_are_unique():
    kernel = Kernel()
    kernel.input("x", (1, 1), F32)
    with pytest.raises(VerifyError, match="two device tensors are called 'x'"):
        kernel.output("x", (1, 1), F32)


def test_a_kernel_has_an_output():
    with pytest.raises(UsageError, match="no output"):
        Kernel().compile()


def test_a_kernel_is_compiled_once():
    kernel = Kernel()
    scaled(kernel)
    kernel.compile()
    with pytest.raises(UsageError, match="compiled already"):
        kernel.compile()


def test_unknown_target_suggests_one():
    with pytest.raises(UsageError, match="no target 'inf3'[^$]*'inf2'"):
        Kernel("inf3")


# ---- capacity --------------------------------------------------------------------------------


def test_sbuf_capacity_error_prints_the_map():
    kernel = Kernel()
    x = kernel.input("x", (128, 24 * 1024), F32)
    tiles = [kernel.sbuf((128, 24 * 1024), F32, name) for name in ("first", "second", "third")]
    for tile in tiles:
        kernel.dma(tile, x)
    out = kernel.output("y", (128, 24 * 1024), F32)
    for tile in tiles:
        kernel.dma(out, tile)
    with pytest.raises(CapacityError) as caught:
        kernel.compile()
    text = str(caught.value)
    assert "SBUF is full: 294,912 bytes per partition are in use at once, 196,608 are there" in text
    for name in ("first", "second", "third"):
        assert f"98,304 B x 128 partitions  {name}" in text
    assert "test_kernel.py" in text


def test_psum_capacity_error_prints_the_map():
    kernel = Kernel()
    a = kernel.sbuf((128, 128), BF16)
    kernel.dma(a, kernel.input("x", (128, 128), BF16))
    totals = [kernel.psum((128, 512), F32, f"bank{i}") for i in range(9)]
    for total in totals:
        kernel.matmul(total[:, 0:128], a, a, accumulate=False)
    out = kernel.sbuf((128, 128), F32)
    for total in totals:
        kernel.copy(out, total[:, 0:128])
    kernel.dma(kernel.output("y", (128, 128), F32), out)
    with pytest.raises(CapacityError, match=r"(?s)PSUM is full: 18,432 bytes.*bank0"):
        kernel.compile()
