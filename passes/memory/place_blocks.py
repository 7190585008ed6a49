"""One device memory for all blocks of a program with control flow.

Why: every block is allocated like a program of its own. On chip that is right, as a block begins
when the one before is over and expects nothing there. Device memory holds what goes from one to
another, so tensors of one name have one address.

Precondition: a `BlocksState` whose blocks have addresses (`allocate-memory`).
Postcondition: inputs, results and places (docs/design/0016) have one address in all blocks, as have
equal weights and constants; everything else has bytes of its own.

Before:
    block 0: OUTPUT "place:0:made" @ 0x40     block 1: INPUT "place:0" @ 0x0
After:
    block 0: SCRATCH "place:0" @ 0x40         block 1: SCRATCH "place:0" @ 0x40

Leaves alone programs of one block.

Raises: CapacityError when they do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from axonc.backends.program import HbmTensor, TensorKind
from axonc.diagnostics import InternalError
from axonc.dialects.ntile.program import TileProgram
from axonc.passes.base import Pass, State
from axonc.passes.blocks import MADE, PLACE_PREFIX, BlocksState
from axonc.passes.memory.allocate_memory import place_iterations
from axonc.passes.memory.buffer_placement import aligned
from axonc.passes.memory.memory_map import device_memory_error
from axonc.passes.memory.sbuf_plan import ALIGNMENT
from axonc.passes.tile_level.tile_state import TileState


@dataclass(frozen=True)
class PlaceBlocksPass(Pass, name="place-blocks"):
    """Give the tensors of all blocks their addresses in one device memory."""

    of_all_blocks: ClassVar[bool] = True

    def run_on(self, state: State) -> tuple[State, bool]:
        if not isinstance(state, BlocksState):
            return state, False
        programs = [s.program for s in state.states if isinstance(s, TileState)]
        placer = _Placer()
        for program in programs:
            placer.place(program)
        target = programs[0].target
        if placer.end > target.hbm_bytes:
            raise device_memory_error(list(placer.tensors), placer.end, target.hbm_bytes)
        return state, True


@dataclass
class _Placer:
    end: int = 0
    shared: dict[Hashable, HbmTensor] = field(default_factory=dict)
    """By what makes two tensors one: the tensor with its address."""
    names: set[str] = field(default_factory=set)
    tensors: list[HbmTensor] = field(default_factory=list)

    def place(self, program: TileProgram) -> None:
        """Name and place the device tensors of one more block."""
        for buffer in program.buffers:
            if buffer.tensor is None or buffer.each:
                continue
            key = _key(buffer.tensor)
            found = self.shared.get(key) if key is not None else None
            if found is None:
                found = self._new(buffer.tensor)
                if key is not None:
                    self.shared[key] = found
            _require_alike(buffer.tensor, found)
            buffer.tensor, buffer.address = found, found.address
        self._place_iterations(program)

    def _new(self, tensor: HbmTensor) -> HbmTensor:
        made = replace(_as_shared(tensor), address=self.end)
        made = replace(made, name=self._unique(made.name))
        self.end += aligned(max(1, made.size_bytes), ALIGNMENT)
        self.tensors.append(made)
        return made

    def _unique(self, name: str) -> str:
        number, unique = 0, name
        while unique in self.names:
            number += 1
            unique = f"{name}.{number}"
        self.names.add(unique)
        return unique

    def _place_iterations(self, program: TileProgram) -> None:
        """Weights of repeated layers lie apart for every block that reads them."""
        for buffer in program.buffers:
            if buffer.each:
                buffer.each = tuple(replace(t, name=self._unique(t.name)) for t in buffer.each)
                buffer.tensor = buffer.each[0]
        self.end = place_iterations(program, self.end)
        self.tensors += [t for b in program.buffers for t in b.each]


def _require_alike(tensor: HbmTensor, found: HbmTensor) -> None:
    """Blocks see what they share in one way. Raises: InternalError."""
    if (tensor.shape, tensor.dtype) != (found.shape, found.dtype):
        raise InternalError(
            f"'{tensor.name}' is {tensor.dtype.name}{list(tensor.shape)} in one block and "
            f"{found.dtype.name}{list(found.shape)} in another"
        )


def _key(tensor: HbmTensor) -> Hashable:
    """What makes it the same tensor as one of another block; None if it is its block's own."""
    if _is_place(tensor):
        return TensorKind.SCRATCH, (tensor.alias or tensor.name).removesuffix(MADE)
    return _KEYS.get(tensor.kind, lambda _: None)(tensor)


_KEYS: dict[TensorKind, Callable[[HbmTensor], Hashable]] = {
    TensorKind.INPUT: lambda t: (t.kind, t.name),
    TensorKind.OUTPUT: lambda t: (t.kind, t.name),
    TensorKind.WEIGHT: lambda t: (t.kind, t.source, t.packing, t.dtype.name, t.shape),
    TensorKind.CONSTANT: lambda t: (t.kind, t.dtype.name, t.shape, t.data),
}


def _is_place(tensor: HbmTensor) -> bool:
    """Whether blocks hand on values in it."""
    is_edge = tensor.kind in (TensorKind.INPUT, TensorKind.OUTPUT)
    return is_edge and (tensor.alias or tensor.name).startswith(PLACE_PREFIX)


def _as_shared(tensor: HbmTensor) -> HbmTensor:
    """The tensor as the whole program has it."""
    if not _is_place(tensor):
        return tensor
    name = (tensor.alias or tensor.name).removesuffix(MADE)
    return replace(tensor, name=name, kind=TensorKind.SCRATCH, alias="", source=name)
