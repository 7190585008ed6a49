"""Programs brought to the neuron dialect, as the driver does it before tiling."""

from __future__ import annotations

from torch_mlir import ir

from axonc.driver.pipeline import TensorOptions, load_module, tensor_pipeline
from axonc.imported.program import ImportedProgram
from axonc.pass_manager import PassManager
from axonc.passes.base import ModuleState


def lower_to_neuron(
    source: ImportedProgram | bytes | str, options: TensorOptions | None = None
) -> ir.Module:
    """The neuron module of a program, after `tensor_pipeline`.

    Raises:
        UnsupportedOpError: names every operation that cannot be compiled.
        CompileError: the program is wrong.
    """
    state = ModuleState(load_module(source))
    PassManager(tensor_pipeline(options)).run(state)
    return state.module
