"""The process Shardy runs in: a module on stdin; JSON facts and the partitioned one on stdout."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from jaxlib.mlir import ir

from axonc.diagnostics import AxoncError
from axonc.imported.stablehlo_module import new_context
from axonc.partition.shardy import Partitioned
from axonc.partition.shardy_passes import partition_here
from axonc.sharding import Sharding


def main() -> None:
    """Anything but an AxoncError ends the process with a status, which the caller reports."""
    module = ir.Module.parse(sys.stdin.buffer.read(), context=new_context())
    try:
        with module.context, ir.Location.unknown():
            done = partition_here(module)
    except AxoncError as error:
        _write(_complaint(error), b"")
        return
    buffer = io.BytesIO()
    done.module.operation.write_bytecode(buffer)
    _write(_facts(done), buffer.getvalue())


def _write(facts: dict[str, Any], body: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def _facts(done: Partitioned) -> dict[str, Any]:
    def dims(shardings: tuple[Sharding, ...]) -> list[Any]:
        return [s.dim_axes for s in shardings]

    return {
        "mesh": done.mesh.axes,
        "arguments": dims(done.arguments),
        "results": dims(done.results),
        "notes": done.notes,
    }


def _complaint(error: AxoncError) -> dict[str, Any]:
    place = error.location
    return {
        "error": type(error).__name__,
        "message": error.message,
        "op": error.op,
        "hint": error.hint,
        "location": [place.name, place.file, place.line, place.column] if place else None,
    }


if __name__ == "__main__":
    main()
