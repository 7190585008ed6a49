"""What a module says of itself: its main function and its cores."""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.diagnostics import CompileError
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import CORES
from axonc.passes.unsupported import Unsupported

FUNCTION = "func.func"
"""The anchor of passes that work on one function at a time."""


def main_function(module: ir.Operation) -> ir.Operation:
    """`@main`.

    Raises:
        CompileError: there is none.
    """
    for op in module.regions[0].blocks[0].operations:
        operation = op.operation
        if operation.name == "func.func" and _symbol(operation) == "main":
            return operation
    raise CompileError("the module has no function @main", location=source_location(module))


def _symbol(function: ir.Operation) -> str:
    return ir.StringAttr(function.attributes["sym_name"]).value


@dataclass(frozen=True)
class Processes:
    """How many partitions and replicas a module says it has; one of the two numbers is 1."""

    partitions: int
    replicas: int

    @property
    def cores(self) -> int:
        return self.partitions * self.replicas

    @classmethod
    def of(cls, op: ir.Operation) -> Processes:
        """Those of the module `op` is in."""
        module = _module_of(op)
        partitions = _number(module, "mhlo.num_partitions")
        replicas = _number(module, "mhlo.num_replicas")
        if partitions > 1 and replicas > 1:
            raise Unsupported(
                f"{replicas} replicas of {partitions} partitions",
                "use partitions only: a mesh with one more axis",
            )
        cores = _number(module, CORES)
        if CORES in module.attributes and cores != partitions * replicas:
            if partitions * replicas > 1:
                raise Unsupported(f"{partitions * replicas} processes on {cores} cores")
            partitions = cores
        return cls(partitions, replicas)


def _module_of(op: ir.Operation) -> ir.Operation:
    while op.name != "builtin.module":
        op = op.parent.operation
    return op


def _number(module: ir.Operation, name: str) -> int:
    return ir.IntegerAttr(module.attributes[name]).value if name in module.attributes else 1


def cores_of(module: ir.Operation) -> int:
    """How many cores run a module."""
    return Processes.of(module).cores
