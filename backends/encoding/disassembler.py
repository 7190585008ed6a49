"""Instructions to text, one line each; `assembler.assemble` reads it back without loss.

    vector: tensor_tensor dst=sbuf[0:128]@0x1000:f32[512:1] src0=... op=add wait(S[0]>=12)

The form is described in `assembly.lark`. Fields that have their default value are left out, but
operators, functions and modes are always named.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

import numpy as np

from axonc.backends.isa.access_pattern import NO_REGISTER, Access, TileAccess
from axonc.backends.isa.instruction import UNKNOWN_LOCATION, Instruction
from axonc.backends.isa.spec import FieldKind, FieldSpec

QUIET_NAN_BITS = 0x7FC00000


def access_text(access: Access) -> str:
    """`sbuf[0:128]@0x1000:f32[2:512,512:1]`: partitions, byte offset, type, size:stride."""
    dims = ",".join(f"{size}:{stride}" for stride, size in access.dims)
    register = "" if access.register == NO_REGISTER else f"+r{access.register}"
    if not isinstance(access, TileAccess) and access.register_shift:
        register += f"<<{access.register_shift}"
    if isinstance(access, TileAccess):
        end = access.start_partition + access.num_partitions
        place = f"{access.memory.value}[{access.start_partition}:{end}]@{access.byte_offset:#x}"
    else:
        place = f"hbm@{access.address:#x}"
    return f"{place}{register}:{access.dtype.name}[{dims}]"


def wait_base_text(register: int) -> str:
    """`+r5`: what is added to the value of a wait; nothing without a register."""
    return "" if register == NO_REGISTER else f"+r{register}"


def field_text(field: FieldSpec, value: object) -> str:
    """A field's value as the assembler reads it."""
    if field.kind is FieldKind.BOOL:
        return "true" if value else "false"
    if field.kind is FieldKind.FLOAT:
        return _float_text(float(value))  # type: ignore[arg-type]
    return str(value)


def _float_text(value: float) -> str:
    """Shortest decimal that reads back as the same binary32; an unusual NaN with its bits."""
    if not math.isnan(value):
        return str(np.float32(value))
    bits = int.from_bytes(struct.pack("<f", value), "little")
    return "nan" if bits == QUIET_NAN_BITS else f"nan({bits:#x})"


def instruction_text(instruction: Instruction) -> str:
    """One line, without the newline."""
    spec = instruction.spec
    parts = [f"{instruction.engine.value}: {spec.mnemonic}"]
    for operand, access in zip(spec.operands, instruction.operands, strict=True):
        if access is not None:
            parts.append(f"{operand.name}={access_text(access)}")
    for field, value in zip(spec.fields, instruction.fields, strict=True):
        text = field_text(field, value)
        if field.kind is FieldKind.ENUM or text != field_text(field, field.default):
            parts.append(f"{field.name}={text}")
    base = wait_base_text(instruction.wait_register)
    parts += [f"wait(S[{semaphore}]>={value}{base})" for semaphore, value in instruction.waits]
    if base and not instruction.waits:
        parts.append(f"wait_base({base[1:]})")
    if instruction.signal is not None:
        semaphore, increment = instruction.signal
        parts.append(f"signal(S[{semaphore}]+={increment})")
    if instruction.location != UNKNOWN_LOCATION:
        parts.append(f"loc={instruction.location}")
    return " ".join(parts)


def disassemble(instructions: Iterable[Instruction]) -> str:
    """One line per instruction, each ending in a newline."""
    return "".join(instruction_text(instruction) + "\n" for instruction in instructions)
