"""Where an operation came from, read from its MLIR location."""

from __future__ import annotations

from torch_mlir import ir

from axonc.diagnostics import LOOKUP, SourceLocation


def source_location(op_or_location: ir.Operation | ir.OpView | ir.Location) -> SourceLocation:
    """The outermost name and the innermost file position of a location.

    Frameworks nest them: name("jit(f)/dot_general") of callsite(user's line at its caller). The
    first file found is the user's innermost line, which is what frameworks put first.
    """
    location = getattr(op_or_location, "location", op_or_location)
    names: list[str] = []
    found = _first_file(location, names)
    is_lookup = LOOKUP in names
    name = next((name for name in names if name != LOOKUP), "")
    if found is None:
        return SourceLocation(name=name, is_lookup=is_lookup)
    return SourceLocation(name, found.filename, found.start_line, found.start_col, is_lookup)


def _first_file(location: ir.Location, names: list[str]) -> ir.Location | None:
    """The first FileLineColLoc in depth-first order; names on the way are appended to `names`."""
    if isinstance(location, ir.FileLineColLoc):
        return location
    if isinstance(location, ir.NameLoc):
        names.append(location.name_str)
        return _first_file(location.child_loc, names)
    if isinstance(location, ir.CallSiteLoc):
        children = [location.callee, location.caller]
    else:
        children = list(location.locations) if isinstance(location, ir.FusedLoc) else []
    found = (_first_file(child, names) for child in children)
    return next((f for f in found if f is not None), None)
