"""How an unsharded program is spread over cores, by the option `parallel`."""

from __future__ import annotations

from axonc.diagnostics import UsageError
from axonc.imported.program import ImportedProgram
from axonc.options import CompileOptions


def spread_over_cores(imported: ImportedProgram, options: CompileOptions) -> ImportedProgram:
    """The program that each of `options.cores` cores runs, as `options.parallel` says; unchanged
    for "none", for one core, and for the stages of a pipeline (`axonc.driver.build` makes those).

    Raises:
        UsageError: the program is sharded already, or its sizes do not divide.
        CompileError: it cannot be cut that way; names the operation.
    """
    if options.parallel in ("none", "pipeline") or options.cores == 1:
        return imported
    if imported.mesh is not None:
        raise UsageError(
            f"parallel is '{options.parallel}', but the program is sharded over {imported.mesh}",
            hint="leave it out: its own shardings say how",
        )
    if options.parallel == "tensor":
        from axonc.partition.tensor_parallel import shard_by_tensor

        return shard_by_tensor(imported, options.cores)
    from axonc.partition.data_parallel import shard_by_batch

    return shard_by_batch(imported, options.cores)
