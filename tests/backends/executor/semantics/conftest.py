"""`execute`: runs one instruction's function the way the executor loads and stores operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from axonc.backends.executor.semantics import SEMANTICS, Context, EngineState
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.spec import Role
from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.backends.targets import TARGETS, Engine

Operand = tuple[np.ndarray, str]
Execute = Callable[..., dict[str, np.ndarray]]

_BY_NUMPY = {d.numpy: d for d in DTYPES.values() if d.name != "tf32"}


def _dtype(array: np.ndarray) -> DType:
    return _BY_NUMPY[array.dtype]


def run_instruction(
    mnemonic: str,
    reads: Mapping[str, np.ndarray],
    writes: Mapping[str, tuple[tuple[int, ...], str]],
    *,
    engine: Engine = Engine.VECTOR,
    state: EngineState | None = None,
    report: Callable[[str], None] | None = None,
    **fields: object,
) -> dict[str, np.ndarray]:
    """reads: storage arrays. writes: (shape, dtype name). Names are checked against the entry."""
    spec = INSTRUCTIONS[mnemonic]
    assert set(reads) <= {
        o.name for o in spec.operands if o.role is not Role.WRITE or o.name == "dst"
    }
    assert set(writes) <= {o.name for o in spec.operands if o.role is not Role.READ}
    assert set(fields) <= set(spec.field_index)
    values = {f.name: fields.get(f.name, f.default) for f in spec.fields}
    dtypes = {n: _dtype(a) for n, a in reads.items()} | {
        n: DTYPES[d] for n, (_, d) in writes.items()
    }
    shapes = {n: a.shape for n, a in reads.items()} | {n: s for n, (s, _) in writes.items()}
    context = Context(
        engine, TARGETS["inf2"], dtypes, shapes, state or EngineState(), "rne", report
    )
    meaning = SEMANTICS[mnemonic]
    raw = meaning.mode(values, context) == "raw"
    untouched = {name: array.copy() for name, array in reads.items()}
    inputs = {n: a if raw else to_float32(a, dtypes[n]) for n, a in reads.items()}
    with np.errstate(all="ignore"):
        results = meaning.function(inputs, values, context)
        stored = {n: _store(results[n], dtypes[n], shapes[n], raw) for n in writes}
    for name, array in reads.items():
        assert array.tobytes() == untouched[name].tobytes(), f"{mnemonic} changed its input {name}"
    return stored


def _store(result: np.ndarray, dtype: DType, shape: tuple[int, ...], raw: bool) -> np.ndarray:
    if raw:
        assert result.dtype == dtype.numpy
    else:
        assert result.dtype == np.float32
        result = from_float32(result, dtype)
    return result.reshape(shape)


@pytest.fixture
def execute() -> Execute:
    return run_instruction
