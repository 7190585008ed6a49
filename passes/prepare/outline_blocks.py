"""Make one function of equal blocks that follow one another, and call it as often as they were.

Why: the layers of a network are compiled once instead of once each, and become a loop on the
machine.

Precondition: before operations are merged, so that layers still look alike. Calls may be there:
functions that compute the same count as one. Layers that are one call each are found after
`inline-calls`.
Postcondition: consecutive equal blocks of `@main` are one `neuron.repeat` of a private function
`@block_K`; what it computes is the same. Results and weights of `@main` stay as they are.

Before:
    %0 = stablehlo.dot_general %x, %w0, contracting_dims = [1] x [0]
    %1 = stablehlo.tanh %0
    %2 = stablehlo.dot_general %1, %w1, contracting_dims = [1] x [0]
    ...
After:
    %5 = "neuron.repeat"(%x, %w0, %w1, %w2) {callee = @block_0, count = 3, carried = 1, ...}
    func.func private @block_0(%x: tensor<4x4xf32>, %w: tensor<4x4xf32>) -> tensor<4x4xf32>

Blocks may read: what the one before made (carried), what all read alike (invariant), arguments of
`@main` of their own (varying), and constants, which are made again in the function. `@main` may
read what the last one hands on, and return anything of each, but not twice (collected). Blocks
with other operands or results stay as they were; so do groups of less than `min-count` blocks or
`min-ops` operations a block. In a block of a program with control flow only weights may differ from
layer to layer. Operations keep the locations of the first block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron.argument_names import BLOCK, WEIGHT
from axonc.dialects.neuron.repeat import OPERAND_RUNS, RESULT_RUNS, function_named, repeat
from axonc.passes.base import Pass
from axonc.passes.graph.module import main_function
from axonc.passes.prepare.block_signatures import Body, Signatures, read_body
from axonc.passes.prepare.repeated_blocks import Group, Role, find_groups


@dataclass(frozen=True)
class OutlineBlocksPass(Pass, name="outline-blocks"):
    """Make one function of equal blocks that follow one another, called in turn."""

    min_count: int = 3
    min_ops: int = 10

    def apply(self, op: ir.Operation) -> bool:
        main = main_function(op)
        if len(main.regions[0].blocks) != 1:
            return False
        body = read_body(main, Signatures(op))
        groups = find_groups(body, max(self.min_ops, 1), max(self.min_count, 2))
        outlined = [group for group in groups if _fits(body, group)]
        if BLOCK in op.attributes:
            outlined = [group for group in outlined if _is_alone(main, body, group)]
        for group in outlined:
            _outline(op, body, group)
        return bool(outlined)


def _fits(body: Body, group: Group) -> bool:
    """Whether the operation can name so many types, and each iteration's result is one result of
    the program, as it lies in memory that only the iteration knows."""
    slots = len(group.carried) + len(group.invariant) + len(group.varying)
    collected = {
        body.results[group.start + k * group.length + op][result]
        for k in range(group.count)
        for op, result in group.collected
    }
    fits = slots <= OPERAND_RUNS and len(_results(body, group)) <= RESULT_RUNS
    return fits and not collected & body.repeatedly


def _is_alone(main: ir.Operation, body: Body, group: Group) -> bool:
    """Of a block of a program with control flow: whether no other block can see what the iterations
    have to themselves, as that lies in memory by iterations: weights, of which each block may have
    its own copy. Without any, they are the iterations of a loop that runs several at a time."""
    arguments = list(main.regions[0].blocks[0].arguments)
    given = ir.ArrayAttr(main.attributes["arg_attrs"])
    weights = {a for a, d in zip(arguments, given, strict=True) if WEIGHT in ir.DictAttr(d)}
    varying = {body.values[number] for slot in group.varying for number in slot}
    return not group.collected and bool(varying) and varying <= weights


def _by_type(body: Body, slots: Sequence[int]) -> list[int]:
    """The order in which slots, given by one value each, have the fewest runs of equal types."""
    return sorted(range(len(slots)), key=lambda n: str(body.values[slots[n]].type))


def _results(body: Body, group: Group) -> list[int]:
    """What the first block returns: carried values, then collected ones."""
    places = [(c.op, c.result) for c in group.carried] + list(group.collected)
    return [body.results[group.start + op][result] for op, result in places]


def _outline(module: ir.Operation, body: Body, group: Group) -> None:
    """The group becomes a function at the end of the module and a call of it."""
    invariant = [group.invariant[n] for n in _by_type(body, group.invariant)]
    firsts = [slot[0] for slot in group.varying]
    varying = [group.varying[n] for n in _by_type(body, firsts)]
    arguments = {
        Role.CARRIED: list(range(len(group.carried))),
        Role.INVARIANT: [len(group.carried) + invariant.index(v) for v in group.invariant],
        Role.VARYING: [
            len(group.carried) + len(invariant) + varying.index(slot) for slot in group.varying
        ],
    }
    name = _free_name(module)
    inputs = [*(c.init for c in group.carried), *invariant, *(slot[0] for slot in varying)]
    _make_function(module, name, body, group, inputs, arguments)
    collected = _results(body, group)[len(group.carried) :]
    last = body.operations[group.end - 1]
    with ir.InsertionPoint(last):
        call = repeat(
            name,
            group.count,
            [body.values[c.init] for c in group.carried],
            [body.values[v] for v in invariant],
            [[body.values[v] for v in slot] for slot in varying],
            [body.values[v].type for v in collected],
            loc=body.operations[group.start].location,
        )
    _replace(body, group, call)


def _free_name(module: ir.Operation) -> str:
    number = 0
    while function_named(module, f"block_{number}") is not None:
        number += 1
    return f"block_{number}"


def _make_function(
    module: ir.Operation,
    name: str,
    body: Body,
    group: Group,
    inputs: Sequence[int],
    arguments: dict[Role, list[int]],
) -> None:
    """A private function that computes the first block. inputs: values of its arguments' types."""
    kinds = [body.values[v].type for v in inputs]
    results = _results(body, group)
    signature = ir.FunctionType.get(kinds, [body.values[v].type for v in results])
    attributes = {
        "sym_name": ir.StringAttr.get(name),
        "sym_visibility": ir.StringAttr.get("private"),
        "function_type": ir.TypeAttr.get(signature),
    }
    location = body.operations[group.start].location
    at_end = ir.InsertionPoint(module.regions[0].blocks[0])
    function = ir.Operation.create(
        "func.func", [], [], attributes, regions=1, loc=location, ip=at_end
    )
    block = function.regions[0].blocks.append(*kinds, arg_locs=[location] * len(kinds))
    writer = _BlockWriter(body, group, block, arguments)
    for op in range(group.length):
        writer.copy(op)
    with ir.InsertionPoint(block), location:
        ir.Operation.create("func.return", [], [writer.made[v] for v in results])


