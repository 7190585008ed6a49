"""Make an `Instruction` by names, with defaults and errors that say what would have been right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from axonc.backends.isa.access_pattern import NO_REGISTER, Access
from axonc.backends.isa.instruction import UNKNOWN_LOCATION, Instruction
from axonc.backends.isa.spec import INSTRUCTIONS, FieldKind, FieldSpec, InstructionSpec
from axonc.backends.targets.target import Engine
from axonc.diagnostics import VerifyError, nearest

FLOAT32_LIMIT = 2.0**128 - 2.0**103
"""Numbers from here on round to infinity in binary32."""


def spec_of(mnemonic: str) -> InstructionSpec:
    """The entry named `mnemonic`. Raises VerifyError naming the nearest one."""
    if mnemonic in INSTRUCTIONS:
        return INSTRUCTIONS[mnemonic]
    names = [spec.mnemonic for spec in INSTRUCTIONS]
    raise VerifyError(f"there is no instruction '{mnemonic}'", hint=nearest(mnemonic, names))


def _only_known(
    spec: InstructionSpec, kind: str, given: Iterable[str], known: Sequence[str]
) -> None:
    for name in given:
        if name not in known:
            raise VerifyError(
                f"no {kind} '{name}'; it has {', '.join(known) or 'none'}",
                op=spec.mnemonic,
                hint=nearest(name, known),
            )


def normalized(field: FieldSpec, value: object) -> object:
    """The value as the encoding keeps it: floats rounded to binary32, numpy scalars made
    Python's."""
    if field.kind is FieldKind.FLOAT:
        return _binary32(field, float(value))  # type: ignore[arg-type]
    if field.kind is FieldKind.BOOL:
        return bool(value)
    return (
        value if isinstance(value, (str, int)) and not isinstance(value, bool) else _integer(value)
    )


def _binary32(field: FieldSpec, value: float) -> float:
    if math.isfinite(value) and abs(value) >= FLOAT32_LIMIT:
        raise VerifyError(f"field '{field.name}' = {value} is beyond binary32")
    return float(np.float32(value))


def _integer(value: object) -> object:
    return int(value) if isinstance(value, (np.integer, bool)) else value


def instruction(
    mnemonic: str,
    engine: Engine | None = None,
    operands: Mapping[str, Access | None] | None = None,
    fields: Mapping[str, object] | None = None,
    *,
    waits: Sequence[tuple[int, int]] = (),
    signal: tuple[int, int] | None = None,
    location: int = UNKNOWN_LOCATION,
    wait_register: int = NO_REGISTER,
) -> Instruction:
    """The instruction `mnemonic`; engine defaults to the first legal one (dma_copy and sequencer
    instructions: sync). It is not verified; `verify` does that.

    Raises: VerifyError on an unknown mnemonic, operand or field, or a missing operand.
    """
    spec = spec_of(mnemonic)
    given, values = operands or {}, fields or {}
    _only_known(spec, "operand", given, list(spec.operand_index))
    _only_known(spec, "field", values, list(spec.field_index))
    for operand in spec.operands:
        if not operand.optional and given.get(operand.name) is None:
            raise VerifyError(f"operand '{operand.name}' is missing", op=mnemonic)
    return Instruction(
        spec,
        engine or default_engine(spec),
        tuple(given.get(operand.name) for operand in spec.operands),
        tuple(
            normalized(field, values[field.name]) if field.name in values else field.default
            for field in spec.fields
        ),
        tuple(waits),
        signal,
        location,
        wait_register,
    )


def default_engine(spec: InstructionSpec) -> Engine:
    return Engine.SYNC if Engine.SYNC in spec.engines else spec.engines[0]
