"""Cut a program with control flow into straight-line blocks.

Why: everything after works on one graph. Loops whose iterations depend on data, or are many, and
branches that cost too much to compute all of them, are left by `flatten-control-flow`: they become
branches of the sequencers between blocks that are compiled like programs of their own.

Precondition: StableHLO, calls inlined, loops and branches flattened as far as wanted.
Postcondition: a `BlocksState` of modules without control flow; unchanged if there was none.

Before:
    %0 = stablehlo.while(%i = %x) : tensor<i32>
     cond { %c = stablehlo.compare LT, %i, %ten ... }
     do { %n = stablehlo.add %i, %i; return %n }
After:
    // block 0; while: {block 1}; block 2
    // block 0: @main(%x) { %c = compare LT, %x, %ten; return %x, convert %c }
    // block 1: @main(%i) { %n = add %i, %i; %c = compare LT, %n, %ten; return %n, convert %c }
    // block 2: @main(%i) { return %i }

The condition of a loop is computed at the end of what comes before, of values that the loop begins
with, and at the end of the body, of those that it returns: so it needs no block of its own. It is
computed as often as before, and of the same values.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import ClassVar

from torch_mlir import ir

from axonc.diagnostics import unsupported_error
from axonc.dialects.neuron.argument_names import COUNT
from axonc.passes.base import ModuleState, Pass, State
from axonc.passes.blocks import (
    PLACE_PREFIX,
    Block,
    BlocksState,
    Case,
    Loop,
    Node,
    While,
)
from axonc.passes.control.block_module import Argument, Assignment, BlockWriter, Home, Output, Place
from axonc.passes.control.core_differences import find_differences
from axonc.passes.control.loop_conditions import as_number, prepare_loops
from axonc.passes.graph.loop_counts import CONTROL_FLOW, has_control_flow
from axonc.passes.graph.module import main_function


@dataclass(frozen=True)
class SplitControlFlowPass(Pass, name="split-control-flow"):
    """Cut a program with control flow into straight-line blocks."""

    of_all_blocks: ClassVar[bool] = True

    def run_on(self, state: State) -> tuple[State, bool]:
        if not isinstance(state, ModuleState) or not has_control_flow(state.module.operation):
            return state, False
        with state.module.context, ir.Location.unknown():
            splitter = _Splitter(state.module)
            nodes = splitter.run()
        states: list[State] = [ModuleState(m, state.reports) for m in splitter.modules]
        return BlocksState(nodes, states), True


@dataclass
class _Splitter:
    module: ir.Module
    modules: list[ir.Module] = field(default_factory=list)
    homes: dict[ir.Value, Home] = field(default_factory=dict)
    """Where values are for the blocks that do not make them."""
    places: int = 0

    def run(self) -> tuple[Node, ...]:
        main = main_function(self.module.operation)
        block = main.regions[0].blocks[0]
        if differing := find_differences(main):
            raise unsupported_error(differing)
        self.writer = BlockWriter(self.module, main)
        self.conditions = prepare_loops(block)
        for number, argument in enumerate(block.arguments):
            self.homes[argument] = Argument(number)
        results = list(block.operations)[-1].operands
        finals = [(value, Output(number)) for number, value in enumerate(results)]
        return self._nodes(block, finals, None)

    def _place(self, kind: ir.Type) -> Place:
        self.places += 1
        return Place(f"{PLACE_PREFIX}{self.places - 1}", kind)

    # ---- a region as nodes

    def _nodes(
        self, block: ir.Block, finals: Sequence[Assignment], control: ir.Value | None
    ) -> tuple[Node, ...]:
        """What the operations of a region become; at the end `finals` are assigned, and `control`
        is handed to the sequencers."""
        *operations, final = [o.operation for o in block.operations]
        nodes: list[Node] = []
        run: list[ir.Operation] = []
        for op in operations:
            if op.name not in CONTROL_FLOW:
                run.append(op)
                continue
            number, assigned = self._entry(op)
            nodes += self._block(run, assigned, number, op)
            nodes.append(self._structure(op))
            run = []
        return (*nodes, *self._block(run, finals, control, final))

    def _entry(self, op: ir.Operation) -> tuple[ir.Value | None, list[Assignment]]:
        """What the block before a loop or branch hands to the sequencers, and what it assigns."""
        if op.name != "stablehlo.while":
            for value in op.results:
                self.homes[value] = self._place(value.type)
            return as_number(op), []
        assigned: list[Assignment] = []
        body = op.regions[1].blocks[0]
        for number, init in enumerate(op.operands):
            argument = body.arguments[number]
            if not self._is_carried(op, number):
                continue
            place = self._place(argument.type)
            self.homes[argument] = self.homes[op.results[number]] = place
            assigned.append((init, place))
        conditions = self.conditions.get(op)
        return (conditions.before if conditions else None), assigned

    @staticmethod
    def _is_carried(op: ir.Operation, number: int) -> bool:
        """Whether anybody reads the value, in the loop or after it."""
        argument = op.regions[1].blocks[0].arguments[number]
        return bool(list(argument.uses)) or bool(list(op.results[number].uses))

    def _structure(self, op: ir.Operation) -> Node:
        if op.name != "stablehlo.while":
            branches = tuple(self._branch(op, region.blocks[0]) for region in op.regions)
            is_if = op.name == "stablehlo.if"
            return Case((1,) if is_if else tuple(range(len(branches) - 1)), branches)
        body = op.regions[1].blocks[0]
        returned = list(body.operations)[-1].operands
        finals: list[Assignment] = []
        for number, value in enumerate(returned):
            home = self.homes.get(op.results[number])
            if isinstance(home, Place) and value != body.arguments[number]:
                finals.append((value, home))
        conditions = self.conditions.get(op)
        nodes = self._nodes(body, finals, conditions.after if conditions else None)
        if conditions:
            return While(nodes)
        return Loop(ir.IntegerAttr(op.attributes[COUNT]).value, nodes)

    def _branch(self, op: ir.Operation, block: ir.Block) -> tuple[Node, ...]:
        returned = list(block.operations)[-1].operands
        finals: list[Assignment] = []
        for result, value in zip(op.results, returned, strict=True):
            home = self.homes[result]
            if isinstance(home, Place) and list(result.uses):
                finals.append((value, home))
        return self._nodes(block, finals, None)

    # ---- a block

    def _block(
        self,
        run: Sequence[ir.Operation],
        assigned: Sequence[Assignment],
        control: ir.Value | None,
        next_op: ir.Operation,
    ) -> list[Node]:
        """The block of `run`, before `next_op`; nothing if it would do nothing."""
        everything, inside = list(assigned), set(run)
        for op in run:
            for value in op.results:
                if self._is_read_later(value, inside, next_op) and not self.writer.is_cheap(value):
                    home = self._place(value.type)
                    self.homes[value] = home
                    everything.append((value, home))
        if not everything and control is None:
            return []
        is_first = not self.modules
        self.modules.append(self.writer.write(run, everything, control, self.homes, is_first))
        return [Block(len(self.modules) - 1)]

    @staticmethod
    def _is_read_later(value: ir.Value, run: Set[ir.Operation], next_op: ir.Operation) -> bool:
        """Whether another block reads it: all but `run`, and `next_op` itself, which gets it
        assigned."""
        for use in value.uses:
            user = use.owner.operation
            if user == next_op:
                continue
            while user.block != next_op.block:
                user = user.parent.operation
                if user == next_op:
                    return True
            if user not in run:
                return True
        return False
