"""Tile programs under the pass manager: text in at any stage, wrong orders refused."""

import pytest
from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets import TARGETS
from axonc.context import make_context, parse_module
from axonc.diagnostics import CompileError, UsageError, VerifyError
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.pass_manager import ManagerOptions, PassManager, parse_pipeline
from axonc.passes.base import ModuleState, State
from axonc.passes.lower.lowered_state import LoweredState
from axonc.passes.tile_level.tile_state import TileState

STAGES = ("assign-engines", "allocate-memory", "schedule", "lower")


def matmul_state() -> TileState:
    """c = a.T @ b in two accumulated passes."""
    k = KernelBuilder(TARGETS["inf2"])
    a, b = k.input("a", (256, 128), F32), k.input("b", (256, 512), F32)
    c = k.output("c", (128, 512), F32)
    product = k.psum((128, 512), F32)
    for i in range(2):
        left, right = k.sbuf((128, 128), F32), k.sbuf((128, 512), F32)
        k.dma(left, a[128 * i : 128 * i + 128, :])
        k.dma(right, b[128 * i : 128 * i + 128, :])
        k.matmul(product, left, right, accumulate=i > 0)
    result = k.sbuf((128, 512), F32)
    k.copy(result, product)
    k.dma(c, result)
    return TileState(k.program)


def run(state: State, *names: str) -> State:
    manager = PassManager(parse_pipeline(",".join(names)), ManagerOptions())
    return manager.run(state)


def reread(state: State) -> ModuleState:
    return ModuleState(parse_module(state.print(), make_context()))


@pytest.mark.parametrize("cut", range(len(STAGES)))
def test_going_through_text_between_two_passes_changes_nothing(cut: int) -> None:
    straight = run(matmul_state(), *STAGES)
    stopped = run(matmul_state(), *STAGES[:cut])
    resumed = run(reread(stopped), *STAGES[cut:])
    assert isinstance(straight, LoweredState) and isinstance(resumed, LoweredState)
    assert resumed.print() == straight.print()
    assert resumed.pack().streams == straight.pack().streams
    assert resumed.pack().tensors == straight.pack().tensors


def test_a_snapshot_shows_what_was_there() -> None:
    state = matmul_state()
    for name in STAGES[:-1]:
        before, snapshot = state.print(), state.snapshot()
        after = run(state, name)
        assert after.print() != before
        now = after.print()
        assert snapshot() == before
        assert after.print() == now
        state = after  # type: ignore[assignment]


def test_fingerprints_tell_changes() -> None:
    state = matmul_state()
    mark = state.fingerprint()
    assert state.fingerprint() == mark
    run(state, "assign-engines")
    assert state.fingerprint() != mark
    mark = state.fingerprint()
    run(state, "assign-engines")
    assert state.fingerprint() == mark


@pytest.mark.parametrize(
    "stages,words,hint",
    [
        (("allocate-memory",), "still has 2 forms", "run 'assign-engines' first"),
        (("assign-engines", "schedule"), "no addresses", "run 'allocate-memory' first"),
        (("assign-engines", "lower"), "no addresses", "run 'allocate-memory' first"),
        (("assign-engines", "allocate-memory", "lower"), "no order", "run 'schedule' first"),
        ((*STAGES, "schedule"), "works on tile programs", "run 'tile' first"),
    ],
)
def test_passes_out_of_order_are_refused(stages: tuple[str, ...], words: str, hint: str) -> None:
    with pytest.raises(CompileError, match=words) as raised:
        run(matmul_state(), *stages)
    assert raised.value.hint == hint
    assert raised.value.pass_name == stages[-1]


def test_a_module_that_is_not_ntile_is_refused() -> None:
    module = parse_module("func.func @main() { return }", make_context())
    with pytest.raises(CompileError, match="func.func does not stand for an instruction"):
        run(ModuleState(module), "assign-engines")


def test_every_operation_has_an_issue_or_none_has() -> None:
    state = run(matmul_state(), *STAGES[:-1])
    text = state.print().replace(", issue = 3", "", 1)
    with pytest.raises(CompileError, match="1 operations have no attribute 'issue'"):
        TileState.from_module(parse_module(text, make_context()))


def test_tile_needs_layouts_one_function_and_a_known_target() -> None:
    text = """func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
      %y = "neuron.softmax"(%x) {axis = 1 : i64} : (tensor<4x4xf32>) -> tensor<4x4xf32>
      return %y : tensor<4x4xf32>
    }"""
    with pytest.raises(CompileError, match=r"-:2:12: error: neuron.softmax: .* layout.rows"):
        run(ModuleState(parse_module(text, make_context())), "tile")
    with pytest.raises(CompileError, match="0 functions to tile"):
        run(ModuleState(parse_module("module {}", make_context())), "tile")
    with pytest.raises(UsageError, match="no target 'inf3'"):
        module = parse_module(text, make_context())
        run(ModuleState(module), "choose-layouts{target=inf3}")


def test_verify_finds_what_a_pass_broke() -> None:
    state = matmul_state()
    state.verify()
    next(b for b in state.program.buffers if b.memory.value == "psum").partition_bytes = 4
    with pytest.raises(VerifyError, match=r"\(C31\) .*dst touches bytes \[0, 2048\) of 4"):
        state.verify()


def test_lowered_streams_are_verified_by_the_instruction_set() -> None:
    lowered = run(matmul_state(), *STAGES)
    assert isinstance(lowered, LoweredState)
    lowered.verify()
    module = ir.Module.parse(lowered.print(), loaded_context())
    assert module.operation.verify()
    stream = next(s for s in lowered.streams.values() if s)
    stream[0].signal = (0, 0)
    with pytest.raises(VerifyError, match=r"\(C14\)"):
        lowered.verify()


def loaded_context() -> ir.Context:
    from axonc.dialects import nisa

    context = make_context()
    nisa.load(context)
    return context
