"""What else is cut when one dim of one value is: the closure over a function's dataflow.

Shardy's sharding rules say how dims of operands and results belong together (factors). A cut is
followed to users and producers until it ends at arguments, at results, or in the contraction of a
product with a parameter, whose partial results are summed over the cores. Whatever else it meets
that needs the dim whole blocks it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy

from axonc.partition.shardy_guard import RULE_KEY

# (value number, dim)
Cut = tuple[int, int]

# (operation's index, number of one of its factors)
FactorOf = tuple[int, int]


class Blocked(Exception):
    """The dim has to stay whole. reason: in words; location: of the operation that needs it; size:
    of a dim that does not divide."""

    def __init__(
        self, reason: str, location: ir.Location | None = None, size: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.location = location
        self.size = size


@dataclass(frozen=True)
class Factors:
    """How the dims of an operation belong together: those with a common factor are cut alike."""

    values: tuple[int, ...]
    """Numbers of its operands, then of its results."""
    dims: tuple[tuple[tuple[int, ...], ...], ...]
    """By value and dim, the factors of the dim, major first."""
    sizes: tuple[int, ...]
    """By factor, its size."""
    reduced: frozenset[int]
    """Factors that the operation reduces: a cut of one leaves partial results."""
    whole: frozenset[int]
    """Factors that cannot be cut."""


@dataclass
class Graph:
    """The operations of a function, its values numbered: arguments first, then results in order."""

    operations: list[ir.Operation]
    values: list[ir.Value]
    numbers: dict[ir.Value, int]
    touching: dict[int, list[int]]
    factors: dict[int, Factors | None] = field(default_factory=dict)
    divided: dict[FactorOf, int] = field(default_factory=dict)
    """Into how many parts factors are cut already, along other axes of the mesh."""

    @classmethod
    def of(cls, main: ir.OpView) -> Graph:
        values = list(main.arguments)
        operations = [view.operation for view in main.entry_block.operations]
        for op in operations:
            values.extend(op.results)
        numbers = {value: i for i, value in enumerate(values)}
        touching: dict[int, list[int]] = defaultdict(list)
        for i, op in enumerate(operations):
            for value in dict.fromkeys([*op.operands, *op.results]):
                touching[numbers[value]].append(i)
        return cls(operations, values, numbers, touching)

    def factors_of(self, index: int) -> Factors | None:
        """None for an operation without a sharding rule."""
        if index not in self.factors:
            found = _factors(self.operations[index], self.numbers)
            self.factors[index] = found and self._without_cuts(index, found)
        return self.factors[index]

    def _without_cuts(self, index: int, factors: Factors) -> Factors:
        sizes = [n // self.divided.get((index, f), 1) for f, n in enumerate(factors.sizes)]
        return replace(factors, sizes=tuple(sizes))

    def of_part(self, cut: Iterable[FactorOf], parts: int) -> Graph:
        """The graph of what one of `parts` has, where these factors are cut."""
        divided = self.divided | {each: self.divided.get(each, 1) * parts for each in cut}
        return replace(self, factors={}, divided=divided)

    def reduced(self, index: int) -> frozenset[int]:
        """The factors an operation sums over."""
        factors = self.factors_of(index)
        return factors.reduced if factors is not None else frozenset()

    def shape(self, value: int) -> tuple[int, ...]:
        return tuple(ir.RankedTensorType(self.values[value].type).shape)


@dataclass(frozen=True)
class Closure:
    """What follows from cutting some arguments: the cuts of all values, and the sums they need."""

    cuts: dict[int, int]
    """Dim by value number."""
    sums: tuple[int, ...]
    """Operations (by index) whose result is summed over cores."""
    factors: frozenset[FactorOf] = frozenset()
    """What is cut of each operation."""


def follow(graph: Graph, start: Cut, parts: int, summing: frozenset[int]) -> Closure:
    """Everything that is cut into `parts` when `start` is. summing: operations that may contract a
    cut dim.

    Raises:
        Blocked: something needs a whole dim, or a size does not divide.
    """
    cuts: dict[int, int] = {}
    sums: set[int] = set()
    factors: set[FactorOf] = set()
    waiting = [start]
    while waiting:
        value, dim = waiting.pop()
        if cuts.get(value, dim) != dim:
            raise Blocked("two dims of one tensor would be cut")
        if value in cuts:
            continue
        cuts[value] = dim
        for index in graph.touching[value]:
            for factor in _cut_factors(graph, index, value, dim, parts):
                if factor in graph.reduced(index):
                    if index not in summing:
                        op = graph.operations[index]
                        raise Blocked(f"{op.name} reduces over it", op.location)
                    sums.add(index)
                factors.add((index, factor))
                waiting += _with_factor(graph, index, factor)
    return Closure(cuts, tuple(sorted(sums)), frozenset(factors))


def _cut_factors(graph: Graph, index: int, value: int, dim: int, parts: int) -> list[int]:
    """The factors of one operation that a cut dim is."""
    op = graph.operations[index]
    if op.name == "func.return":
        return []
    factors = graph.factors_of(index)
    if factors is None:
        raise Blocked(f"{op.name} needs it whole", op.location)
    return [
        _major(op, factors, dims[dim], parts)
        for number, dims in zip(factors.values, factors.dims, strict=True)
        if number == value
    ]


def _major(op: ir.Operation, factors: Factors, of_dim: tuple[int, ...], parts: int) -> int:
    """The factor of a dim that is cut: the major one of those larger than 1."""
    large = [f for f in of_dim if factors.sizes[f] > 1]
    if not large or large[0] in factors.whole:
        raise Blocked(f"{op.name} needs it whole", op.location)
    size = factors.sizes[large[0]]
    if size % parts:
        raise Blocked(f"{size} does not divide by {parts}", op.location, size)
    return large[0]


def _with_factor(graph: Graph, index: int, factor: int) -> list[Cut]:
    """Every dim of operands and results that has `factor`, as its major one."""
    op, factors = graph.operations[index], graph.factors_of(index)
    assert factors is not None, "it has this factor"
    found = []
    for number, dims in zip(factors.values, factors.dims, strict=True):
        for dim, of_dim in enumerate(dims):
            if factor in of_dim:
                large = [f for f in of_dim if factors.sizes[f] > 1]
                if large[0] != factor:
                    raise Blocked(f"{op.name} puts it below another dim", op.location)
                found.append((number, dim))
    return found


def _factors(op: ir.Operation, numbers: dict[ir.Value, int]) -> Factors | None:
    values = tuple(numbers[v] for v in (*op.operands, *op.results))
    if op.name == "stablehlo.dynamic_update_slice":
        return _of_update(op, values)
    if op.name == "stablehlo.constant":
        return _of_constant(op, values)
    if RULE_KEY not in op.attributes:
        return None
    rule = sdy.OpShardingRuleAttr(op.attributes[RULE_KEY])
    mappings = (*rule.operand_mappings, *rule.result_mappings)
    is_iota = op.name == "stablehlo.iota"
    whole = () if is_iota else (*rule.need_replication_factors, *rule.permutation_factors)
    return Factors(
        values,
        tuple(map(_dims, mappings)),
        tuple(rule.factor_sizes),
        frozenset(rule.reduction_factors),
        frozenset(whole),
    )


def _dims(mapping: ir.Attribute) -> tuple[tuple[int, ...], ...]:
    dims = sdy.TensorMappingAttr(mapping).dim_mappings
    return tuple(tuple(sdy.DimMappingAttr(d).factor_indices) for d in dims)


def _of_constant(op: ir.Operation, values: tuple[int, ...]) -> Factors | None:
    """A splat can be cut; a table of numbers would need another one on every core."""
    if not ir.DenseElementsAttr(op.attributes["value"]).is_splat:
        return None
    shape = tuple(ir.RankedTensorType(op.results[0].type).shape)
    dims = tuple((i,) for i in range(len(shape)))
    return Factors(values, (dims,), shape, frozenset(), frozenset())


def _of_update(op: ir.Operation, values: tuple[int, ...]) -> Factors:
    """Dims that the update spans pass through; in the others it lands where only run time knows."""
    shape = tuple(ir.RankedTensorType(op.operands[0].type).shape)
    part = tuple(ir.RankedTensorType(op.operands[1].type).shape)
    dims = tuple((i,) for i in range(len(shape)))
    starts = ((),) * (len(op.operands) - 2)
    whole = frozenset(i for i, (a, b) in enumerate(zip(shape, part, strict=True)) if a != b)
    return Factors(values, (dims, dims, *starts, dims), shape, frozenset(), whole)
