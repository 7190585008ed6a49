"""The region of a reduction, a map or a scatter as a function of whole tensors.

A region says what becomes of scalars. Applied to tensors of one shape each of its operations
becomes one on tensors, which computes at every place what the region computes of the scalars there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from torch_mlir import ir

from axonc.passes.graph.scalar_region import VIEWS_OF_SCALARS, not_elementwise
from axonc.passes.prepare import words

Tensors: TypeAlias = "list[ir.Value]"
Combine: TypeAlias = Callable[[Tensors, Tensors], Tensors]
"""Of what comes first and what comes next, several tensors each, to what stands for both."""

KINDS = frozenset(f"stablehlo.{n}" for n in "add maximum minimum multiply and or".split())
"""What engines reduce by in one instruction."""


@dataclass(frozen=True)
class ScalarBody:
    """A region, of which `results` are wanted and made of `arguments` (their numbers)."""

    region: ir.Region
    results: tuple[int, ...]
    arguments: tuple[int, ...]

    @staticmethod
    def of(region: ir.Region) -> ScalarBody | None:
        """All of a region; None when it cannot be applied to tensors."""
        if not_elementwise(region) is not None:
            return None
        count = len(_returned(region))
        return ScalarBody(
            region, tuple(range(count)), tuple(range(len(region.blocks[0].arguments)))
        )

    @cached_property
    def _needed(self) -> list[ir.Operation]:
        """The operations that the wanted results depend on, in order."""
        outputs = _returned(self.region)
        wanted, found = {outputs[n] for n in self.results}, []
        for view in reversed(list(self.region.blocks[0].operations)):
            op = view.operation
            if op.name != "stablehlo.return" and any(v in wanted for v in op.results):
                wanted.update(op.operands)
                found.append(op)
        return found[::-1]

    def __call__(self, *given: ir.Value) -> Tensors:
        """The wanted results for tensors of one shape, in the order of `arguments`."""
        inner = self.region.blocks[0].arguments
        known = {
            inner[n]: words.convert(value, inner[n].type.element_type)
            for n, value in zip(self.arguments, given, strict=True)
        }
        shape = list(given[0].type.shape)
        for op in self._needed:
            known[op.results[0]] = _applied(op, known, shape)
        outputs = _returned(self.region)
        return [_spread(outputs[n], known, shape) for n in self.results]

    def combine(self, first: Tensors, second: Tensors) -> Tensors:
        """Of a reduction: `first` are its left arguments, `second` its right ones."""
        return self(*first, *second)

    def groups(self) -> list[ScalarBody]:
        """Of a reduction of several tensors: the parts of it that have nothing to do with each
        other, each with the left and the right arguments of its own."""
        outputs = _returned(self.region)
        together = [{n} | self._read_by(outputs[n]) for n in range(len(outputs))]
        groups: list[set[int]] = []
        for each in together:
            touching = [g for g in groups if g & each]
            groups = [g for g in groups if not g & each]
            groups.append(each.union(*touching))
        numbers = sorted(tuple(sorted(g)) for g in groups)
        half = len(outputs)
        return [ScalarBody(self.region, g, (*g, *(half + n for n in g))) for g in numbers]

    def _read_by(self, value: ir.Value) -> set[int]:
        """The numbers of the tensors that a result depends on."""
        arguments = list(self.region.blocks[0].arguments)
        pending, seen = [value], set()
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            if not isinstance(current.owner, ir.Block):
                pending += current.owner.operation.operands
        half = len(arguments) // 2
        return {n % half for n, argument in enumerate(arguments) if argument in seen}

    def kind(self) -> str | None:
        """Of a part with one result: the operation of `KINDS` on its two arguments that it is,
        without dialect; None when it is more."""
        inner = self.region.blocks[0].arguments
        result = _returned(self.region)[self.results[0]]
        if len(self.results) != 1 or isinstance(result.owner, ir.Block):
            return None
        op = result.owner.operation
        is_kind = op.name in KINDS and set(op.operands) == {inner[n] for n in self.arguments}
        return op.name.removeprefix("stablehlo.") if is_kind else None

    def element(self, number: int) -> ir.Type:
        """The element type in which tensor `number` of a reduction is combined."""
        return self.region.blocks[0].arguments[number].type.element_type


def _returned(region: ir.Region) -> list[ir.Value]:
    return list(list(region.blocks[0].operations)[-1].operands)


def _applied(op: ir.Operation, known: dict[ir.Value, ir.Value], shape: Sequence[int]) -> ir.Value:
    """One operation of a region on tensors of `shape`."""
    if op.name == "stablehlo.constant":
        return _spread(op.results[0], {}, shape)
    operands = [_spread(v, known, shape) for v in op.operands]
    if op.name in VIEWS_OF_SCALARS:
        return operands[0]
    kind = ir.RankedTensorType.get(list(shape), op.results[0].type.element_type)
    attributes = dict(op.attributes.items())
    return ir.Operation.create(op.name, [kind], operands, attributes).results[0]


def _spread(value: ir.Value, known: dict[ir.Value, ir.Value], shape: Sequence[int]) -> ir.Value:
    """A value of a region on tensors; constants and values from outside are the same everywhere."""
    if value in known:
        return known[value]
    number = words.number_of(value)
    if number is None:
        return words.broadcast(value, shape, ())
    return words.filled(number, ir.RankedTensorType.get(list(shape), value.type.element_type))
