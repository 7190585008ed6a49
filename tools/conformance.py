"""axonc as the shared conformance runner calls it: StableHLO text and arrays in, arrays out."""

from __future__ import annotations

import numpy as np

import axonc


def compile_and_run(mlir_text: str, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Compile for inf2 and run the streams in checked mode.

    Raises:
        UnsupportedOpError: the runner counts it apart from wrong results.
        AxoncError: any other.
    """
    return axonc.compile(mlir_text).run(*inputs, checked=True)
