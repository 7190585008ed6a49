"""Collectives: triggered from any engine's stream, run by the collective cores of the chip.

Source: hardware.md 1.5 and 3.6 (PSEUDO_TRIGGER_COLLECTIVE: the trigger only starts a program of a
CC-core), and the public `nki.collectives` reference: tensors in device memory or in SBUF, but not a
mix; add, maximum and minimum; concatenation along the first dim. That NeuronCore-v2 can do it in
SBUF too is assumed (the reference documents Trn2 on; v2 DMA moves SBUF to SBUF, 1.2).

`group` is an index into the program's table of replica groups (backends/program.py). A collective
starts when every core of its group has triggered it; the signal of the instruction is posted when
the result is there. Collectives of one group run one after the other, in the order of triggering.

"Blocks" are equal contiguous parts of an operand's elements in row-major order, one per core, in
the order the group lists its cores. Reductions are in FP32, whatever the element type (1.5: there
is no integer datapath), in the order of the group.
"""

from __future__ import annotations

from axonc.backends.isa.access_pattern import HbmAccess, Memory
from axonc.backends.isa.cost_terms import dma_trigger
from axonc.backends.isa.instruction import FieldValues, Instruction
from axonc.backends.isa.operand_kinds import ALL_ENGINES, DMA_REACHABLE, enum, read, uint, write
from axonc.backends.isa.rules import custom, total_elements
from axonc.backends.isa.spec import INSTRUCTIONS, Action, Exchange, FieldSpec, InstructionSpec, Rule
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
_OP = (enum("op", COLLECTIVE_OPS, "add"),)


def _entry(
    mnemonic: str,
    opcode: int,
    summary: str,
    semantics: str,
    exchange: Exchange,
    rule: Rule,
    *,
    in_sbuf: bool = False,
    extra: tuple[FieldSpec, ...] = (),
) -> None:
    memories = DMA_REACHABLE if in_sbuf else HBM_ONLY
    INSTRUCTIONS.add(
        InstructionSpec(
            mnemonic=mnemonic,
            opcode=opcode,
            action=Action.COLLECTIVE,
            engines=ALL_ENGINES,
            operands=(write("dst", memories), read("src", memories)),
            fields=(uint("group", GROUP_BITS, 0, "index into the table of replica groups"), *extra),
            cycles=dma_trigger,
            cycles_text="50 ns of the triggering sequencer (assumed, as for DMA); the collective: "
            "steps x step latency + bytes / bandwidth (docs/design/0007)",
            summary=summary,
            semantics=semantics,
            exchange=exchange,
            sources=("hardware.md 1.5", "hardware.md 3.6", "nki.collectives"),
            rules=(*_COMMON, *((_ONE_MEMORY,) if in_sbuf else ()), rule),
        )
    )


_entry(
    "all_reduce",
    0x70,
    "Combine a tensor over the cores of a group; every core gets the result.",
    "dst = src of core 0 op src of core 1 op ... of the group, in f32; dst may be src (assumed)",
    Exchange(),
    _EQUAL,
    in_sbuf=True,
    extra=_OP,
)
_entry(
    "all_gather",
    0x71,
    "Concatenate the tensors of the cores of a group; every core gets all.",
    "block i of dst = src of core i of the group",
    Exchange(dst_in_blocks=True),
    custom("C24", "dst is a whole number of src", _gathers),
)
_entry(
    "reduce_scatter",
    0x72,
    "Combine a tensor over the cores of a group; every core gets its block.",
    "dst of core i of the group = block i of (src of core 0 op src of core 1 op ...), in f32",
    Exchange(src_in_blocks=True),
    custom("C24", "src is a whole number of dst", _scatters),
    extra=_OP,
)
_entry(
    "all_to_all",
    0x73,
    "Every core of a group sends a block to each.",
    "block j of dst of core i = block i of src of core j",
    Exchange(dst_in_blocks=True, src_in_blocks=True),
    _EQUAL,
)
_entry(
    "collective_permute",
    0x74,
    "Cores send their tensor to another one; the group is a list of (source, target).",
    "dst of target = src of source for every pair; zeros on a core that is no target",
    Exchange(is_pairwise=True),
    _EQUAL,
    in_sbuf=True,
)
