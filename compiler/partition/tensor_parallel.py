"""Choose which weights are cut over cores, for programs that carry no shardings.

The choice is Megatron's (Shoeybi et al., "Megatron-LM", 2019, section 3), found by structure, not
by names. A product with a weight cuts the weight's output dim ("columns") when everything that
follows goes on part by part up to the contraction of further products with weights ("rows"), whose
partial sums one all_reduce adds. In a feed-forward block that pairs the first product with the
second; in attention it cuts queries, keys and values by heads and the output projection by rows:
two all_reduces a layer. A last product may end at the program's results, which are then cut. What
has to stay whole (a norm or softmax over the dim, heads that do not divide) keeps its weights on
every core; the report says why.

Before: `dot(gelu(dot(x, w1)), w2)`, one core. After: w1 cut `[-, tp]`, w2 `[tp, -]`; Shardy writes
the all_reduce after the second product.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxlib.mlir import ir

from axonc.diagnostics import SourceLocation
from axonc.imported import stablehlo_module
from axonc.imported.program import Argument, ImportedProgram
from axonc.partition.annotate import (
    analysable,
    annotate_arguments,
    partitioned,
    populate_rules,
    sharding_with_dim,
)
from axonc.partition.cut_dims import Blocked, Closure, Graph, follow
from axonc.partition.split_weights import split_fused_weights
from axonc.sharding import Mesh, Sharding

AXIS = "tp"

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

    cuts: dict[int, int]
    """The cut dim of each argument that has one, by index."""
    sums: int
    """Number of all_reduces."""
    choices: tuple[Choice, ...]


def shard_by_tensor(program: ImportedProgram, cores: int) -> ImportedProgram:
    """The program of one of `cores` cores, its weights cut where that is possible.

    `sharding_notes` of the result is the report, a line a weight.

    Raises:
        UsageError: the program is sharded already.
        UnsupportedOpError: Shardy cannot partition it.
    """
    mesh = Mesh(((AXIS, cores),))
    module = analysable(program)
    program = split_fused_weights(module, program)
    with module.context, ir.Location.unknown():
        populate_rules(module)
        main = stablehlo_module.main_function(module)
        plan = make_plan(main, program, mesh)
        annotate_arguments(module, main, mesh, plan.cuts, AXIS)
    return partitioned(module, program, tuple(map(str, plan.choices)))


def make_plan(main: ir.OpView, program: ImportedProgram, mesh: Mesh) -> Plan:
    """Decide for every product with a weight, in order; the first cut of a tensor stands."""
    graph = Graph.of(main)
    products = _products(graph, program.arguments)
    summing = frozenset(products)
    cuts: dict[int, int] = {}
    sums: set[int] = set()
    whole: dict[int, str] = {}
    for index, (weight, operand) in products.items():
        if weight in cuts:
            continue
        closure = _first_closure(graph, index, operand, mesh.size, summing, cuts)
        if isinstance(closure, str):
            whole.setdefault(weight, closure)
            continue
        cuts.update(closure.cuts)
        sums.update(closure.sums)
    given = range(len(program.arguments))
    chosen = {i: cuts[i] for i in given if i in cuts}
    choices = [
        _choice(program.arguments[i], i, mesh, chosen, whole)
        for i in given
        if i in chosen or i in whole
    ]
    return Plan(chosen, len(sums), tuple(choices))


def _choice(
    argument: Argument, index: int, mesh: Mesh, chosen: dict[int, int], whole: dict[int, str]
) -> Choice:
    if index not in chosen:
        return Choice(argument.name, None, whole[index])
    return Choice(argument.name, sharding_with_dim(mesh, len(argument.shape), chosen[index], AXIS))


def _first_closure(
    graph: Graph,
    index: int,
    operand: int,
    parts: int,
    summing: frozenset[int],
    cuts: dict[int, int],
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
