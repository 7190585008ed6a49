"""Which values may differ from core to core: a question, asked before loops and branches with
collectives in them are left to the sequencers.

All cores have to come to a collective as often. They run the same streams, so they do if they
branch alike, and they branch alike if the number they branch by follows from what all cores have:
constants, arguments that are not cut, and results of collectives over all cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.diagnostics import Finding
from axonc.dialects.attributes import integers
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import PARTS
from axonc.passes.graph.loop_counts import CONTROL_FLOW
from axonc.passes.graph.module import cores_of
from axonc.passes.graph.replica_groups import groups_of
from axonc.passes.unsupported import Unsupported

_DIFFERING = frozenset(
    f"stablehlo.{name}"
    for name in (
        "partition_id", "replica_id", "reduce_scatter", "all_to_all", "collective_permute",
    )
)  # fmt: skip
_MEETING = frozenset(
    f"stablehlo.{name}" for name in ("all_reduce", "all_gather", "collective_broadcast")
)
COLLECTIVES = _MEETING | frozenset(
    f"stablehlo.{name}" for name in ("reduce_scatter", "all_to_all", "collective_permute")
)


def find_differences(main: ir.Operation) -> list[Finding]:
    """Loops and branches with collectives that cores may go through differently, for all that is
    known."""
    if cores_of(main.parent.operation) == 1:
        return []
    differences = _Differences()
    block = main.regions[0].blocks[0]
    differences.values.update(_cut_arguments(main, block))
    differences.visit(block)
    return list(differences.findings.values())


def _cut_arguments(main: ir.Operation, block: ir.Block) -> Iterable[ir.Value]:
    """Arguments of which the cores hold different parts, as far as is known."""
    attributes = main.attributes
    given = list(ir.ArrayAttr(attributes["arg_attrs"])) if "arg_attrs" in attributes else []
    for number, argument in enumerate(block.arguments):
        said = ir.DictAttr(given[number]) if given else ir.DictAttr.get({})
        if PARTS not in said or len(set(integers(said[PARTS]))) > 1:
            yield argument


@dataclass
class _Differences:
    """values: those that may differ. findings: by operation, what may not be left to the cores."""

    values: set[ir.Value] = field(default_factory=set)
    findings: dict[ir.Operation, Finding] = field(default_factory=dict)

    def visit(self, block: ir.Block) -> None:
        for view in block.operations:
            op = view.operation
            _VISITS.get(op.name, _Differences._plain)(self, op)

    def _any(self, values: Iterable[ir.Value]) -> bool:
        return any(value in self.values for value in values)

    def _plain(self, op: ir.Operation) -> None:
        read = list(op.operands)
        for region in op.regions:
            for block in region.blocks:
                read += [v for o in block.operations for v in o.operation.operands]
        if op.name in _DIFFERING or (self._any(read) and not _joins_all(op)):
            self.values.update(op.results)

    def _loop(self, op: ir.Operation) -> None:
        """To a fixed point: values only ever join the set."""
        condition, body = (region.blocks[0] for region in op.regions)
        before = -1
        self._flow(op.operands, [condition.arguments, body.arguments, op.results])
        while before != len(self.values):
            before = len(self.values)
            self.visit(condition)
            self.visit(body)
            returned = list(body.operations)[-1].operands
            self._flow(returned, [condition.arguments, body.arguments, op.results])
        decides = list(condition.operations)[-1].operands
        if self._any(decides):
            self.values.update(op.results)
            self._refuse_collectives(op)

    def _flow(self, sources: Iterable[ir.Value], targets: Iterable[Iterable[ir.Value]]) -> None:
        given = [value in self.values for value in sources]
        for values in targets:
            self.values.update(v for v, differs in zip(values, given, strict=True) if differs)

    def _branch(self, op: ir.Operation) -> None:
        for region in op.regions:
            block = region.blocks[0]
            self.visit(block)
            self._flow(list(block.operations)[-1].operands, [op.results])
        if self._any(op.operands):
            self.values.update(op.results)
            self._refuse_collectives(op)

    def _refuse_collectives(self, op: ir.Operation) -> None:
        if op not in self.findings and _has_collectives(op):
            self.findings[op] = Finding(
                op.name,
                "a collective in it, and cores may go through it differently: what decides is "
                "not the same on all of them, as far as is known",
                source_location(op),
                "decide by a value that all cores have, such as an all_reduce over all of them",
            )


def _joins_all(op: ir.Operation) -> bool:
    """Whether it is a collective after which all cores have the same."""
    if op.name not in _MEETING:
        return False
    try:
        return len(groups_of(op, and_partitions=op.name == "stablehlo.all_reduce")) == 1
    except Unsupported:
        return False  # refused by name later


def _has_collectives(op: ir.Operation) -> bool:
    found = False

    def visit(each: ir.Operation) -> ir.WalkResult:
        nonlocal found
        found = found or each.name in COLLECTIVES
        return ir.WalkResult.ADVANCE

    op.walk(visit)
    return found


_VISITS: dict[str, Callable[[_Differences, ir.Operation], None]] = {
    "stablehlo.while": _Differences._loop,
    **dict.fromkeys(CONTROL_FLOW - {"stablehlo.while"}, _Differences._branch),
}