class _BlockWriter:
    """Copies the first block into a function."""

    def __init__(
        self, body: Body, group: Group, block: ir.Block, arguments: dict[Role, list[int]]
    ) -> None:
        self.body, self.group, self.block, self.arguments = body, group, block, arguments
        self.made: dict[int, ir.Value] = {}

    def copy(self, op: int) -> None:
        """Copy operation `op` of the block; its operands are there already."""
        operands = [self._operand(*role) for role in self.group.roles[op]]
        place = self.group.start + op
        copy = self._clone(self.body.operations[place], operands)
        self.made.update(zip(self.body.results[place], copy.results, strict=True))

    def _operand(self, role: Role, which: int) -> ir.Value:
        if role is Role.INNER:
            return self.made[which]
        if role is Role.CONSTANT:
            return self._constant(self.body.values[which], which)
        return self.block.arguments[self.arguments[role][which]]

    def _constant(self, value: ir.Value, number: int) -> ir.Value:
        """A copy of a constant, or of a splat's broadcast, one for all its equals."""
        key = ~self.body.constant[number]
        if key not in self.made:
            self.made[key] = self._copy_tree(value)
        return self.made[key]

    def _copy_tree(self, value: ir.Value) -> ir.Value:
        op = value.owner.operation
        return self._clone(op, [self._copy_tree(v) for v in op.operands]).results[0]

    def _clone(self, op: ir.Operation, operands: Sequence[ir.Value]) -> ir.Operation:
        copy = op.clone(ip=ir.InsertionPoint(self.block)).operation
        for n, value in enumerate(operands):
            copy.operands[n] = value
        return copy


def _replace(body: Body, group: Group, call: ir.Operation) -> None:
    """Readers of the blocks read the results of the call; the blocks go."""
    results = list(call.results)
    for n, (op, result) in enumerate(group.collected):
        first = len(group.carried) + n * group.count
        for k in range(group.count):
            made = body.results[group.start + k * group.length + op][result]
            body.values[made].replace_all_uses_with(results[first + k])
    for n, each in enumerate(group.carried):
        made = body.results[group.end - group.length + each.op][each.result]
        body.values[made].replace_all_uses_with(results[n])
    for place in range(group.end - 1, group.start - 1, -1):
        body.operations[place].erase()
