"""Cut the batch over cores: every core runs the whole model on its part of the examples.

The first dim of the inputs is followed through the program (`cut_dims`); it has to reach the
results without anything that mixes examples, so no core ever waits for another. Weights are copies.

Before: x[8, 128], one core. After, over 4: x `[dp, -]`, each core computes two examples.
"""

from __future__ import annotations

from jaxlib.mlir import ir

from axonc.diagnostics import CompileError, UsageError
from axonc.imported import stablehlo_module
from axonc.imported.program import ImportedProgram
from axonc.partition.annotate import analysable, annotate_arguments, partitioned, populate_rules
from axonc.partition.cut_dims import Blocked, Graph, follow
from axonc.sharding import Mesh

AXIS = "dp"


def shard_by_batch(program: ImportedProgram, cores: int) -> ImportedProgram:
    """The program of one of `cores` cores, each with its part of the batch.

    Raises:
        UsageError: no batch dim, or one that does not divide.
        CompileError: an operation mixes examples; names it and its source line.
    """
    mesh = Mesh(((AXIS, cores),))
    module = analysable(program)
    with module.context, ir.Location.unknown():
        populate_rules(module)
        main = stablehlo_module.main_function(module)
        cuts = _cuts(main, program, cores)
        annotate_arguments(module, main, mesh, {AXIS: cuts})
    names = [program.arguments[i].name for i in sorted(cuts)]
    return partitioned(module, program, (f"batch over {cores} cores: {', '.join(names)}",))


def _cuts(main: ir.OpView, program: ImportedProgram, cores: int) -> dict[int, int]:
    graph = Graph.of(main)
    batch = _batch_size(program, cores)
    cuts: dict[int, int] = {}
    for index, argument in enumerate(program.arguments):
        is_batch = argument.weight is None and argument.shape[:1] == (batch,)
        if not is_batch or index in cuts:
            continue
        try:
            found = follow(graph, (index, 0), cores, frozenset()).cuts
        except Blocked as blocked:
            raise _mixes(argument.name, blocked) from None
        cuts.update({i: d for i, d in found.items() if i < len(program.arguments)})
    cut_weights = [a.name for i, a in enumerate(program.arguments) if a.weight and i in cuts]
    if cut_weights:
        raise CompileError(
            f"the batch cannot be cut: it meets a dim of weight '{cut_weights[0]}'",
            hint="export the model for a batch of another size than its weights' dims",
        )
    return cuts


def _batch_size(program: ImportedProgram, cores: int) -> int:
    sizes = [a.shape[0] for a in program.inputs if a.shape]
    if not sizes:
        raise UsageError("data parallel: the program has no input with a batch dim")
    if sizes[0] % cores:
        raise UsageError(
            f"data parallel: the batch of {sizes[0]} does not divide into {cores} parts",
            hint=f"export the model for a batch of {-(-sizes[0] // cores) * cores}",
        )
    return sizes[0]


def _mixes(name: str, blocked: Blocked) -> CompileError:
    place = blocked.location and stablehlo_module.source_location(str(blocked.location))
    return CompileError(
        f"the batch (first dim of '{name}') cannot be cut over cores: {blocked.reason}",
        location=place or None,
        hint="data parallel needs a model that treats every example alone",
    )
