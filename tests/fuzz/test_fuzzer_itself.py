"""The fuzzer draws what it says, finds what is wrong, and makes it small."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import axonc
from axonc.driver.pipeline import TensorOptions, tensor_pipeline
from axonc.options import CompileOptions
from axonc.passes.legalize.legalize_to_neuron import supported_operations
from axonc.tools.fuzz.bounds import Rounding
from axonc.tools.fuzz.campaign import NEAR_MISSES, PROGRAMS, Case, try_case
from axonc.tools.fuzz.graph import Graph
from axonc.tools.fuzz.inputs import input_arrays
from axonc.tools.fuzz.near_misses import MISSES
from axonc.tools.fuzz.operations import OPS
from axonc.tools.fuzz.program import Kind, Program
from axonc.tools.fuzz.reference import expected_results, program_text
from axonc.tools.fuzz.shrink import shrunk
from axonc.tools.fuzz.trial import Outcome

NOT_DRAWN = {
    "all_gather", "all_reduce", "all_to_all", "collective_permute", "partition_id",
    "reduce_scatter", "replica_id",  # made by the modes of two cores
    "dot", "map",  # forms of others
    "batch_norm_inference", "tan",  # compositions of others
    "case", "if", "while", "select_and_scatter", "rng", "rng_bit_generator", "reduce_precision",
    "complex", "real", "imag", "fft",  # with tests of their own
}  # fmt: skip

NOT_REWRITING = {
    "inline-calls", "flatten-control-flow",  # programs are drawn without calls, loops,
    "split-control-flow",  # nor branches;
    "expand-random", "expand-regions",  # random numbers, and regions of several operations;
    "expand-complex", "expand-small-types",  # complex numbers, and numbers of 4 or 8 bits;
    "split-kernels", "split-reductions",  # and of sizes that are not split
    "plan-casts", "auto-cast", "quantize",  # what they round is the business of the bf16 modes
    "upstream",
}  # fmt: skip


def test_every_operation_is_drawn() -> None:
    known = {
        n.removeprefix("stablehlo.") for n, _ in supported_operations() if "composite" not in n
    }
    assert known - set(OPS) - NOT_DRAWN == set()


def test_every_rewriting_pass_has_near_misses() -> None:
    passes = {p.name for p in tensor_pipeline(TensorOptions(CompileOptions(optlevel=2)))}
    tried = {rule for miss in MISSES for rule in miss.rules}
    assert passes - tried - NOT_REWRITING == set()


@pytest.mark.parametrize("family", [PROGRAMS, NEAR_MISSES])
def test_a_seed_draws_one_program(family: str) -> None:
    (one, _), (other, _) = Case(family, 5).trial(), Case(family, 5).trial()
    assert one == other
    assert one != Case(family, 6).trial()[0]


def chain() -> Program:
    graph = Graph()
    x = graph.input(Kind((3, 5)))
    y = graph.unary("tanh", graph.binary("add", x, graph.unary("sine", x)))
    return graph.program(y, graph.reduce("add", y, 0))


def test_a_wrong_result_is_found_and_written_down(tmp_path: Path) -> None:
    """An executor that adds a ten-thousandth to every float."""
    run = axonc.Executable.run

    def wrong(self: axonc.Executable, *arrays: object, checked: bool = False) -> list[np.ndarray]:
        found = run(self, *arrays, checked=checked)
        return [r * r.dtype.type(1.0001) if r.dtype.kind == "f" else r for r in found]

    with mock.patch.object(axonc.Executable, "run", wrong):
        reports = [try_case(Case(PROGRAMS, seed, "default"), str(tmp_path)) for seed in range(3)]
    bad = [r for r in reports if r.verdict.outcome is Outcome.WRONG]
    assert bad
    folder = Path(bad[0].folder)
    facts = json.loads((folder / "report.json").read_text())
    assert facts["again"].startswith("axonc-fuzz --only program:")
    assert "func.func @main" in (folder / "shrunk.mlir").read_text()
    assert list(folder.glob("inputs.*"))


def test_shrinking_keeps_what_goes_wrong() -> None:
    def has_sine(program: Program) -> bool:
        return any(node.op == "sine" for node in program.nodes)

    small = shrunk(chain(), has_sine)
    assert [node.op for node in small.nodes] == ["input", "sine"]


def test_bounds_are_as_promised() -> None:
    """A sum of two numbers is correctly rounded, and exact where it can be."""
    graph = Graph()
    x, y = graph.input(Kind((4,))), graph.input(Kind((4,)))
    program = graph.program(graph.binary("add", x, y))
    a = np.array([1, 0.1, 3, np.inf], np.float32)
    b = np.array([2, 0.2, 1e-9, 1], np.float32)
    (found,) = expected_results(program, [a, b], Rounding())
    exact = a.astype(np.float64) + b.astype(np.float64)
    np.testing.assert_array_equal(found.value, exact)
    assert found.error[0] == 0 and found.error[3] == 0
    assert 2**-25 < found.error[1] / exact[1] <= 2**-24
    assert not found.wrong(a + b).any()
    assert found.wrong(np.nextafter(a + b, np.float32(9)))[:3].all()


def test_decisions_that_errors_turn_are_not_compared() -> None:
    graph = Graph()
    x = graph.input(Kind((3,)))
    y = graph.binary("multiply", graph.like(x, 0.1), x)
    program = graph.program(graph.compare("LT", y, graph.like(x, 0.3)))
    arrays = [np.array([1, 3, 5], np.float32)]
    (found,) = expected_results(program, arrays, Rounding())
    assert found.known.tolist() == [True, False, True]
    assert found.value[[0, 2]].tolist() == [True, False]


def test_what_errors_may_bring_about_is_not_compared() -> None:
    """A remainder that may jump, a power of a negative number by what may be whole."""
    graph = Graph()
    x = graph.input(Kind((3,)))
    sine, small = graph.unary("sine", x), graph.unary("logistic", x)
    program = graph.program(graph.binary("remainder", x, sine), graph.binary("power", x, small))
    arrays = [np.array([1, 3e7, -104], np.float32)]
    rest, power = expected_results(program, arrays, Rounding())
    assert rest.known.tolist() == [True, False, True]
    assert power.known.tolist() == [True, True, False]


def test_programs_print_numbers_exactly() -> None:
    graph = Graph()
    x = graph.input(Kind((2,)))
    program = graph.program(graph.binary("multiply", x, graph.like(x, 1e-7)))
    (array,) = input_arrays(program, 0)
    found = axonc.compile(program_text(program)).run(array)[0]
    np.testing.assert_array_equal(found, array * np.float32(1e-7))
