"""Cut a program into stages for a pipeline of cores: consecutive operations, balanced by cost.

A cut lies where one tensor alone goes on (the activations between two layers). It is sent by a
`collective_permute` from core k to core k + 1. What depends on no weight (masks, position ids) is
computed again in each stage that needs it, from the program's inputs, which every stage gets.

Cost: the larger of the weights' bytes over the device memory's bandwidth and the multiplications
over the tensor engine's rate, for products; elements over the vector engine's rate for the rest.

Before: one `@main` of 24 layers. After, for 4: four modules of 6; all but the first begin with a
`collective_permute`, all but the last end with one, whose result has no uses.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import CompileError, UsageError
from axonc.imported import stablehlo_module
from axonc.imported.inline_calls import calls_in, inline_calls
from axonc.imported.program import ImportedProgram
from axonc.imported.state_pairs import StatePairs
from axonc.sharding import Mesh, Sharding
from axonc.weights.references import NUMPY_OF_MLIR

AXIS = "stage"


@dataclass(frozen=True)
class Stage:
    """The part of a program that one core runs."""

    index: int
    """Which core runs it."""
    program: ImportedProgram
    results: tuple[int, ...]
    """Which results of the whole program it gives, in order."""
    cost_seconds: float
    """Its estimated time, by which stages are balanced."""

    def __str__(self) -> str:
        names = list(self.program.weights)
        span = f", {names[0]} to {names[-1]}" if names else ""
        cost = f"about {self.cost_seconds * 1e6:.1f} us"
        return f"core {self.index}: {len(names)} weights{span}, {cost}"


@dataclass(frozen=True)
class _Flow:
    """The operations of `@main` by number."""

    sources: list[tuple[int, ...]]
    """Numbers of the operations each reads."""
    weightless: list[bool]
    """Whether each depends on no weight."""
    costs: list[float]
    """The time each takes, in seconds."""
    last_use: dict[int, int]
    """By operation whose results are used, the last that uses them."""


def split_into_stages(program: ImportedProgram, count: int, target: str) -> tuple[Stage, ...]:
    """`count` programs, for cores 0 to count - 1.

    Raises:
        UsageError: the program is sharded already, or has no weights.
        CompileError: it has no places to cut; says how many stages there could be.
    """
    if program.mesh is not None:
        raise UsageError(
            f"the program is sharded already, over {program.mesh}",
            hint="a pipeline is made of a program for one core",
        )
    if not program.weights:
        raise UsageError(
            "a pipeline is cut by its weights, and the program has none",
            hint="bind them: --weights FILE, or weights= in Python",
        )
    module = _one_function(program)
    flow = _flow(_operations(module), program, TARGETS[target])
    cuts = _balanced(flow, count)
    bounds = [-1, *cuts, len(flow.costs) - 1]
    return tuple(
        _stage(program, flow, index, count, (bounds[index], bounds[index + 1]))
        for index in range(count)
    )


def _one_function(program: ImportedProgram) -> ir.Module:
    """Calls are inlined; composites stay, with the functions they name."""
    context = stablehlo_module.new_context()
    module = stablehlo_module.deserialize(program.module_bytes, context)
    with context, ir.Location.unknown():
        main = stablehlo_module.main_function(module)
        kept = "stablehlo.composite"
        if any(op.name != kept for op in calls_in(main.operation)):
            inline_calls(module, is_kept=lambda op: op.name == kept)
    return module


def _operations(module: ir.Module) -> list[ir.Operation]:
    """Those of `@main` but its return."""
    main = stablehlo_module.main_function(module)
    return [view.operation for view in main.entry_block.operations][:-1]


# ---- what depends on what, and costs -------------------------------------------------------------


def _flow(operations: list[ir.Operation], program: ImportedProgram, target: Target) -> _Flow:
    numbers = {result: i for i, op in enumerate(operations) for result in op.results}
    sources: list[tuple[int, ...]] = []
    weightless: list[bool] = []
    costs: list[float] = []
    last_use: dict[int, int] = {}
    for i, op in enumerate(operations):
        read = _values_read(op)
        own = tuple(dict.fromkeys(numbers[v] for v in read if v in numbers))
        weights = [v for v in read if v not in numbers and _is_weight(v, program)]
        sources.append(own)
        weightless.append(not weights and all(weightless[s] for s in own))
        costs.append(_cost(op, weights, target))
        last_use.update(dict.fromkeys(own, i))
    returned = operations[0].parent.operation.regions[0].blocks[0].operations
    for value in list(returned)[-1].operation.operands:
        if value in numbers:
            last_use.setdefault(numbers[value], numbers[value])
    return _Flow(sources, weightless, costs, last_use)


def _values_read(op: ir.Operation) -> list[ir.Value]:
    """Operands of the operation and of those in its regions."""
    found: list[ir.Value] = []

    def visit(inner: ir.Operation) -> ir.WalkResult:
        found.extend(inner.operands)
        return ir.WalkResult.ADVANCE

    op.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _is_weight(value: ir.Value, program: ImportedProgram) -> bool:
    if not isinstance(value.owner, ir.Block):
        return False
    argument = ir.BlockArgument(value)
    owner = value.owner.owner
    if (owner if isinstance(owner, ir.Operation) else owner.operation).name != "func.func":
        return False
    return program.arguments[argument.arg_number].weight is not None


def _cost(op: ir.Operation, weights: list[ir.Value], target: Target) -> float:
    read = sum(map(_size_bytes, weights)) / target.dma.hbm_bytes_per_ns
    elements = sum(int(np.prod(_shape(r), dtype=np.int64)) for r in op.results)
    vector = target.engines[Engine.VECTOR].clock_ghz * target.partitions
    compute = elements / vector
    if op.name in ("stablehlo.dot_general", "stablehlo.convolution"):
        rate = target.engines[Engine.TENSOR].clock_ghz * target.pe_rows * target.pe_columns
        contracted = np.prod(_shape(op.operands[1]), dtype=np.int64) / max(
            1, _shape(op.results[0])[-1]
        )
        compute += elements * float(contracted) / rate
    return max(read, compute) * 1e-9


def _shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(ir.RankedTensorType(value.type).shape)


def _size_bytes(value: ir.Value) -> int:
    kind = ir.RankedTensorType(value.type)
    itemsize = NUMPY_OF_MLIR[str(kind.element_type)].itemsize
    return int(np.prod(kind.shape, dtype=np.int64)) * itemsize


# ---- where to cut --------------------------------------------------------------------------------


def _crossing(flow: _Flow) -> list[set[int]]:
    """Per operation: the values that depend on weights, are made up to it and read after it."""
    alive: set[int] = set()
    ends: dict[int, list[int]] = defaultdict(list)
    for value, last in flow.last_use.items():
        ends[last].append(value)
    crossing = []
    for i, is_weightless in enumerate(flow.weightless):
        if not is_weightless and flow.last_use.get(i, -1) > i:
            alive.add(i)
        alive.difference_update(ends[i])
        crossing.append(set(alive))
    return crossing


def _balanced(flow: _Flow, count: int) -> list[int]:
    """The operations after which to cut, so that the slowest stage takes as little as possible."""
    crossing = _crossing(flow)
    places = [i for i, alive in enumerate(crossing) if len(alive) == 1]
    # Neighbours that carry the same tensor are one place.
    places = [a for a, b in pairwise([*places, -1]) if b < 0 or crossing[a] != crossing[b]]
    if len(places) < count - 1:
        raise CompileError(
            f"the program can be cut into {len(places) + 1} stages, not {count}: a cut needs a "
            "place where one tensor alone goes on",
            hint=f"use at most {len(places) + 1} stages, or --tensor-parallel",
        )
    sums = np.concatenate([[0.0], np.cumsum(flow.costs)])
    low, high = 0.0, float(sums[-1])
    best = _greedy(places, sums, count, high)
    for _ in range(40):
        middle = (low + high) / 2
        found = _greedy(places, sums, count, middle)
        low, high = (low, middle) if found is not None else (middle, high)
        best = found if found is not None else best
    if best is None:
        best = places[: count - 1]
    return _exactly(best, places, count)


def _greedy(places: list[int], sums: np.ndarray, count: int, most: float) -> list[int] | None:
    """Cuts such that no stage costs more than `most`, as late as possible; None if impossible."""
    cuts: list[int] = []
    start = 0
    previous: int | None = None
    for place in [*places, len(sums) - 2]:
        if sums[place + 1] - sums[start] > most:
            if previous is None or previous + 1 == start:
                return None
            cuts.append(previous)
            start = previous + 1
            if sums[place + 1] - sums[start] > most:
                return None
        previous = place
    return cuts if len(cuts) < count else None


def _exactly(cuts: list[int], places: list[int], count: int) -> list[int]:
    """With fewer cuts than wanted: more at the first free places, so that no core is left out."""
    free = [p for p in places if p not in cuts]
    return sorted([*cuts, *free[: count - 1 - len(cuts)]])


# ---- the stages ----------------------------------------------------------------------------------


def _stage(
    program: ImportedProgram, flow: _Flow, index: int, count: int, bounds: tuple[int, int]
) -> Stage:
    """Operations bounds[0] + 1 to bounds[1], the weightless ones they need, and the transfers."""
    crossing = _crossing(flow)
    received = next(iter(crossing[bounds[0]])) if index else None
    sent = next(iter(crossing[bounds[1]])) if index < count - 1 else None
    module = _one_function(program)
    with module.context, ir.Location.unknown():
        main = stablehlo_module.main_function(module)
        operations = _operations(module)
        if received is not None:
            incoming = _receive(main, operations[received], index)
            _replace_after(operations, received, bounds[0], incoming)
        wanted = _results_of(main, operations, flow, bounds, is_last=index == count - 1)
        if sent is not None:
            value = incoming if sent == received else operations[sent].results[0]
            _send(main, value, index)
        _return(main, wanted)
        _erase_unread(main)
        kept = _drop_arguments(main)
        names = [program.result_names[i] for i in wanted]
        made = _program(module, main, program, kept, names, count)
    cost = sum(flow.costs[bounds[0] + 1 : bounds[1] + 1])
    return Stage(index, made, tuple(wanted), cost)


def _permute(value: ir.Value, source: int) -> ir.Value:
    pairs = ir.DenseElementsAttr.get(np.array([[source, source + 1]], np.int64))
    channel = stablehlo.ChannelHandle.get(source + 1, 1)
    return stablehlo.CollectivePermuteOp(value, pairs, channel_handle=channel).result


def _receive(main: ir.OpView, origin: ir.Operation, index: int) -> ir.Value:
    """The tensor of `origin`, sent by the stage before; what this one holds in its place is 0."""
    if len(origin.results) != 1:
        raise CompileError(f"{origin.name} with {len(origin.results)} results ends a stage")
    kind = ir.RankedTensorType(origin.results[0].type)
    is_float = "f" in str(kind.element_type)
    number = (
        ir.FloatAttr.get(kind.element_type, 0.0)
        if is_float
        else ir.IntegerAttr.get(kind.element_type, 0)
    )
    with ir.InsertionPoint.at_block_begin(main.entry_block), origin.location:
        zeros = stablehlo.ConstantOp(ir.DenseElementsAttr.get_splat(kind, number)).result
        return _permute(zeros, index - 1)


def _send(main: ir.OpView, value: ir.Value, index: int) -> None:
    terminator = list(main.entry_block.operations)[-1]
    owner = value.owner
    place = owner.operation.location if not isinstance(owner, ir.Block) else main.operation.location
    with ir.InsertionPoint(terminator), place:
        _permute(value, index)


def _replace_after(
    operations: list[ir.Operation], value: int, bound: int, incoming: ir.Value
) -> None:
    """Readers of a value behind the cut read what was received."""
    later = set(operations[bound + 1 :])
    for use in list(operations[value].results[0].uses):
        owner = use.owner.operation
        outermost = owner
        while outermost.parent is not None and outermost.parent.operation.name != "func.func":
            outermost = outermost.parent.operation
        if outermost in later or outermost.name == "func.return":
            owner.operands[use.operand_number] = incoming


def _results_of(
    main: ir.OpView,
    operations: list[ir.Operation],
    flow: _Flow,
    bounds: tuple[int, int],
    *,
    is_last: bool,
) -> list[int]:
    """The program's results that this stage computes; the last one, the weightless ones, too."""
    numbers = {result: i for i, op in enumerate(operations) for result in op.results}
    found = []
    for number, value in enumerate(list(main.entry_block.operations)[-1].operation.operands):
        made = numbers.get(value)
        is_weightless = made is None or flow.weightless[made]
        if (is_weightless and is_last) or (
            not is_weightless and made is not None and bounds[0] < made <= bounds[1]
        ):
            found.append(number)
    return found


