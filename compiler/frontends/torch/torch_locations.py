"""Give the ops of a traced torch program the locations of the torch model.

Every torch node is traced under a JAX scope `@<number>`; afterwards the scope in an op's location
is replaced by the module path, and the Python frames of the tracer by those of the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jaxlib.mlir import ir

from axonc.diagnostics import SourceLocation
from axonc.imported.stablehlo_module import walk

_SCOPE = re.compile(r"@(\d+)")
_TORCH = re.compile(r"-packages[/\\]torch[/\\]")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')


@dataclass(frozen=True)
class Frame:
    """One line of a Python stack."""

    file: str
    line: int
    function: str


@dataclass(frozen=True)
class NodeOrigin:
    """Where a node of an exported graph came from."""

    path: str
    """`encoder.layer.0.attention/softmax`."""
    frames: tuple[Frame, ...]
    """The model's stack, outermost first."""


def scope_name(number: int) -> str:
    """The JAX scope under which node `number` is traced."""
    return f"@{number}"


def origin_of(node: Any) -> NodeOrigin:
    """Where an fx node came from, by the metadata torch.export keeps."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    module = _module_path(modules[-1][0]) if modules else ""
    operation = str(node.target).split("::")[-1].removeprefix("aten.").split(".")[0]
    frames = frames_of(node.meta.get("stack_trace") or "")
    path = f"{module}/{operation}" if module else operation
    return NodeOrigin(path, frames)


def frames_of(stack: str) -> tuple[Frame, ...]:
    """The stack of a text of Python's, up to the line that calls into torch."""
    found = _FRAME.finditer(stack)
    return _without_torch(tuple(Frame(m["file"], int(m["line"]), m["function"]) for m in found))


def _without_torch(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The stack up to the line that calls into torch: where the user can do something."""
    count = len(frames)
    while count and _TORCH.search(frames[count - 1].file):
        count -= 1
    return frames[:count] or frames


def user_location(origin: NodeOrigin) -> SourceLocation:
    """The user's line for messages."""
    if not origin.frames:
        return SourceLocation(origin.path)
    frame = origin.frames[-1]
    return SourceLocation(origin.path, frame.file, frame.line, 1)


def relocate(module: ir.Module, origins: list[NodeOrigin]) -> None:
    """Replace the tracer's locations in `module` by those of `origins`, indexed by scope number."""
    with module.context:
        known = [_location(origin) for origin in origins]
        for op in walk(module):
            op.location = _relocated(op.location, known)


def _module_path(spelled: str) -> str:
    """torch.export roots the path at `L['self']` or leaves it empty."""
    return re.sub(r"^L\['self'\]\.?", "", spelled).replace("L__self___", "")


def _location(origin: NodeOrigin) -> ir.Location:
    return ir.Location.name(origin.path, _stack(origin.frames))


def _stack(frames: tuple[Frame, ...]) -> ir.Location:
    places = [
        ir.Location.name(frame.function, ir.Location.file(frame.file, frame.line, 1))
        for frame in reversed(frames)
    ]
    if not places:
        return ir.Location.unknown()
    return ir.Location.callsite(places[0], places[1:]) if len(places) > 1 else places[0]


def _relocated(location: ir.Location, known: list[ir.Location]) -> ir.Location:
    """The node's location; an op outside any node (shared helpers) keeps its name alone."""
    if not isinstance(location, ir.NameLoc):
        return ir.Location.unknown()
    scopes = _SCOPE.findall(location.name_str)
    if scopes:
        return known[int(scopes[-1])]
    return ir.Location.name(location.name_str, ir.Location.unknown())
