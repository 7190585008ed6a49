"""Which cores hold the same value: an analysis of a neuron module that several cores run.

A value's *classes* number, for each core, the set of cores that surely hold the same bits. They
start at the arguments of `@main`, which say in `neuron.parts` which part of the whole tensor each
core has; an argument that does not say may differ on every core. All cores run one program, so an
operation makes equal results of equal operands; what was reduced or gathered is equal within a
group; other collectives, and the number of the core, are different everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from torch_mlir import ir

from axonc.dialects.attributes import integers
from axonc.dialects.neuron.argument_names import PARTS
from axonc.dialects.neuron.ops import (
    COLLECTIVES,
    AllGatherOp,
    AllReduceOp,
    PartitionIdOp,
    RepeatOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.repeat import Repeat, function_named, module_of

Classes = tuple[int, ...]

EQUAL_IN_GROUPS = frozenset({AllReduceOp, AllGatherOp})


class Replication:
    """`classes[value]` for the values of `main` and of the functions its repeats call."""

    def __init__(self, main: ir.Operation, cores: int) -> None:
        self.cores = cores
        self.different = tuple(range(cores))
        self.classes: dict[ir.Value, Classes] = {}
        for argument, attributes in _arguments(main):
            given = attributes[PARTS] if attributes and PARTS in attributes else None
            self.classes[argument] = self.different if given is None else _numbered(integers(given))
        self._follow(main.regions[0].blocks[0])

    def is_equal(self, value: ir.Value, groups: Sequence[Sequence[int]]) -> bool:
        """Whether all cores of each group hold the same."""
        classes = self.classes.get(value, self.different)
        return all(len({classes[core] for core in group}) == 1 for group in groups)

    def _follow(self, block: ir.Block) -> list[Classes]:
        """The classes of what the block returns."""
        for op in block.operations:
            operands = [self.classes[v] for v in op.operands]
            if op.name == "func.return":
                return operands
            if isa(op, RepeatOp):
                self._follow_repeat(op)
                continue
            self.classes.update(dict.fromkeys(op.results, self._result(op, operands)))
        return []

    def _result(self, op: ir.Operation, operands: Iterable[Classes]) -> Classes:
        if kind_of(op) in EQUAL_IN_GROUPS:
            return _by_group(op.groups, self.cores)
        if kind_of(op) in COLLECTIVES or isa(op, PartitionIdOp):
            return self.different
        return self._meet(operands)

    def _meet(self, found: Iterable[Classes]) -> Classes:
        """Cores that agree in all."""
        result: Classes = (0,) * self.cores
        for classes in found:
            result = _refined(result, classes)
        return result

    def _follow_repeat(self, op: ir.Operation) -> None:
        """Until the carried values differ no more than before: at most a round per core."""
        parts, module = Repeat.of(op), module_of(op)
        function = function_named(module, parts.callee) if module is not None else None
        assert function is not None, "a verified repeat names a function"
        block = function.regions[0].blocks[0]
        carried = [self.classes[v] for v in parts.carried]
        others = [
            self._meet(self.classes[v] for v in slot)
            for slot in zip(*(parts.arguments(k) for k in range(parts.count)), strict=True)
        ]
        while True:
            for argument, classes in zip(block.arguments, [*carried, *others], strict=True):
                earlier = self.classes.get(argument, classes)
                self.classes[argument] = _refined(earlier, classes)
            returned = self._follow(block)
            pairs = zip(carried, returned[: len(carried)], strict=True)
            following = [_refined(a, b) for a, b in pairs]
            if following == carried:
                break
            carried = following
        self.classes.update(zip(parts.carried_out, carried, strict=True))
        for collected in parts.collected:
            self.classes.update(zip(collected, returned[len(carried) :], strict=True))


def _arguments(main: ir.Operation) -> Iterable[tuple[ir.Value, ir.Attribute | None]]:
    block = main.regions[0].blocks[0]
    if "arg_attrs" not in main.attributes:
        return [(argument, None) for argument in block.arguments]
    given = [ir.DictAttr(a) for a in ir.ArrayAttr(main.attributes["arg_attrs"])]
    return zip(block.arguments, given, strict=True)


def _numbered(classes: Sequence[object]) -> Classes:
    """Classes by number, in the order of their first core."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(each, len(numbers)) for each in classes)


@lru_cache(maxsize=4096)
def _refined(a: Classes, b: Classes) -> Classes:
    """Cores that agree in both."""
    return _numbered(tuple(zip(a, b, strict=True)))


@lru_cache(maxsize=256)
def _by_group(groups: tuple[tuple[int, ...], ...], cores: int) -> Classes:
    group_of = {core: number for number, group in enumerate(groups) for core in group}
    return _numbered(tuple(group_of.get(core, -1 - core) for core in range(cores)))