def _return(main: ir.OpView, wanted: list[int]) -> None:
    terminator = list(main.entry_block.operations)[-1].operation
    values = [terminator.operands[i] for i in wanted]
    with ir.InsertionPoint(terminator):
        ir.Operation.create("func.return", operands=values, loc=terminator.location)
    terminator.erase()


def _erase_unread(main: ir.OpView) -> None:
    """What this stage does not need: operations have no effect, except for those that send."""
    for view in reversed(list(main.entry_block.operations)[:-1]):
        op = view.operation
        is_send = op.name == "stablehlo.collective_permute"
        if not is_send and not any(list(result.uses) for result in op.results):
            op.erase()


def _drop_arguments(main: ir.OpView) -> list[int]:
    """Erase arguments without uses; the numbers of the others."""
    block = main.entry_block
    kept = [i for i, a in enumerate(block.arguments) if list(a.uses)]
    for i in reversed(range(len(block.arguments))):
        if i not in kept:
            block.erase_argument(i)
    returned = list(block.operations)[-1].operation.operands
    kinds = ir.FunctionType.get([a.type for a in block.arguments], [v.type for v in returned])
    main.attributes["function_type"] = ir.TypeAttr.get(kinds)
    for which in ("arg_attrs", "res_attrs"):
        if which in main.operation.attributes:
            del main.operation.attributes[which]
    return kept


def _program(
    module: ir.Module,
    main: ir.OpView,
    program: ImportedProgram,
    kept: list[int],
    names: list[str],
    count: int,
) -> ImportedProgram:
    mesh = Mesh(((AXIS, count),))
    number = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), count)
    module.operation.attributes["mhlo.num_partitions"] = number
    arguments = tuple(
        replace(a, sharding=Sharding.replicated(mesh, len(a.shape)))
        for a in (program.arguments[i] for i in kept)
    )
    results = tuple(
        Sharding.replicated(mesh, ir.RankedTensorType(kind).rank) for kind in main.type.results
    )
    stablehlo_module.write_names(main, [a.name for a in arguments], names, StatePairs())
    artifact = stablehlo_module.serialize(module)
    return ImportedProgram(artifact, arguments, tuple(names), mesh, results)
