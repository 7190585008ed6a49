"""Every numbered rule of the neuron dialect: a program that breaks it is refused with the rule."""

from __future__ import annotations

import re

import pytest

from axonc.context import make_context, parse_module
from axonc.diagnostics import CompileError
from axonc.dialects.neuron.ops import Neuron, neuron_op_list

CONTEXT = make_context()

F = "tensor<4x8xf32>"
DOT = "lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]"
CONV = (
    "lhs_dims = [0, 1], rhs_dims = [0, 1], result_dims = [0, 1], groups = {groups} : i64, strides ="
    " [{strides}], low = [], high = [], lhs_dilation = [], rhs_dilation = [], reversal = []"
)
PLAIN = CONV.format(groups=1, strides="")
POOL = (
    'kind = "{kind}", window = [1, 2], strides = [1, 1], low = [0, {low}], high = [0, 0],'
    " dilation = [1, 1]"
)
REGION = (
    '({{ ^bb0(%p: tensor<4x8xf32>{extra}): {body} "neuron.yield"(%r) : (tensor<4x8xf32>) -> () }})'
)
EXP = '%r = "neuron.exp"(%p) : (tensor<4x8xf32>) -> tensor<4x8xf32>'
TRANSPOSED = (
    '%t = "neuron.constant"() {value = dense<0.0> : tensor<8x4xf32>} : () -> tensor<8x4xf32> ' + EXP
)

SORT = (
    '"neuron.sort"({operand}) ({{ ^bb0(%p: tensor<{scalar}>, %q: tensor<{scalar}>): {body}'
    ' %r = "neuron.compare"(%p, %q) {{direction = "LT"}} : (tensor<{scalar}>, tensor<{scalar}>)'
    ' -> tensor<i1> "neuron.yield"(%r) : (tensor<i1>) -> () }}) {{count = 8 : i64,'
    " number = {number} : i64}} : ({kind}) -> tensor<4x8xf32>"
)
WIDE = '%t = "neuron.constant"() {value = dense<0.0> : tensor<4xf32>} : () -> tensor<4xf32>'

DYNAMIC = "{dims = [0], start = [0, 0]"
DYNAMIC_V = "{dims = [0], start = [0]"

REPEAT = (
    '"neuron.repeat"({operands}) {{callee = @{callee}, count = {count} : i64, carried = 1 : i64,'
    " invariant = 0 : i64}} : ({kinds}) -> {result}"
)

