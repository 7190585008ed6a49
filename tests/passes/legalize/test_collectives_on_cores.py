"""StableHLO collectives through the whole compiler on 2 and 4 cores, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from axonc.backends.encoding import decode_stream
from axonc.backends.executor.cores import MultiCoreMachine
from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import CoreProgram, HbmTensor, TensorKind
from axonc.backends.targets.target import Engine
from axonc.context import make_context, parse_module
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.neuron.evaluate_cores import evaluate_on_cores
from axonc.driver.driver import machine_pipeline
from axonc.driver.pipeline import TensorOptions, tensor_pipeline
from axonc.options import CompileOptions
from axonc.pass_manager import ManagerOptions, PassManager
from axonc.passes.base import ModuleState

CHANNEL = "channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>"
GLOBAL = "use_global_device_ids"
Arrays = list[np.ndarray]


def dense_groups(groups: list[list[int]]) -> str:
    return f"dense<{groups}> : tensor<{len(groups)}x{len(groups[0])}xi64>"


def region(element: str, op: str) -> str:
    kind = f"tensor<{element}>"
    return (
        f"({{ ^bb0(%a: {kind}, %b: {kind}): %s = stablehlo.{op} %a, %b : {kind} "
        f"stablehlo.return %s : {kind} }})"
    )


def module(body: str, arguments: str, result: str, cores: int) -> str:
    return (
        f"module attributes {{mhlo.num_partitions = {cores} : i32}} {{\n"
        f"func.func @main({arguments}) -> {result} {{\n{body}\nreturn %r : {result}\n}}\n}}"
    )


def compiled(text: str, **options: object):
    """(the neuron module, the program)."""
    state = ModuleState(parse_module(text, make_context()))
    checked = ManagerOptions(verify_each=True)
    PassManager(
        tensor_pipeline(TensorOptions(CompileOptions(**{"optlevel": 3, **options}))), checked
    ).run(state)  # type: ignore[arg-type]
    module = state.module
    lowered = PassManager(machine_pipeline("inf2"), checked).run(state)
    return module, lowered.pack()


def random_array(tensor: HbmTensor, rng: np.random.Generator) -> np.ndarray:
    dtype: DType = tensor.dtype
    if dtype.is_float:
        return rng.standard_normal(tensor.shape).astype(dtype.numpy)
    if tensor.host_dtype == "i1":
        return rng.integers(0, 2, tensor.shape).astype(dtype.numpy)
    return rng.integers(-(2**30), 2**30, tensor.shape).astype(dtype.numpy)


def run_everywhere(text: str, seed: int = 0, **options: object) -> tuple[list[Arrays], Arrays]:
    """Inputs per core, and the result per core; checked, fast, timed and evaluated alike."""
    neuron, program = compiled(text, **options)
    rng = np.random.default_rng(seed)
    tensors = [t for t in program.tensors if t.kind is TensorKind.INPUT]
    inputs = [{t.name: random_array(t, rng) for t in tensors} for _ in range(program.cores)]
    results = []
    for mode in ("checked", "fast"):
        machine = MultiCoreMachine(CoreProgram.of(program), mode=mode)
        results.append([found["result0"] for found in machine.run(inputs)])
    for checked, fast in zip(*results, strict=True):
        # Products of fast mode may add in another order (docs/design/0004).
        within = 1e-6 * float(np.abs(checked).max(initial=1)) if "dot" in text else 0.0
        np.testing.assert_allclose(fast, checked, rtol=0, atol=within)
    lists = [list(given.values()) for given in inputs]
    for (evaluated,), found in zip(evaluate_on_cores(neuron, lists), results[0], strict=True):
        largest = np.abs(evaluated).max(initial=1.0)
        np.testing.assert_allclose(
            found.astype(evaluated.dtype), evaluated, rtol=1e-5, atol=1e-6 * largest
        )
    return lists, results[0]


GROUPS = {2: [[0, 1]], 4: [[0, 2], [3, 1]]}


def by_group(groups: list[list[int]], xs: Arrays, compute) -> Arrays:
    ys: Arrays = [np.zeros(0)] * len(xs)
    for group in groups:
        for place, core in enumerate(group):
            ys[core] = compute([xs[c].astype(np.float64) for c in group], place)
    return ys


@pytest.mark.parametrize("cores", [2, 4])
@pytest.mark.parametrize("shape", ["3x5", "256x96", "200x7x4", "1x1", "7"])
def test_all_reduce_of_any_shape(shape, cores):
    kind = f"tensor<{shape}xf32>"
    body = (
        f'%r = "stablehlo.all_reduce"(%x) <{{{CHANNEL}, {GLOBAL}, replica_groups = '
        f"{dense_groups(GROUPS[cores])}}}> {region('f32', 'add')} : ({kind}) -> {kind}"
    )
    inputs, found = run_everywhere(module(body, f"%x: {kind}", kind, cores))
    wanted = by_group(GROUPS[cores], [x for (x,) in inputs], lambda g, _: sum(g))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("cores", [2, 4])
def test_all_gather_along_any_dim(dim, cores):
    sizes = [6, 4, 10]
    wide = [n * (2 if d == dim else 1) for d, n in enumerate(sizes)]
    kinds = [f"tensor<{'x'.join(map(str, s))}xf32>" for s in (sizes, wide)]
    body = (
        f'%g = "stablehlo.all_gather"(%x) <{{all_gather_dim = {dim} : i64, {CHANNEL}, {GLOBAL}, '
        f"replica_groups = {dense_groups(GROUPS[cores])}}}> : ({kinds[0]}) -> {kinds[1]}\n"
        f"%r = stablehlo.add %g, %g : {kinds[1]}"
    )
    inputs, found = run_everywhere(module(body, f"%x: {kinds[0]}", kinds[1], cores))
    xs = [x for (x,) in inputs]
    wanted = by_group(GROUPS[cores], xs, lambda g, _: 2 * np.concatenate(g, dim))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b.astype(np.float32))


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("op", ["add", "maximum"])
def test_reduce_scatter_along_any_dim(dim, op):
    small = [n // (2 if d == dim else 1) for d, n in enumerate((8, 12))]
    kinds = ["tensor<8x12xf32>", f"tensor<{small[0]}x{small[1]}xf32>"]
    body = (
        f'%r = "stablehlo.reduce_scatter"(%x) <{{scatter_dimension = {dim} : i64, {CHANNEL}, '
        f"{GLOBAL}, replica_groups = {dense_groups(GROUPS[4])}}}> {region('f32', op)} : "
        f"({kinds[0]}) -> {kinds[1]}"
    )
    inputs, found = run_everywhere(module(body, f"%x: {kinds[0]}", kinds[1], 4))
    fold = np.sum if op == "add" else np.max
    wanted = by_group(
        GROUPS[4], [x for (x,) in inputs], lambda g, i: np.split(fold(g, axis=0), 2, dim)[i]
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("split, concat", [(0, 1), (1, 0), (1, 1), (2, 0)])
def test_all_to_all(split, concat):
    shape = [4, 6, 8]
    after = list(shape)
    after[split] //= 2
    after[concat] *= 2
    kinds = [f"tensor<{'x'.join(map(str, s))}xbf16>" for s in (shape, after)]
    body = (
        f'%r = "stablehlo.all_to_all"(%x) <{{split_dimension = {split} : i64, concat_dimension = '
        f"{concat} : i64, split_count = 2 : i64, {CHANNEL}, replica_groups = "
        f"{dense_groups(GROUPS[4])}}}> : ({kinds[0]}) -> {kinds[1]}"
    )
    inputs, found = run_everywhere(module(body, f"%x: {kinds[0]}", kinds[1], 4))
    wanted = by_group(
        GROUPS[4],
        [x for (x,) in inputs],
        lambda g, i: np.concatenate([np.split(x, 2, split)[i] for x in g], concat),
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a.astype(np.float64), b)


def test_collective_permute_and_ids_join_ordinary_operations():
    kind = "tensor<130x9xf32>"
    body = f"""
    %p = "stablehlo.collective_permute"(%x) <{{{CHANNEL}, source_target_pairs =
        dense<[[0, 1], [1, 2], [2, 3]]> : tensor<3x2xi64>}}> : ({kind}) -> {kind}
    %id = stablehlo.partition_id : tensor<ui32>
    %zero = stablehlo.replica_id : tensor<ui32>
    %sum = stablehlo.add %id, %zero : tensor<ui32>
    %f = stablehlo.convert %sum : (tensor<ui32>) -> tensor<f32>
    %w = stablehlo.broadcast_in_dim %f, dims = [] : (tensor<f32>) -> {kind}
    %r = stablehlo.add %p, %w : {kind}"""
    inputs, found = run_everywhere(module(body, f"%x: {kind}", kind, 4))
    for core, y in enumerate(found):
        before = inputs[core - 1][0] if core else np.zeros((130, 9), np.float32)
        np.testing.assert_array_equal(y, before + np.float32(core))


@pytest.mark.parametrize("element, op", [("i32", "add"), ("i32", "maximum"), ("i1", "or")])
def test_integers_are_reduced_exactly(element, op):
    """Sums beyond 2^24, which FP32 would round; gathered, then added on every core."""
    kind = f"tensor<5x40x{element}>"
    body = (
        f'%r = "stablehlo.all_reduce"(%x) <{{{CHANNEL}, {GLOBAL}, replica_groups = '
        f"{dense_groups([[0, 1, 2, 3]])}}}> {region(element, op)} : ({kind}) -> {kind}"
    )
    inputs, found = run_everywhere(module(body, f"%x: {kind}", kind, 4))
    xs = np.stack([x for (x,) in inputs])
    wanted = {"add": xs.sum(0, dtype=xs.dtype), "maximum": xs.max(0), "or": xs.max(0)}[op]
    for y in found:
        np.testing.assert_array_equal(y, wanted)


def test_a_tensor_parallel_mlp_equals_the_whole():
    """Weights cut by columns, then by rows; one all_reduce at the end, and a bias after it."""
    x, v, w, y = (f"tensor<{s}xf32>" for s in ("48x64", "64x32", "32x64", "48x64"))
    h, dims = "tensor<48x32xf32>", "contracting_dims = [1] x [0]"
    group = "replica_groups = dense<0> : tensor<1x1xi64>"
    body = f"""
    %h = stablehlo.dot_general %x, %v, {dims} : ({x}, {v}) -> {h}
    %u = stablehlo.tanh %h : {h}
    %p = stablehlo.dot_general %u, %w, {dims} : ({h}, {w}) -> {y}
    %s = "stablehlo.all_reduce"(%p) <{{{CHANNEL}, {group}}}> {region("f32", "add")} : ({y}) -> {y}
    %r = stablehlo.add %s, %x : {y}"""
    inputs, found = run_everywhere(module(body, f"%x: {x}, %v: {v}, %w: {w}", y, 2))
    parts = [np.tanh(i[0].astype(np.float64) @ i[1]) @ i[2] for i in inputs]
    for core, result in enumerate(found):
        np.testing.assert_allclose(result, sum(parts) + inputs[core][0], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("also_read", [False, True])
def test_sums_are_made_in_place_unless_the_summand_is_read_again(also_read: bool):
    x, w, y = (f"tensor<{s}xf32>" for s in ("130x64", "64x32", "130x32"))
    group = "replica_groups = dense<0> : tensor<1x1xi64>"
    last = "%s" if not also_read else "%t"
    body = f"""
    %p = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0] : ({x}, {w}) -> {y}
    %s = "stablehlo.all_reduce"(%p) <{{{CHANNEL}, {group}}}> {region("f32", "add")} : ({y}) -> {y}
    %t = stablehlo.multiply %s, %p : {y}
    %r = stablehlo.negate {last} : {y}"""
    text = module(body, f"%x: {x}, %w: {w}", y, 2)
    _, program = compiled(text)
    stream = decode_stream(program.streams[Engine.GPSIMD])
    sums = [i for i in stream if i.spec.mnemonic == "all_reduce"]
    assert sums and all((i.operand("dst") == i.operand("src")) != also_read for i in sums)
    inputs, found = run_everywhere(text)
    parts = [i[0].astype(np.float64) @ i[1] for i in inputs]
    for part, result in zip(parts, found, strict=True):
        wanted = -sum(parts) * (part if also_read else 1)
        np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_groups_of_replicas_without_a_channel_are_each_core_alone():
    body = (
        '%r = "stablehlo.all_reduce"(%x) <{replica_groups = dense<0> : tensor<1x1xi64>}> '
        f"{region('f32', 'add')} : (tensor<4xf32>) -> tensor<4xf32>"
    )
    inputs, found = run_everywhere(module(body, "%x: tensor<4xf32>", "tensor<4xf32>", 2))
    for (x,), y in zip(inputs, found, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "groups, cores, message",
    [
        ("dense<[[0, 1]]> : tensor<1x2xi64>", 3, "hold each core once"),
        ("dense<[[0, 1], [2, -1]]> : tensor<2x2xi64>", 3, "different sizes"),
    ],
)
def test_groups_that_leave_cores_out_are_refused(groups, cores, message):
    body = (
        f'%r = "stablehlo.all_reduce"(%x) <{{{CHANNEL}, {GLOBAL}, replica_groups = {groups}}}> '
        f"{region('f32', 'add')} : (tensor<4xf32>) -> tensor<4xf32>"
    )
    with pytest.raises(UnsupportedOpError, match="all_reduce") as caught:
        compiled(module(body, "%x: tensor<4xf32>", "tensor<4xf32>", cores))
    assert message in str(caught.value)
