"""One line of text for an instruction, in findings and traces."""

from __future__ import annotations

from axonc.backends.isa.access_pattern import NO_REGISTER, Access, TileAccess
from axonc.backends.isa.instruction import Instruction


def describe_access(access: Access) -> str:
    """`f32@psum[0:64]+2048[1][512]`: dtype, memory, partitions, byte offset, strides, sizes."""
    strides = ",".join(str(stride) for stride, _ in access.dims)
    sizes = ",".join(str(size) for _, size in access.dims)
    register = f"+r{access.register}" if access.register != NO_REGISTER else ""
    pattern = f"{register}[{strides}][{sizes}]"
    if not isinstance(access, TileAccess):
        return f"{access.dtype.name}@hbm+{access.address:#x}{pattern}"
    start = access.start_partition
    partitions = f"[{start}:{start + access.num_partitions}]"
    return f"{access.dtype.name}@{access.memory.value}{partitions}+{access.byte_offset}{pattern}"


def describe_instruction(instruction: Instruction) -> str:
    """Mnemonic, operands, fields that differ from their defaults, waits and signal."""
    spec = instruction.spec
    parts = [
        f"{operand.name}={describe_access(access)}"
        for operand, access in zip(spec.operands, instruction.operands, strict=True)
        if access is not None
    ]
    parts += [
        f"{field.name}={value}"
        for field, value in zip(spec.fields, instruction.fields, strict=True)
        if value != field.default
    ]
    wait_base = instruction.wait_register
    base = f"+r{wait_base}" if wait_base != NO_REGISTER else ""
    parts += [f"S[{semaphore}]>={value}{base}" for semaphore, value in instruction.waits]
    if instruction.signal is not None:
        parts.append(f"S[{instruction.signal[0]}]+={instruction.signal[1]}")
    return " ".join([spec.mnemonic, *parts])