BROKEN = {
    "repeat C2": REPEAT.format(operands="%x", callee="main", count=0, kinds=F, result=F),
    "repeat C3": REPEAT.format(
        operands="%x, %x", callee="main", count=2, kinds=f"{F}, {F}", result=F
    ),
    "repeat C4": REPEAT.format(
        operands="%x", callee="main", count=2, kinds=F, result="tensor<8xf32>"
    ),
    "repeat C5": REPEAT.format(operands="%x", callee="gone", count=2, kinds=F, result=F),
    "all_reduce C2": '"neuron.all_reduce"(%x) {groups = [[0, 1], [1, 2]], kind = "sum"} :'
    " (tensor<4x8xf32>) -> tensor<4x8xf32>",
    "all_gather C2": '"neuron.all_gather"(%x) {groups = [[0, 1], [1, 2]]} : (tensor<4x8xf32>)'
    " -> tensor<4x8xf32>",
    "reduce_scatter C2": '"neuron.reduce_scatter"(%x) {groups = [[0, 1], [1, 2]],'
    ' kind = "sum"} : (tensor<4x8xf32>) -> tensor<4x8xf32>',
    "all_to_all C2": '"neuron.all_to_all"(%x) {groups = [[0, 1], [1, 2]]} : (tensor<4x8xf32>)'
    " -> tensor<4x8xf32>",
    "all_reduce C3": '"neuron.all_reduce"(%i) {groups = [[0, 1]], kind = "sum"} : (tensor<4xi32>)'
    " -> tensor<4xi32>",
    "all_reduce C4": '"neuron.all_reduce"(%x) {groups = [[0, 1]], kind = "max"} : (tensor<4x8xf32>)'
    " -> tensor<4x4xf32>",
    "all_gather C3": '"neuron.all_gather"(%x) {groups = [[0, 1]]} : (tensor<4x8xf32>)'
    " -> tensor<8x8xf32>",
    "reduce_scatter C3": '"neuron.reduce_scatter"(%x) {groups = [[0, 1, 2, 3]], kind = "or"} :'
    " (tensor<4x8xf32>) -> tensor<8xf32>",
    "reduce_scatter C4": '"neuron.reduce_scatter"(%x) {groups = [[0, 1]], kind = "sum"} :'
    " (tensor<4x8xf32>) -> tensor<8xf32>",
    "all_to_all C3": '"neuron.all_to_all"(%x) {groups = [[1, 0]]} : (tensor<4x8xf32>)'
    " -> tensor<4x8xf32>",
    "collective_permute C2": '"neuron.collective_permute"(%x) {pairs = [[0, 1], [0, 2]]} :'
    " (tensor<4x8xf32>) -> tensor<4x8xf32>",
    "collective_permute C3": '"neuron.collective_permute"(%x) {pairs = [[0, 1], [1, 0]]} :'
    " (tensor<4x8xf32>) -> tensor<8xf32>",
    "partition_id C2": '"neuron.partition_id"() : () -> tensor<4xui32>',
    "add C1": '"neuron.add"(%d, %d) : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>',
    "negate C1": '"neuron.negate"(%l) : (tensor<4xi64>) -> tensor<4xi64>',
    "add C2": '"neuron.add"(%x, %v) : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>',
    "exp C3": '"neuron.exp"(%i) : (tensor<4xi32>) -> tensor<4xi32>',
    "compare C2": '"neuron.compare"(%x, %v) {direction = "EQ"} : (tensor<4x8xf32>, tensor<8xf32>)'
    " -> tensor<4x8xi1>",
    "compare C3": '"neuron.compare"(%v, %v) {direction = "EQ"} : (tensor<8xf32>, tensor<8xf32>)'
    " -> tensor<8xf32>",
    "compare C4": '"neuron.compare"(%v, %v) {direction = "ISH"} : (tensor<8xf32>, tensor<8xf32>)'
    " -> tensor<8xi1>",
    "select C2": '"neuron.select"(%v, %v, %v) : (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>)'
    " -> tensor<8xf32>",
    "select C3": '"neuron.select"(%b, %x, %h) : (tensor<4x8xi1>, tensor<4x8xf32>, tensor<4x8xbf16>)'
    " -> tensor<4x8xf32>",
    "convert C2": '"neuron.convert"(%x) : (tensor<4x8xf32>) -> tensor<8x4xbf16>',
    "bitcast C2": '"neuron.bitcast"(%x) : (tensor<4x8xf32>) -> tensor<8x4xi32>',
    "bitcast C3": '"neuron.bitcast"(%x) : (tensor<4x8xf32>) -> tensor<4x8xbf16>',
    "constant C2": '"neuron.constant"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<8xf32>',
    "iota C2": '"neuron.iota"() {dimension = 1 : i64} : () -> tensor<8xi32>',
    "iota C3": '"neuron.iota"() {dimension = 0 : i64} : () -> tensor<8xi1>',
    "broadcast C2": '"neuron.broadcast"(%v) {dims = []} : (tensor<8xf32>) -> tensor<4x8xf32>',
    "broadcast C3": '"neuron.broadcast"(%v) {dims = [0]} : (tensor<8xf32>) -> tensor<4x8xf32>',
    "broadcast C4": '"neuron.broadcast"(%v) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xbf16>',
    "reshape C2": '"neuron.reshape"(%x) : (tensor<4x8xf32>) -> tensor<33xf32>',
    "reshape C3": '"neuron.reshape"(%x) : (tensor<4x8xf32>) -> tensor<32xbf16>',
    "transpose C2": '"neuron.transpose"(%x) {permutation = [0, 0]} : (tensor<4x8xf32>)'
    " -> tensor<4x4xf32>",
    "transpose C3": '"neuron.transpose"(%x) {permutation = [1, 0]} : (tensor<4x8xf32>)'
    " -> tensor<4x8xf32>",
    "slice C2": '"neuron.slice"(%v) {start = [0], limit = [9], strides = [1]} : (tensor<8xf32>)'
    " -> tensor<9xf32>",
    "slice C3": '"neuron.slice"(%v) {start = [0], limit = [8], strides = [3]} : (tensor<8xf32>)'
    " -> tensor<2xf32>",
    "dynamic_slice C2": f'"neuron.dynamic_slice"(%x, %i) {DYNAMIC}, sizes = [2, 8]}} :'
    " (tensor<4x8xf32>, tensor<4xi32>) -> tensor<2x8xf32>",
    "dynamic_slice C3": f'"neuron.dynamic_slice"(%v, %i1) {DYNAMIC_V}, sizes = [9]}} :'
    " (tensor<8xf32>, tensor<1xi32>) -> tensor<9xf32>",
    "dynamic_slice C4": f'"neuron.dynamic_slice"(%v, %i1) {DYNAMIC_V}, sizes = [2]}} :'
    " (tensor<8xf32>, tensor<1xi32>) -> tensor<3xf32>",
    "dynamic_update_slice C2": f'"neuron.dynamic_update_slice"(%v, %w4, %v) {DYNAMIC_V}}} :'
    " (tensor<8xf32>, tensor<4xf32>, tensor<8xf32>) -> tensor<8xf32>",
    "dynamic_update_slice C3": f'"neuron.dynamic_update_slice"(%w4, %v, %i1) {DYNAMIC_V}}} :'
    " (tensor<4xf32>, tensor<8xf32>, tensor<1xi32>) -> tensor<4xf32>",
    "dynamic_update_slice C4": f'"neuron.dynamic_update_slice"(%v, %w4, %i1) {DYNAMIC_V}}} :'
    " (tensor<8xf32>, tensor<4xf32>, tensor<1xi32>) -> tensor<4xf32>",
    "concatenate C2": '"neuron.concatenate"(%v) {dimension = 1 : i64} : (tensor<8xf32>)'
    " -> tensor<8xf32>",
    "concatenate C3": '"neuron.concatenate"(%x, %v) {dimension = 0 : i64} :'
    " (tensor<4x8xf32>, tensor<8xf32>) -> tensor<5x8xf32>",
    "concatenate C4": '"neuron.concatenate"(%v, %v) {dimension = 0 : i64} :'
    " (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>",
    "pad C2": '"neuron.pad"(%v, %v) {low = [1], high = [0], interior = [0]} :'
    " (tensor<8xf32>, tensor<8xf32>) -> tensor<9xf32>",
    "pad C3": '"neuron.pad"(%v, %s) {low = [-1], high = [0], interior = [0]} :'
    " (tensor<8xf32>, tensor<f32>) -> tensor<7xf32>",
    "pad C4": '"neuron.pad"(%v, %s) {low = [1], high = [0], interior = [1]} :'
    " (tensor<8xf32>, tensor<f32>) -> tensor<9xf32>",
    "reverse C2": '"neuron.reverse"(%v) {dims = [1]} : (tensor<8xf32>) -> tensor<8xf32>',
    "reverse C3": '"neuron.reverse"(%v) {dims = [0]} : (tensor<8xf32>) -> tensor<8xbf16>',
    "reduce C2": '"neuron.reduce"(%v) {dims = [0], kind = "mean"} : (tensor<8xf32>) -> tensor<f32>',
    "reduce C3": '"neuron.reduce"(%v) {dims = [], kind = "sum"} : (tensor<8xf32>) -> tensor<8xf32>',
    "reduce C4": '"neuron.reduce"(%x) {dims = [1], kind = "sum"} : (tensor<4x8xf32>)'
    " -> tensor<8xf32>",
    "dot C2": f'"neuron.dot"(%x, %x) ({{}}) {{{DOT}}} : ({F}, {F}) -> tensor<4x8xf32>',
    "dot C3": f'"neuron.dot"(%x, %w) ({{}}) {{{DOT}}} : ({F}, tensor<8x8xf32>) -> tensor<8x4xf32>',
    "dot C4": f'"neuron.dot"(%x, %j) ({{}}) {{{DOT}}} : ({F}, tensor<8x8xi8>) -> tensor<4x8xf32>',
    "dot C5": f'"neuron.dot"(%x, %w, %v) ({{}}) {{{DOT}}} : ({F}, tensor<8x8xf32>, tensor<8xf32>)'
    f" -> {F}",
    "dot C6": f'"neuron.dot"(%x, %w) {REGION.format(extra="", body=TRANSPOSED)} {{{DOT}}} :'
    f" ({F}, tensor<8x8xf32>) -> {F}",
    "convolution C2": f'"neuron.convolution"(%x, %v) ({{}}) {{{PLAIN}}} :'
    f" ({F}, tensor<8xf32>) -> {F}",
    "convolution C3": '"neuron.convolution"(%x, %w) ({}) {'
    + CONV.format(groups=1, strides="1")
    + f"}} : ({F}, tensor<8x8xf32>) -> {F}",
    "convolution C4": '"neuron.convolution"(%x, %w) ({}) {'
    + CONV.format(groups=2, strides="")
    + f"}} : ({F}, tensor<8x8xf32>) -> {F}",
    "convolution C5": f'"neuron.convolution"(%x, %j) ({{}}) {{{PLAIN}}} :'
    f" ({F}, tensor<8x8xi8>) -> {F}",
    "convolution C6": f'"neuron.convolution"(%x, %w) ({{}}) {{{PLAIN}}} :'
    f" ({F}, tensor<8x8xf32>) -> tensor<8x4xf32>",
    "convolution C7": f'"neuron.convolution"(%x, %w, %v) ({{}}) {{{PLAIN}}} :'
    f" ({F}, tensor<8x8xf32>, tensor<8xf32>) -> {F}",
    "convolution C8": f'"neuron.convolution"(%x, %w) {REGION.format(extra="", body=TRANSPOSED)}'
    f" {{{PLAIN}}} : ({F}, tensor<8x8xf32>) -> {F}",
    "reduce_window C2": '"neuron.reduce_window"(%x) {'
    + POOL.format(kind="or", low=0)
    + f"}} : ({F}) -> tensor<4x7xf32>",
    "reduce_window C3": '"neuron.reduce_window"(%x) {'
    + POOL.format(kind="max", low=-1)
    + f"}} : ({F}) -> tensor<4x6xf32>",
    "reduce_window C4": '"neuron.reduce_window"(%x) {'
    + POOL.format(kind="max", low=0)
    + f"}} : ({F}) -> {F}",
    "scatter_rows C2": '"neuron.scatter_rows"(%x, %v, %x) {kind = "set"} : (tensor<4x8xf32>, '
    "tensor<8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>",
    "scatter_rows C3": '"neuron.scatter_rows"(%x, %i, %v) {kind = "set"} : (tensor<4x8xf32>, '
    "tensor<4xi32>, tensor<8xf32>) -> tensor<4x8xf32>",
    "scatter_rows C4": '"neuron.scatter_rows"(%x, %i, %x) {kind = "set"} : (tensor<4x8xf32>, '
    "tensor<4xi32>, tensor<4x8xf32>) -> tensor<4x8xi32>",
    "scatter_rows C5": '"neuron.scatter_rows"(%x, %i, %x) {kind = "product"} : (tensor<4x8xf32>, '
    "tensor<4xi32>, tensor<4x8xf32>) -> tensor<4x8xf32>",
    "sort C2": SORT.format(operand="%v", scalar="f32", number=0, kind="tensor<8xf32>", body=""),
    "sort C3": SORT.format(operand="%x", scalar="i32", number=0, kind=F, body=""),
    "sort C4": SORT.format(operand="%x", scalar="f32", number=0, kind=F, body=WIDE),
    "sort C5": SORT.format(operand="%x", scalar="f32", number=2, kind=F, body=""),
    "gather_rows C2": '"neuron.gather_rows"(%x, %v) : (tensor<4x8xf32>, tensor<8xf32>)'
    " -> tensor<8x8xf32>",
    "gather_rows C3": '"neuron.gather_rows"(%x, %i) : (tensor<4x8xf32>, tensor<4xi32>)'
    " -> tensor<4xf32>",
    "softmax C2": '"neuron.softmax"(%i) {axis = 0 : i64} : (tensor<4xi32>) -> tensor<4xi32>',
    "softmax C3": '"neuron.softmax"(%v) {axis = 1 : i64} : (tensor<8xf32>) -> tensor<8xf32>',
    "masked_softmax C2": '"neuron.masked_softmax"(%i) {axis = 0 : i64} :'
    " (tensor<4xi32>) -> tensor<4xi32>",
    "masked_softmax C3": '"neuron.masked_softmax"(%v) {axis = 1 : i64} :'
    " (tensor<8xf32>) -> tensor<8xf32>",
    "layer_norm C2": '"neuron.layer_norm"(%s, %v, %v) {epsilon = 1.0 : f64} :'
    " (tensor<f32>, tensor<8xf32>, tensor<8xf32>) -> tensor<f32>",
    "layer_norm C3": '"neuron.layer_norm"(%w4, %v, %v) {epsilon = 1.0 : f64} :'
    " (tensor<4xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<4xf32>",
    "layer_norm C4": '"neuron.layer_norm"(%x, %v, %v) {epsilon = -1.0 : f64} :'
    " (tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<4x8xf32>",
    "rms_norm C2": '"neuron.rms_norm"(%s, %v) {epsilon = 1.0 : f64} :'
    " (tensor<f32>, tensor<8xf32>) -> tensor<f32>",
    "rms_norm C3": '"neuron.rms_norm"(%w4, %v) {epsilon = 1.0 : f64} :'
    " (tensor<4xf32>, tensor<8xf32>) -> tensor<4xf32>",
    "rms_norm C4": '"neuron.rms_norm"(%x, %v) {epsilon = -1.0 : f64} :'
    " (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>",
    "fused C2": f'"neuron.fused"(%v) {REGION.format(extra="", body=EXP)} : (tensor<8xf32>) -> {F}',
    "fused C3": f'"neuron.fused"(%x) ({{ ^bb0(%p: {F}): "neuron.yield"(%v) : (tensor<8xf32>)'
    f" -> () }}) : ({F}) -> {F}",
    "fused C4": f'"neuron.fused"(%x) {REGION.format(extra="", body=TRANSPOSED)} : ({F}) -> {F}',
}
ARGUMENTS = (
    "%x: tensor<4x8xf32>, %v: tensor<8xf32>, %i: tensor<4xi32>, %b: tensor<4x8xi1>,"
    " %h: tensor<4x8xbf16>, %s: tensor<f32>, %w: tensor<8x8xf32>, %j: tensor<8x8xi8>,"
    " %w4: tensor<4xf32>, %i1: tensor<1xi32>, %d: tensor<?xf32>, %l: tensor<4xi64>"
)


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_rule_is_reported(rule: str) -> None:
    text = BROKEN[rule]
    if rule == "fused C3":  # a region is isolated: yield the argument's vector through a constant
        constant = (
            '%k = "neuron.constant"() {value = dense<0.0> : tensor<8xf32>} : () -> tensor<8xf32>'
        )
        text = text.replace(': "neuron.yield"(%v)', f': {constant} "neuron.yield"(%k)')
    name, number = rule.split()
    with pytest.raises(CompileError) as caught:
        parse_module(f"func.func @main({ARGUMENTS}) {{ %0 = {text} return }}", CONTEXT)
    assert f"'neuron.{name}' op ({number})" in str(caught.value)


