"""Cores that run different programs: a pipeline of two stages, linked, run, timed, saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import axonc
from axonc.backends.encoding import decode_stream
from axonc.backends.isa.collective import is_collective
from axonc.backends.link import link_programs
from axonc.backends.program import CoreProgram, Program
from axonc.backends.targets.target import Engine
from axonc.context import make_context, parse_module
from axonc.diagnostics import CompileError, UsageError
from axonc.driver.driver import machine_pipeline
from axonc.driver.pipeline import tensor_pipeline
from axonc.options import CompileOptions
from axonc.pass_manager import PassManager
from axonc.passes.base import ModuleState
from axonc.passes.lower.check_collectives import check_core_program
from axonc.program.compiled_program import CompiledProgram, HostTensor
from axonc.run.executable import Executable

KIND = "tensor<128x64xf32>"
CHANNEL = "channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>"
SEND = f"""
    %p = "stablehlo.collective_permute"(%h) <{{{CHANNEL}, source_target_pairs =
        dense<[[0, 1]]> : tensor<1x2xi64>}}> : ({KIND}) -> {KIND}
    %g = "stablehlo.all_gather"(%n) <{{all_gather_dim = 0 : i64, {CHANNEL}, replica_groups =
        dense<[[0, 1]]> : tensor<1x2xi64>, use_global_device_ids}}> :
        (tensor<4xf32>) -> tensor<8xf32>"""
DOT = f"stablehlo.dot_general %%s, %w, contracting_dims = [1] x [0] : ({KIND}, tensor<64x64xf32>)"


def stage(arguments: str, before: str, after: str, results: str) -> Program:
    text = f"""
module attributes {{mhlo.num_partitions = 2 : i32}} {{
  func.func @main({arguments}) -> ({results}) {{
    {before}{SEND}
    {after}
  }}
}}"""
    state = ModuleState(parse_module(text, make_context()))
    PassManager(tensor_pipeline()).run(state)
    function = state.module.body.operations[0].operation
    names = {1: ["gathered"], 2: ["y", "copy"]}[results.count("tensor")]
    _name(function, names)
    return PassManager(machine_pipeline("inf2")).run(state).pack()  # type: ignore[union-attr]


def _name(function, results: list[str]) -> None:
    from torch_mlir import ir

    with function.context:
        named = [ir.DictAttr.get({"neuron.name": ir.StringAttr.get(n)}) for n in results]
        function.attributes["res_attrs"] = ir.ArrayAttr.get(named)
        count = len(function.regions[0].blocks[0].arguments)
        given = ["x", "w0"] if count == 3 else ["w1"]
        arguments = [ir.DictAttr.get({"neuron.name": ir.StringAttr.get(n)}) for n in [*given, "n"]]
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(arguments)


def stages() -> tuple[Program, Program]:
    weight, four = "%w: tensor<64x64xf32>", "%n: tensor<4xf32>"
    first = stage(
        f"%x: {KIND}, {weight}, {four}",
        f"%d = {DOT.replace('%%s', '%x')} -> {KIND}\n %h = stablehlo.tanh %d : {KIND}",
        "return %g : tensor<8xf32>",
        "tensor<8xf32>",
    )
    second = stage(
        f"{weight}, {four}",
        f"%h = stablehlo.constant dense<0.0> : {KIND}",
        f"%y = {DOT.replace('%%s', '%p')} -> {KIND}\n return %y, %g : {KIND}, tensor<8xf32>",
        f"{KIND}, tensor<8xf32>",
    )
    return first, second


FIRST, SECOND = stages()


def linked() -> CoreProgram:
    return link_programs((FIRST, SECOND), (0, 1))


def pipeline() -> Executable:
    program = linked()
    shapes = {"x": (128, 64), "w0": (64, 64), "w1": (64, 64), "n": (4,)}
    compiled = CompiledProgram(
        program=program.programs[0],
        inputs=tuple(HostTensor(n, s, "f32") for n, s in shapes.items()),
        results=(
            HostTensor("gathered", (8,), "f32"),
            HostTensor("y", (128, 64), "f32"),
            HostTensor("copy", (8,), "f32"),
        ),
        weights={},
        options=CompileOptions(cores=2),
        others=program.programs[1:],
        program_of=program.program_of,
    )
    return Executable(compiled)


def given() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"x": (128, 64), "w0": (64, 64), "w1": (64, 64), "n": (4,)}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def test_linking_makes_one_table_of_groups_and_renumbers():
    table = (((1,), (0,)), *SECOND.groups)
    shifted = link_programs((replace(FIRST, groups=table[:1], streams={}), SECOND), (0, 1))
    assert [program.groups for program in shifted.programs] == [table, table]
    numbers = [
        instruction.field("group")
        for instruction in decode_stream(shifted.programs[1].streams[Engine.GPSIMD])
        if is_collective(instruction)
    ]
    assert numbers == [1, 1] and SECOND.groups == (((0, 1),),)


@pytest.mark.parametrize("checked", [True, False])
def test_a_pipeline_of_two_stages(checked):
    arrays = given()
    gathered, y, copy = pipeline().run(arrays, checked=checked)
    wide = {n: a.astype(np.float64) for n, a in arrays.items()}
    np.testing.assert_allclose(y, np.tanh(wide["x"] @ wide["w0"]) @ wide["w1"], atol=1e-4)
    np.testing.assert_array_equal(gathered, np.tile(arrays["n"], 2))
    np.testing.assert_array_equal(copy, gathered)


def test_the_second_stage_ends_later_and_is_the_time_of_all():
    executable = pipeline()
    first, second = executable.cores().timelines()
    assert first.total_ns < second.total_ns
    assert executable.modelled_seconds == pytest.approx(second.total_ns * 1e-9)
    assert first.collectives[0].start_ns == second.collectives[0].start_ns


def test_a_saved_pipeline_is_the_same(tmp_path: Path):
    executable = pipeline()
    executable.save(tmp_path / "p.axon")
    again = axonc.load(tmp_path / "p.axon")
    for a, b in zip(again.run(given()), executable.run(given()), strict=True):
        np.testing.assert_array_equal(a, b)
    again.save(tmp_path / "q.axon")
    assert (tmp_path / "p.axon").read_bytes() == (tmp_path / "q.axon").read_bytes()


def test_the_checker_reads_linked_programs():
    assert check_core_program(linked()) == 4
    idle = replace(SECOND, streams={}, instruction_locations={})
    with pytest.raises(CompileError, match=r"core 1 of group \[0, 1\] never issues it"):
        check_core_program(link_programs((FIRST, idle), (0, 1)))


def test_programs_for_other_machines_do_not_link():
    with pytest.raises(UsageError, match="for 2 cores of inf2 among 3 cores"):
        link_programs((FIRST, SECOND), (0, 1, 1))
    with pytest.raises(UsageError, match="of trn1 among 2 cores of inf2"):
        link_programs((FIRST, replace(SECOND, target="trn1")), (0, 1))
