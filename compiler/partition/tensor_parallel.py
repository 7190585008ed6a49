"""Choose which weights are cut over cores, for programs that carry no shardings.

The choice is Megatron's (Shoeybi et al., "Megatron-LM", 2019, section 3), found by structure, not
by names. A product with a weight cuts the weight's output dim ("columns") when everything that
follows goes on part by part up to the contraction of further products with weights ("rows"), whose
partial sums one all_reduce adds. In a feed-forward block that pairs the first product with the
second; in attention it cuts queries, keys and values by heads and the output projection by rows:
two all_reduces a layer. Where there are more cores than heads of keys and values, some cores share
a head and divide the queries that read it: the mesh has two axes then. A last product may end at
the program's results, which are then cut. What has to stay whole (a norm or softmax over the dim,
heads that do not divide) keeps its weights on every core; the report says why.

Before: `dot(gelu(dot(x, w1)), w2)`, one core. After: w1 cut `[-, tp]`, w2 `[tp, -]`; Shardy writes
the all_reduce after the second product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jaxlib.mlir import ir

from axonc.diagnostics import SourceLocation
from axonc.imported import stablehlo_module
from axonc.imported.program import Argument, ImportedProgram
from axonc.partition.annotate import (
    Cuts,
    analysable,
    annotate_arguments,
    partitioned,
    populate_rules,
    sharding_of,
)
from axonc.partition.cut_dims import Blocked, Closure, Graph, follow
from axonc.partition.split_weights import split_fused_weights
from axonc.sharding import Mesh, Sharding

AXIS, GROUP_AXIS = "tp", "tp_group"
"""Of the mesh. Cores that differ along the second one, if there is one, hold the same heads of keys
and values, and different ones of the queries that read them."""

# What a weight may pass through on its way to a product.
_VIEWS = ("stablehlo.reshape", "stablehlo.transpose", "stablehlo.convert")


@dataclass(frozen=True)
class Choice:
    """One argument's part in the plan."""

    weight: str
    cut: Sharding | None
    """Its sharding; None when it stays whole for `reason`."""
    reason: str = ""

    def __str__(self) -> str:
        if self.cut is None:
            return f"{self.weight}: whole on every core: {self.reason}"
        return f"{self.weight}: cut {self.cut}"


@dataclass(frozen=True)
class Plan:
    """A choice of arguments to cut, and what it costs."""

    mesh: Mesh
    cuts: Cuts
    """The cut dims of arguments."""
    sums: int
    """Number of all_reduces."""
    choices: tuple[Choice, ...]
    undivided: frozenset[int] = frozenset()
    """Sizes of dims that would have been cut if they divided."""


def shard_by_tensor(program: ImportedProgram, cores: int) -> ImportedProgram:
    """The program of one of `cores` cores, its weights cut where that is possible.

    `sharding_notes` of the result is the report, a line a weight.

    Raises:
        UsageError: the program is sharded already.
        UnsupportedOpError: Shardy cannot partition it.
    """
    module = analysable(program)
    program = split_fused_weights(module, program)
    with module.context, ir.Location.unknown():
        populate_rules(module)
        main = stablehlo_module.main_function(module)
        plan = best_plan(main, program, cores)
        annotate_arguments(module, main, plan.mesh, plan.cuts)
    return partitioned(module, program, tuple(map(str, plan.choices)))


