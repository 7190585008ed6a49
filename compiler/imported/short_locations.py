"""Files in the locations of a module become their places in projects (`axonc.project_paths`)."""

from __future__ import annotations

from collections.abc import Iterator

from jaxlib.mlir import ir

from axonc.project_paths import project_path


def use_project_paths(module: ir.Module) -> None:
    """Shorten the files in the locations of a module's operations and block arguments."""
    shortened: dict[str, ir.Location] = {}

    def short(location: ir.Location) -> ir.Location:
        text = str(location)
        if text not in shortened:
            shortened[text] = _shortened(location)
        return shortened[text]

    for op in _operations(module.operation):
        op.location = short(op.location)
        for region in op.regions:
            for block in region.blocks:
                for argument in block.arguments:
                    argument.set_location(short(argument.location))


def _operations(op: ir.Operation) -> Iterator[ir.Operation]:
    yield op
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _operations(inner.operation)


def _shortened(location: ir.Location) -> ir.Location:
    if isinstance(location, ir.FileLineColLoc):
        file = project_path(location.filename)
        return ir.Location.file(file, location.start_line, location.start_col)
    if isinstance(location, ir.NameLoc):
        return ir.Location.name(location.name_str, _shortened(location.child_loc))
    if isinstance(location, ir.CallSiteLoc):
        return ir.Location.callsite(_shortened(location.callee), [_shortened(location.caller)])
    if isinstance(location, ir.FusedLoc):
        return ir.Location.fused([_shortened(each) for each in location.locations])
    return location
