"""The reference numbers: an imported program on XLA's CPU backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from axonc.diagnostics import UsageError
from axonc.imported.program import ImportedProgram


class XlaProgram:
    """A program compiled by XLA:CPU. Call it with every argument by name, weights as well.

    quickly: compile in less time what then takes longer to run.
    """

    def __init__(self, program: ImportedProgram, *, quickly: bool = False) -> None:
        import jax
        from jax.extend import backend
        from jaxlib import _jax, xla_client

        from axonc.imported.stablehlo_module import deserialize, new_context

        self.program = program
        self._jax: Any = jax
        client = backend.get_backend("cpu")
        self._device = client.devices()[0]
        context = new_context()
        with context:
            module = deserialize(program.module_bytes, context)
            devices = _jax.DeviceList((self._device,))
            options = xla_client.CompileOptions()
            if quickly:
                debug = options.executable_build_options.debug_options
                debug.xla_backend_optimization_level = 0
                debug.xla_llvm_disable_expensive_passes = True
                debug.xla_disable_hlo_passes = "constant_folding"
            self._compiled = client.compile_and_load(module, devices, options)

    def place(self, arrays: Mapping[str, np.ndarray]) -> list[Any]:
        """Arguments of a call on the device, in order.

        Raises:
            UsageError: one is missing.
        """
        missing = [a.name for a in self.program.arguments if a.name not in arrays]
        if missing:
            raise UsageError(f"the reference takes '{missing[0]}' too; it has no value")
        with self._jax.enable_x64(True):
            return [
                self._jax.device_put(np.ascontiguousarray(arrays[a.name]), self._device)
                for a in self.program.arguments
            ]

    def execute(self, placed: list[Any]) -> list[np.ndarray]:
        """The results for arguments from `place`, on the host."""
        found = self._compiled.execute_sharded(placed)
        return [np.asarray(r[0]) for r in found.disassemble_into_single_device_arrays()]


def run_on_xla(program: ImportedProgram, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Results of `program`; its bound weights are loaded, `inputs` are the rest by name."""
    weights = {name: ref.load() for name, ref in program.weights.items()}
    compiled = XlaProgram(program)
    return compiled.execute(compiled.place({**weights, **inputs}))
