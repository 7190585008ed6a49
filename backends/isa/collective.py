"""Collectives: triggered from any engine's stream, run by the collective cores of the chip.

Source: machine.md#collectives and machine.md#synchronisation (PSEUDO_TRIGGER_COLLECTIVE: the
trigger only starts a program of a CC-core), and the public `nki.collectives` reference: tensors in
device memory or in SBUF, but not a mix; add, maximum and minimum; concatenation along the first
dim. That NeuronCore-v2 can do it in SBUF too is assumed (the reference documents Trn2 on; v2 DMA
moves SBUF to SBUF).

`group` is an index into the program's table of replica groups (backends/program.py). A collective
starts when every core of its group has triggered it; the signal of the instruction is posted when
the result is there. Collectives of one group run one after the other, in the order of triggering.

"Blocks" are equal contiguous parts of an operand's elements in row-major order, one per core, in
the order the group lists its cores. Reductions are in FP32, whatever the element type (there
is no integer datapath), in the order of the group.
"""

from __future__ import annotations

from functools import partial

from axonc.backends.isa.access_pattern import HbmAccess, Memory
from axonc.backends.isa.cost_terms import dma_trigger
from axonc.backends.isa.instruction import FieldValues, Instruction
from axonc.backends.isa.operand_kinds import ALL_ENGINES, DMA_REACHABLE, enum, read, uint, write
from axonc.backends.isa.rules import custom, total_elements
from axonc.backends.isa.spec import Action, Exchange, entry
from axonc.backends.targets.target import Target

COLLECTIVE_OPS = ("add", "max", "min")
HBM_ONLY = (Memory.HBM,)
GROUP_BITS = 16


def is_collective(instruction: FieldValues) -> bool:
    """Whether the instruction triggers a collective."""
    return instruction.spec.action is Action.COLLECTIVE


def _counts(instruction: Instruction) -> tuple[int, int]:
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    return total_elements(dst), total_elements(src)


def _equal(instruction: Instruction, target: Target) -> str | None:
    dst, src = _counts(instruction)
    return None if dst == src else f"dst has {dst} elements, src {src}"


def _gathers(instruction: Instruction, target: Target) -> str | None:
    dst, src = _counts(instruction)
    return None if dst % src == 0 else f"dst has {dst} elements, src {src}"


def _scatters(instruction: Instruction, target: Target) -> str | None:
    dst, src = _counts(instruction)
    return None if src % dst == 0 else f"src has {src} elements, dst {dst}"


def _contiguous(instruction: Instruction, target: Target) -> str | None:
    for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True):
        if isinstance(access, HbmAccess) and not _is_dense(access):
            return f"{spec.name} has strides {[stride for stride, _ in access.dims]}"
    return None


def _is_dense(access: HbmAccess) -> bool:
    expected = 1
    for stride, size in reversed(access.dims):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _one_dtype(instruction: Instruction, target: Target) -> str | None:
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    return None if dst.dtype is src.dtype else f"dst is {dst.dtype.name}, src {src.dtype.name}"


def _one_memory(instruction: Instruction, target: Target) -> str | None:
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    return None if dst.memory is src.memory else f"dst in {dst.memory.value}"


_COMMON = (
    custom("C20", "dst and src have the same element type", _one_dtype),
    custom("C21", "device-memory operands are contiguous", _contiguous),
)
_ONE_MEMORY = custom("C22", "dst and src lie in one memory", _one_memory)
_EQUAL = custom("C23", "dst and src have the same number of elements", _equal)


HBM_OPERANDS = (write("dst", HBM_ONLY), read("src", HBM_ONLY))
OPERANDS = (write("dst", DMA_REACHABLE), read("src", DMA_REACHABLE))
GROUP = uint("group", GROUP_BITS, 0, "index into the table of replica groups")
OP = enum("op", COLLECTIVE_OPS, "add")

_collective = partial(
    entry,
    action=Action.COLLECTIVE,
    engines=ALL_ENGINES,
    cost=dma_trigger(
        "of the triggering sequencer, assumed as for DMA; the collective: steps x step latency + "
        "bytes / bandwidth (docs/design/0007)"
    ),
    sources=("machine.md#collectives", "machine.md#synchronisation", "nki.collectives"),
)

_collective(
    mnemonic="all_reduce",
    opcode=0x70,
    operands=OPERANDS,
    fields=(GROUP, OP),
    exchange=Exchange(),
    summary="Combine a tensor over the cores of a group; every core gets the result.",
    semantics="dst = src of core 0 op src of core 1 op ... of the group, in f32; dst may be src "
    "(assumed)",
    rules=(*_COMMON, _ONE_MEMORY, _EQUAL),
)

_collective(
    mnemonic="all_gather",
    opcode=0x71,
    operands=HBM_OPERANDS,
    fields=(GROUP,),
    exchange=Exchange(dst_in_blocks=True),
    summary="Concatenate the tensors of the cores of a group; every core gets all.",
    semantics="block i of dst = src of core i of the group",
    rules=(*_COMMON, custom("C24", "dst is a whole number of src", _gathers)),
)

_collective(
    mnemonic="reduce_scatter",
    opcode=0x72,
    operands=HBM_OPERANDS,
    fields=(GROUP, OP),
    exchange=Exchange(src_in_blocks=True),
    summary="Combine a tensor over the cores of a group; every core gets its block.",
    semantics="dst of core i of the group = block i of (src of core 0 op src of core 1 op ...), in "
    "f32",
    rules=(*_COMMON, custom("C24", "src is a whole number of dst", _scatters)),
)

_collective(
    mnemonic="all_to_all",
    opcode=0x73,
    operands=HBM_OPERANDS,
    fields=(GROUP,),
    exchange=Exchange(dst_in_blocks=True, src_in_blocks=True),
    summary="Every core of a group sends a block to each.",
    semantics="block j of dst of core i = block i of src of core j",
    rules=(*_COMMON, _EQUAL),
)

_collective(
    mnemonic="collective_permute",
    opcode=0x74,
    operands=OPERANDS,
    fields=(GROUP,),
    exchange=Exchange(is_pairwise=True),
    summary="Cores send their tensor to another one; the group is a list of (source, target).",
    semantics="dst of target = src of source for every pair; zeros on a core that is no target",
    rules=(*_COMMON, _ONE_MEMORY, _EQUAL),
)