def best_plan(main: ir.OpView, program: ImportedProgram, cores: int) -> Plan:
    """All cores along one axis; or along two, if a core has less of the weights then: fewer heads
    of keys and values than cores are cut along the first, and their queries along both."""
    first = make_plan(main, program, Mesh(((AXIS, cores),)))
    plans = [first]
    for outer in sorted({math.gcd(size, cores) for size in first.undivided} - {1, cores}):
        axes = ((AXIS, outer), (GROUP_AXIS, cores // outer))
        plans.append(make_plan(main, program, Mesh(axes)))
    return min(plans, key=lambda plan: _elements_per_core(program, plan))


def _elements_per_core(program: ImportedProgram, plan: Plan) -> float:
    sizes = dict(plan.mesh.axes)
    total = 0.0
    for index, argument in enumerate(program.arguments):
        parts = [sizes[axis] for axis, cuts in plan.cuts.items() if index in cuts]
        total += math.prod(argument.shape) / math.prod(parts)
    return total


def make_plan(main: ir.OpView, program: ImportedProgram, mesh: Mesh) -> Plan:
    """Decide for every product with a weight, in order; the first cut of a tensor stands. Of a mesh
    of two axes the second one cuts what the first one leaves to a core."""
    graph = Graph.of(main)
    products = _products(graph, program.arguments)
    given = range(len(program.arguments))
    cuts: Cuts = {}
    sums: set[int] = set()
    blocked = _Obstacles()
    for axis, parts in mesh.axes:
        found, closures = _cuts_along(graph, products, parts, blocked)
        cuts[axis] = {i: found[i] for i in given if i in found}
        sums.update(index for closure in closures for index in closure.sums)
        graph = graph.of_part({f for closure in closures for f in closure.factors}, parts)
    choices = [
        _choice(program.arguments[i], i, mesh, cuts, blocked.reasons)
        for i in given
        if i in blocked.reasons or any(i in along for along in cuts.values())
    ]
    return Plan(mesh, cuts, len(sums), tuple(choices), frozenset(blocked.sizes))


@dataclass
class _Obstacles:
    """What kept weights whole."""

    reasons: dict[int, str] = field(default_factory=dict)
    """By argument."""
    sizes: set[int] = field(default_factory=set)
    """Of dims that did not divide."""


def _cuts_along(
    graph: Graph, products: dict[int, tuple[int, int]], parts: int, blocked: _Obstacles
) -> tuple[dict[int, int], list[Closure]]:
    """What is cut into `parts`: dims by value, and the closures they come from."""
    cuts: dict[int, int] = {}
    closures = []
    for index, (weight, operand) in products.items():
        if weight in cuts:
            continue
        closure = _first_closure(graph, index, operand, parts, frozenset(products), cuts, blocked)
        if isinstance(closure, str):
            blocked.reasons.setdefault(weight, closure)
            continue
        cuts.update(closure.cuts)
        closures.append(closure)
    return cuts, closures


def _choice(
    argument: Argument, index: int, mesh: Mesh, cuts: Cuts, whole: dict[int, str]
) -> Choice:
    if not any(index in along for along in cuts.values()):
        return Choice(argument.name, None, whole[index])
    return Choice(argument.name, sharding_of(mesh, len(argument.shape), cuts, index))


def _first_closure(
    graph: Graph,
    index: int,
    operand: int,
    parts: int,
    summing: frozenset[int],
    cuts: dict[int, int],
    obstacles: _Obstacles,
) -> Closure | str:
    """What cutting one of the weight's output dims leads to; or why none can be cut."""
    reasons = ["it has no output dim"]
    for dim in _output_dims(graph, index, operand):
        result = graph.numbers[graph.operations[index].results[0]]
        try:
            closure = follow(graph, (result, dim), parts, summing)
        except Blocked as blocked:
            place = blocked.location and stablehlo_module.source_location(str(blocked.location))
            reasons.append(f"{blocked.reason}{_at(place)}")
            obstacles.sizes.update([blocked.size] if blocked.size else [])
            continue
        if any(cuts.get(value, cut) != cut for value, cut in closure.cuts.items()):
            reasons.append("another product cuts another dim of it")
            continue
        return closure
    return reasons[-1]


def _at(place: SourceLocation | None) -> str:
    return f" ({place})" if place else ""


def _output_dims(graph: Graph, index: int, operand: int) -> list[int]:
    """The result's dims that come from the weight alone."""
    factors = graph.factors_of(index)
    if factors is None:
        return []
    weight, other = factors.dims[operand], factors.dims[1 - operand]
    shared = {f for of_dim in other for f in of_dim}
    own = {f for of_dim in weight for f in of_dim} - shared
    return [i for i, of_dim in enumerate(factors.dims[2]) if own.intersection(of_dim)]


def _products(graph: Graph, arguments: tuple[Argument, ...]) -> dict[int, tuple[int, int]]:
    """Products with a weight: (argument, operand) by the operation's index.

    In a program without bound weights, a right operand that is an argument counts as one.
    """
    has_weights = any(a.weight is not None for a in arguments)
    found: dict[int, tuple[int, int]] = {}
    for index, op in enumerate(graph.operations):
        if op.name != "stablehlo.dot_general":
            continue
        sources = [_argument_of(v) for v in op.operands]
        for operand in (1, 0):
            source = sources[operand]
            if source is None or (not has_weights and operand == 0 and sources[1] is not None):
                continue
            if not has_weights or arguments[source].weight is not None:
                found[index] = (source, operand)
                break
    return found


def _argument_of(value: ir.Value) -> int | None:
    """The number of the argument that a value is a view of."""
    while not isinstance(value.owner, ir.Block):
        op = value.owner if isinstance(value.owner, ir.Operation) else value.owner.operation
        if op.name not in _VIEWS:
            return None
        value = op.operands[0]
    return int(ir.BlockArgument(value).arg_number)