def test_every_numbered_rule_has_a_broken_program() -> None:
    tested = set(BROKEN)
    for op in Neuron.operations:
        name = op.OPERATION_NAME.removeprefix("neuron.")
        for number in set(re.findall(r"\((C\d)\)", op.__doc__ or "")) - {"C1"}:
            shared = {"C2": "add C2", "C3": "exp C3"} if op.__doc__.count("\n") == 2 else {}
            assert f"{name} {number}" in tested or shared.get(number) in tested, (name, number)


def test_missing_attribute_is_named() -> None:
    with pytest.raises(CompileError, match='attribute "permutation" is expected'):
        parse_module(
            f'func.func @main(%x: {F}) {{ %0 = "neuron.transpose"(%x) : ({F}) -> {F} return }}',
            CONTEXT,
        )


def test_text_round_trip() -> None:
    text = f"""func.func @main(%x: {F}, %w: tensor<8x8xf32>, %v: tensor<8xf32>) -> {F} {{
      %0 = "neuron.dot"(%x, %w, %v) ({{
      ^bb0(%p: {F}, %q: tensor<8xf32>):
        %a = "neuron.broadcast"(%q) {{dims = [1]}} : (tensor<8xf32>) -> {F}
        %r = "neuron.add"(%p, %a) : ({F}, {F}) -> {F}
        "neuron.yield"(%r) : ({F}) -> ()
      }}) {{{DOT}}} : ({F}, tensor<8x8xf32>, tensor<8xf32>) -> {F}
      return %0 : {F} }}"""
    once = str(parse_module(text, CONTEXT))
    assert "operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0, 0>" in once
    assert str(parse_module(once, CONTEXT)) == once


def test_op_list_has_a_summary_for_each() -> None:
    listed = dict(neuron_op_list())
    assert listed["neuron.gelu"] == "x * Phi(x), by erf."
    assert all(listed.values()) and len(listed) == len(Neuron.operations)
