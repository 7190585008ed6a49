"""Rules of the tile level (C30 on), for ops of the dialect and for programs in memory alike.

An instruction must satisfy the instruction set's rules (C1 to C14, C20 to C29) as well, checked
here as if every buffer without an address lay at 0. Reading a module already enforces C30.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Role
from axonc.backends.isa.verifier import Verifier, Violation, rule_text
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import VerifyError
from axonc.dialects.ntile.program import Buffer, Form, Step, TileProgram, View
from axonc.dialects.ntile.types import BUFFER

RULES: dict[str, str] = {
    "C30": "every operand has one buffer and one view",
    "C31": "a view lies inside its buffer",
    "C32": "a buffer has 1 to 128 partitions and fits in one partition of its memory (in SBUF once "
    "it has an address: spill-buffers cuts what is wider); in PSUM, in the banks there are",
    "C33": "a device-memory buffer, and no other, holds a tensor, of its size",
    "C34": "a buffer's address keeps it inside its memory; in PSUM it is the start of a bank",
    "C35": "a bundle has an engine and at least two instructions, which have none",
    "C36": "a choice has at least two forms, which write the same views",
    "C37": "views of device memory have no partitions",
}
"""Sources: the sizes are the target's (machine.md#the-chip); the rest says what the passes rely
on."""

_verifiers = {name: Verifier(target) for name, target in TARGETS.items()}

_UNBOUNDED = 2**31


def _without_width(target: Target) -> Target:
    """A machine of which only the width of SBUF is another."""
    return replace(target, sbuf_partition_bytes=_UNBOUNDED, max_free_elements_sbuf=_UNBOUNDED)


_width_verifiers = {n: Verifier(_without_width(target)) for n, target in TARGETS.items()}
"""For operations on buffers that spill-buffers has yet to cut."""


def _rule(number: str, found: str) -> Violation:
    return number, f"{RULES[number]}: {found}"


# ---- buffers ------------------------------------------------------------------------------------


def buffer_violations(buffer: Buffer, target: Target) -> list[Violation]:
    """Broken rules of one buffer."""
    checks = (_size, _tensor, _address)
    return [_rule(number, found) for check in checks for number, found in check(buffer, target)]


def _limit(memory: Memory, target: Target) -> int:
    """Bytes of a partition, or of device memory."""
    return {
        Memory.SBUF: target.sbuf_partition_bytes,
        Memory.PSUM: target.psum_partition_bytes,
        Memory.HBM: target.hbm_bytes,
    }[memory]


def _size(buffer: Buffer, target: Target) -> Iterator[Violation]:
    low, high = (0, 0) if buffer.memory is Memory.HBM else (1, target.partitions)
    if not low <= buffer.partitions <= high:
        yield "C32", f"'{buffer.name}' has {buffer.partitions} partitions"
    limit = _limit(buffer.memory, target)
    if not 0 <= buffer.partition_bytes <= limit and not _is_uncut(buffer, target):
        yield "C32", f"'{buffer.name}' has {buffer.partition_bytes} bytes of {limit}"


def _is_uncut(buffer: Buffer, target: Target) -> bool:
    """Whether the buffer is wider than SBUF, and has no address yet."""
    is_wide = buffer.partition_bytes > target.sbuf_partition_bytes
    return is_wide and buffer.memory is Memory.SBUF and buffer.address < 0


def _tensor(buffer: Buffer, target: Target) -> Iterator[Violation]:
    if (buffer.tensor is None) != (buffer.memory is not Memory.HBM):
        state = "no tensor" if buffer.tensor is None else "a tensor"
        yield "C33", f"'{buffer.name}' in {buffer.memory.value} has {state}"
    elif buffer.tensor is not None and buffer.tensor.size_bytes != buffer.partition_bytes:
        sizes = f"{buffer.partition_bytes} bytes for a tensor of {buffer.tensor.size_bytes}"
        yield "C33", f"'{buffer.name}' has {sizes}"


def _address(buffer: Buffer, target: Target) -> Iterator[Violation]:
    if buffer.address < 0:
        return
    end = buffer.address + buffer.partition_bytes
    limit = _limit(buffer.memory, target)
    if end > limit:
        yield "C34", f"'{buffer.name}' ends at byte {end} of {limit}"
    if buffer.memory is Memory.PSUM and buffer.address % target.psum_bank_bytes:
        yield "C34", f"'{buffer.name}' is at byte {buffer.address} of PSUM"


# ---- operations ---------------------------------------------------------------------------------


def step_violations(step: Step, engine: Engine, target: Target) -> list[Violation]:
    """Broken rules of one instruction on `engine`."""
    found = [
        problem
        for operand, view in zip(step.spec.operands, step.operands, strict=True)
        if view is not None
        for problem in _view_violations(operand.name, view)
    ]
    placed = tuple(None if v is None else _placed(v).resolve() for v in step.operands)
    instruction = Instruction(step.spec, engine, placed, step.fields)
    uncut = any(v is not None and _is_uncut(v.buffer, target) for v in step.operands)
    verifier = (_width_verifiers if uncut else _verifiers)[target.name]
    broken = verifier.violations(instruction)
    return found + [(n, f"{rule_text(step.spec, n)}: {what}") for n, what in broken]


def _placed(view: View) -> View:
    """The view with its buffer at address 0 when it has none."""
    if view.buffer.address >= 0:
        return view
    buffer = view.buffer
    at_zero = Buffer(buffer.name, buffer.memory, buffer.partitions, buffer.partition_bytes)
    at_zero.address = 0
    return View(
        at_zero, view.dtype, view.start_partition, view.num_partitions, view.byte_offset, view.dims
    )


def _view_violations(name: str, view: View) -> Iterator[Violation]:
    buffer = view.buffer
    first, last, low, high = view.region()
    if low < 0 or high > buffer.partition_bytes:
        found = f"{name} touches bytes [{low}, {high}) of {buffer.partition_bytes}"
        yield _rule("C31", found)
    if buffer.memory is Memory.HBM:
        if view.start_partition or view.num_partitions:
            yield _rule("C37", f"{name} has {view.num_partitions} partitions")
    elif first < 0 or last > buffer.partitions:
        yield _rule("C31", f"{name} touches partitions [{first}, {last}) of {buffer.partitions}")


def form_violations(form: Form, *, bundled: bool) -> list[Violation]:
    """Broken rules of a form as such; `bundled` when it stands in an `ntile.bundle`."""
    if bundled and len(form.steps) < 2:
        return [_rule("C35", f"{len(form.steps)} instructions")]
    return []


def forms_violations(forms: tuple[Form, ...], *, chosen: bool) -> list[Violation]:
    """Broken rules of the forms of an operation; `chosen` when they stand in an `ntile.choose`."""
    if chosen and len(forms) < 2:
        return [_rule("C36", f"{len(forms)} forms")]
    written = [_written(form) for form in forms]
    return [
        _rule("C36", f"form {n} on {forms[n].engine.value} writes other views than the first")
        for n in range(1, len(forms))
        if written[n] != written[0]
    ]


def _written(form: Form) -> list[tuple[object, ...]]:
    """Bytes a form writes, in the order of its operands."""
    return [
        (view.buffer.name, view.dtype.code, *view.region())
        for step in form.steps
        for operand, view in zip(step.spec.operands, step.operands, strict=True)
        if view is not None and operand.role is not Role.READ
    ]


# ---- programs -----------------------------------------------------------------------------------


def program_violations(program: TileProgram) -> Iterator[tuple[int, str, Violation]]:
    """(operation number or -1 for a buffer, what breaks it, the rule)."""
    for buffer in program.buffers:
        for violation in buffer_violations(buffer, program.target):
            yield -1, BUFFER, violation
    for number, op in enumerate(program.ops):
        for violation in forms_violations(op.forms, chosen=False):
            yield number, op.form.steps[0].spec.mnemonic, violation
        for form in op.forms:
            for step in form.steps:
                for violation in step_violations(step, form.engine, program.target):
                    yield number, f"{step.spec.mnemonic} on {form.engine.value}", violation


def verify_program(program: TileProgram) -> None:
    """Raises VerifyError for the first rule the program breaks."""
    for number, subject, (rule, text) in program_violations(program):
        location = program.ops[number].location if number >= 0 else 0
        raise VerifyError(
            f"({rule}) {text}", op=f"ntile.{subject}", location=program.locations[location]
        )
