"""The pass manager: textual pipelines, dumps, skipping, claims, failures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch_mlir import ir

from axonc.context import make_context, parse_module
from axonc.diagnostics import CompileError, InternalError, UsageError
from axonc.pass_manager import (
    ManagerOptions,
    PassManager,
    all_passes,
    parse_pipeline,
    pipeline_text,
)
from axonc.passes.base import ModuleState, Pass, UpstreamPass

TEXT = """func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "neuron.exp"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.exp"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.add"(%0, %1) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %2 : tensor<4xf32>
}"""


@dataclass(frozen=True)
class MarkPass(Pass, name="test-mark", anchor="func.func"):
    """Puts an attribute on every function."""

    label_text: str = "mark"
    times: int = 1
    quiet: bool = False

    def apply(self, op: ir.Operation) -> bool:
        op.attributes["marked"] = ir.StringAttr.get(self.label_text * self.times)
        return not self.quiet


@dataclass(frozen=True)
class CrashPass(Pass, name="test-crash"):
    """Changes the module, then fails in its own way."""

    how: str = "crash"

    def apply(self, op: ir.Operation) -> bool:
        op.attributes["half_done"] = ir.UnitAttr.get()
        if self.how == "user":
            raise CompileError("the program is wrong")
        if self.how == "invalid":
            next(iter(op.regions[0].blocks[0].operations)).operation.regions[0].blocks[
                0
            ].operations[0].operation.results[0].set_type(
                ir.RankedTensorType.get([5], ir.F32Type.get())
            )
            return True
        raise ZeroDivisionError("division by zero")


def state() -> ModuleState:
    return ModuleState(parse_module(TEXT, make_context()))


def test_pipeline_text_mixes_ours_and_upstream() -> None:
    passes = parse_pipeline(
        "builtin.module(func.func(canonicalize,cse),merge-views), auto-cast{mode=all type=fp16}"
    )
    assert [pipeline_text(p) for p in passes] == [
        "func.func(canonicalize)", "func.func(cse)", "merge-views", "auto-cast{mode=all type=fp16}"
    ]  # fmt: skip
    assert parse_pipeline("") == []


def test_upstream_pass_runs_and_reports_whether_it_changed() -> None:
    manager = PassManager(parse_pipeline("cse,cse"))
    after = manager.run(state())
    assert after.print().count("neuron.exp") == 1, "equal pure operations are one"
    assert [t.changed for t in manager.timings] == [True, False]


def test_options_are_parsed_by_type() -> None:
    (item,) = parse_pipeline("test-mark{label-text=x times=3 quiet=false}")
    assert item == MarkPass("x", 3, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merge-view", "did you mean 'merge-views'"),
        ("auto-cast{mod=all}", "did you mean 'mode'"),
        ("auto-cast{mode=some}", "none of none, matmult, all"),
        ("test-mark{times=many}", "option 'times' of pass 'test-mark' is a int, got 'many'"),
        ("cse{", "does not parse"),
        ("func.func(no-such-pass)", "no pass 'func.func(no-such-pass)'"),
    ],
)
def test_bad_pipelines_are_the_users_mistake(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="(?s)" + __import__("re").escape(message)):
        parse_pipeline(text)


def test_dump_numbers_files_and_leaves_out_what_changed_nothing(tmp_path: Path) -> None:
    PassManager(parse_pipeline("cse,cse,test-mark"), ManagerOptions(dump_dir=tmp_path)).run(state())
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["000-input.mlir", "001-cse.mlir", "002-test-mark.mlir"]
    assert "marked" not in (tmp_path / "001-cse.mlir").read_text()
    assert "marked" in (tmp_path / "002-test-mark.mlir").read_text()


def test_dump_before_a_crash_is_on_disk(tmp_path: Path) -> None:
    with pytest.raises(InternalError) as caught:
        PassManager(parse_pipeline("cse,test-crash"), ManagerOptions(dump_dir=tmp_path)).run(
            state()
        )
    assert (tmp_path / "001-cse.mlir").exists()
    before = (tmp_path / "before-test-crash.mlir").read_text()
    assert "half_done" not in before and before.count('"neuron.exp"') == 1
    message = str(caught.value)
    assert "ZeroDivisionError: division by zero" in message and "in pass test-crash" in message
    assert "before-test-crash.mlir" in message and "axonc opt" in message


def test_invalid_result_names_the_pass(tmp_path: Path) -> None:
    manager = PassManager([CrashPass("invalid")], ManagerOptions(dump_dir=tmp_path))
    with pytest.raises(InternalError, match="its result is not valid") as caught:
        manager.run(state())
    assert caught.value.pass_name == "test-crash"


def test_a_pass_that_lies_about_changing_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="says it changed nothing, but it did"):
        PassManager([MarkPass(quiet=True)], ManagerOptions(dump_dir=tmp_path)).run(state())


def test_the_users_error_passes_through_with_the_pass_name() -> None:
    with pytest.raises(CompileError) as caught:
        PassManager([CrashPass("user")]).run(state())
    assert caught.value.pass_name == "test-crash" and "in pass test-crash" in str(caught.value)


def test_skip_progress_print_and_times() -> None:
    seen: list[tuple[str, int, int]] = []
    stream = io.StringIO()
    options = ManagerOptions(
        skip=("cse",),
        print_after=("test-mark",),
        time_passes=True,
        on_pass=lambda *progress: seen.append(progress),
        stream=stream,
    )
    after = PassManager(parse_pipeline("cse,test-mark"), options).run(state())
    assert after.print().count("neuron.exp") == 2, "cse was skipped"
    assert seen == [("test-mark", 1, 2)]
    assert "// ---- after test-mark" in stream.getvalue() and " ms  test-mark" in stream.getvalue()


def test_the_manager_needs_no_mlir() -> None:
    """A state of another level, and a pass that leads to it."""

    class Numbers:
        def __init__(self, values: list[int]) -> None:
            self.values = values

        def print(self) -> str:
            return str(self.values)

        def verify(self) -> None:
            assert all(v >= 0 for v in self.values)

        def fingerprint(self) -> bytes:
            return bytes(self.values)

        def snapshot(self):  # type: ignore[no-untyped-def]
            text = self.print()
            return lambda: text

        def targets(self, anchor: str) -> list[list[int]]:
            return [self.values]

    @dataclass(frozen=True)
    class Increment(Pass, name="test-increment"):
        """Adds one."""

        def apply(self, op: list[int]) -> bool:
            op[:] = [v + 1 for v in op]
            return True

    @dataclass(frozen=True)
    class Leave(Pass, name="test-leave"):
        """Numbers of a module: to the next level."""

        def run_on(self, state):  # type: ignore[no-untyped-def]
            return Numbers([len(state.print())]), True

    after = PassManager([UpstreamPass("cse"), Leave(), Increment()]).run(state())
    assert isinstance(after, Numbers) and after.values[0] > 100


def test_every_pass_has_a_summary() -> None:
    for name, kind in all_passes().items():
        assert kind.summary().endswith("."), name
