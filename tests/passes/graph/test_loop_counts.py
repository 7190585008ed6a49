"""How often loops run, by formula and by going through them, beside Python's own count."""

from __future__ import annotations

import pytest
from torch_mlir import ir

from axonc.context import make_context, parse_module
from axonc.passes.graph.loop_counts import iterations, operation_count

LOOP = """
func.func @main(%n: tensor<i32>) -> tensor<i32> {{
  %first = stablehlo.constant dense<{first}> : tensor<{kind}>
  %bound = stablehlo.constant dense<{end}> : tensor<{kind}>
  %0:3 = stablehlo.while(%i = %first, %e = %bound, %m = %n)
      : tensor<{kind}>, tensor<{kind}>, tensor<i32>
  cond {{
    %c = stablehlo.compare {direction}, %i, %e : (tensor<{kind}>, tensor<{kind}>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  }} do {{
    %s = stablehlo.constant dense<{step}> : tensor<{kind}>
    %j = stablehlo.{op} %i, %s : tensor<{kind}>
    stablehlo.return %j, %e, %m : tensor<{kind}>, tensor<{kind}>, tensor<i32>
  }}
  return %0#2 : tensor<i32>
}}
"""


def loop_of(module: ir.Module) -> ir.Operation:
    """The only one of its function."""
    block = module.body.operations[0].operation.regions[0].blocks[0]
    (found,) = (o.operation for o in block.operations if o.operation.name == "stablehlo.while")
    return found


def counted(most: int = 10_000, **parts: object) -> int | None:
    """How often the loop of these parts runs."""
    module = parse_module(LOOP.format(**parts), make_context())
    return iterations(loop_of(module), {}, most)


@pytest.mark.parametrize("kind", ["i32", "i8", "i64"])
@pytest.mark.parametrize(
    ("first", "end", "step"), [(0, 10, 1), (0, 10, 3), (5, 5, 1), (7, 3, 2), (-9, 100, 7)]
)
def test_counters_that_grow(kind: str, first: int, end: int, step: int) -> None:
    found = counted(kind=kind, first=first, end=end, step=step, direction="LT", op="add")
    assert found == len(range(first, end, step))


def test_long_loops_are_counted_by_formula() -> None:
    end = 2_000_000_000
    assert counted(100, kind="i32", first=0, end=end, step=1, direction="LT", op="add") == end


@pytest.mark.parametrize(
    ("direction", "op", "first", "end", "step", "count"),
    [
        ("GT", "subtract", 10, 0, 3, 4),
        ("LE", "add", 0, 10, 5, 3),
        ("NE", "add", 0, 6, 2, 3),
        ("LT", "multiply", 1, 100, 2, 7),
    ],
)
def test_other_loops_are_gone_through(
    direction: str, op: str, first: int, end: int, step: int, count: int
) -> None:
    found = counted(kind="i32", first=first, end=end, step=step, direction=direction, op=op)
    assert found == count


def test_a_counter_that_wraps_is_gone_through() -> None:
    """-128 follows 127: 120, 124, -128, ... never come to 127, but 127 is not below itself."""
    assert counted(kind="i8", first=120, end=127, step=4, direction="LT", op="add") is None


def test_a_bound_that_depends_on_data_tells_nothing() -> None:
    module = parse_module(
        LOOP.format(kind="i32", first=0, end=3, step=1, direction="LT", op="add").replace(
            "%e = %bound", "%e = %n"
        ),
        make_context(),
    )
    found = loop_of(module)
    assert iterations(found, {}, 10_000) is None
    assert operation_count(found.block, {}) > operation_count(found.regions[1].blocks[0], {})
