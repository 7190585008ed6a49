"""What every data-path instruction computes; importing this package fills `SEMANTICS`."""

from axonc.backends.executor.semantics import (
    dma,
    elementwise,
    gpsimd,
    scalar,
    vector,
    vector_search,
)
from axonc.backends.executor.semantics.registry import SEMANTICS as SEMANTICS
from axonc.backends.executor.semantics.registry import Context as Context
from axonc.backends.executor.semantics.registry import EngineState as EngineState
from axonc.backends.executor.semantics.registry import Semantics as Semantics
from axonc.backends.executor.semantics.tensor import matmul as matmul

MODULES = (dma, elementwise, gpsimd, scalar, vector, vector_search)
