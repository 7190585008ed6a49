"""Fixtures of the frontend tests: run a program on XLA's CPU client, read it in torch_mlir."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping

import jax
import numpy as np
import pytest
from jax._src.lib import xla_client
from jaxlib.mlir import ir
from torch_mlir import ir as torch_mlir_ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.imported.program import ImportedProgram
from axonc.imported.stablehlo_module import deserialize, new_context

Run = Callable[[ImportedProgram, Mapping[str, np.ndarray]], list[np.ndarray]]
Census = Callable[[ImportedProgram], collections.Counter]


def _values(program: ImportedProgram, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    values = [a.weight.load() if a.weight else inputs[a.name] for a in program.arguments]
    for value, argument in zip(values, program.arguments, strict=True):
        assert value.shape == argument.shape, argument
    return values


@pytest.fixture(scope="session")
def run() -> Run:
    """Run the StableHLO of a program, weights from its references, inputs by name."""

    def runner(program: ImportedProgram, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        context = new_context()
        with context:
            module = deserialize(program.module_bytes, context)
            text = str(module)
        backend = jax.devices("cpu")[0].client
        devices = backend.local_devices()[:1]
        executable = backend.compile_and_load(text, devices, xla_client.CompileOptions())
        with jax.enable_x64(True):
            buffers = [jax.device_put(v, devices[0]) for v in _values(program, inputs)]
        result = executable.execute_sharded(buffers)
        return [np.asarray(r[0]) for r in result.disassemble_into_single_device_arrays()]

    return runner


@pytest.fixture(scope="session")
def census() -> Census:
    """Count the ops of a program as torch_mlir sees it; composites count under their own name."""

    def counter(program: ImportedProgram) -> collections.Counter:
        counts: collections.Counter = collections.Counter()

        def visit(op: torch_mlir_ir.Operation) -> torch_mlir_ir.WalkResult:
            named = op.name == "stablehlo.composite"
            counts[op.attributes["name"].value if named else op.name] += 1
            return torch_mlir_ir.WalkResult.ADVANCE

        with torch_mlir_ir.Context() as context:
            _stablehlo.register_dialect(context)
            module = _stablehlo.deserialize_portable_artifact(context, program.module_bytes)
            module.operation.walk(visit)
        return counts

    return counter


@pytest.fixture(scope="session")
def located() -> Callable[[ImportedProgram], str]:
    """The module as text with locations."""

    def text(program: ImportedProgram) -> str:
        context = new_context()
        with context:
            module: ir.Module = deserialize(program.module_bytes, context)
            return module.operation.get_asm(enable_debug_info=True)

    return text
