"""StableHLO text run by the reference interpreter, as it is and after passes of `prepare`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.context import make_context, parse_module
from axonc.dialects.attributes import dense_to_numpy, numpy_to_dense
from axonc.pass_manager import PassManager, parse_pipeline
from axonc.passes.base import ModuleState


def interpreted(text: str, arrays: Sequence[np.ndarray], passes: str = "") -> list[np.ndarray]:
    """The results of `@main`."""
    return _run(text, arrays, passes)[0]


def expanded_and_run(text: str, arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """The results after `expand-regions`, and what it made."""
    return _run(text, arrays, "expand-regions")


def _run(text: str, arrays: Sequence[np.ndarray], passes: str) -> tuple[list[np.ndarray], str]:
    context = make_context()
    with context, ir.Location.unknown():
        module = parse_module(text, context)
        if passes:
            PassManager(parse_pipeline(passes)).run(ModuleState(module))
        block = module.body.operations[0].regions[0].blocks[0]
        given = [
            numpy_to_dense(np.asarray(array), argument.type.element_type)
            for array, argument in zip(arrays, block.arguments, strict=True)
        ]
        results = _stablehlo.eval_module(module, given)
        return [np.array(dense_to_numpy(r)) for r in results], str(module)
