"""`manifest.json` of a program file: everything but streams, constants and weight bytes, as JSON.

Keys are sorted and numbers are plain, so equal programs have equal manifests. Reading trusts
nothing: whatever does not have the expected form is a ProgramFormatError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.program import Groups, HbmTensor, Packing, Program, TensorKind
from axonc.diagnostics import AxoncError, ProgramFormatError
from axonc.program.compiled_program import CompiledProgram, HostTensor, StageRecord
from axonc.sharding import Mesh, Sharding
from axonc.version import __version__

FORMAT = "axonc-program"
FORMAT_VERSION = 3

Json = dict[str, Any]


def manifest_text(
    compiled: CompiledProgram,
    constants: Sequence[Mapping[str, int]],
    references: Mapping[str, Mapping[str, Json]],
) -> str:
    """The manifest. constants: for each program, offset in `constants.bin` by tensor name;
    references: where the bytes of weights and of the first values of state are, by section and
    argument name."""
    program = compiled.program
    facts: Json = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "producer": f"axonc {__version__}",
        "target": program.target,
        "options": compiled.options.as_dict(),
        "source_sha256": compiled.source_hash,
        "stages": [{"name": s.name, "ir_sha256": s.ir_hash} for s in compiled.stages],
        "inputs": [_host_json(t) for t in compiled.inputs],
        "results": [_host_json(t) for t in compiled.results],
        **_program_json(program, constants[0]),
        "open_state": {name: list(results) for name, results in compiled.open_state.items()},
        **{section: dict(entries) for section, entries in references.items()},
        "cores": program.cores,
        "groups": [[list(group) for group in entry] for entry in program.groups],
        "weight_shardings": {n: _sharding_json(s) for n, s in compiled.weight_shardings.items()},
        "others": [
            _program_json(p, c) for p, c in zip(compiled.others, constants[1:], strict=True)
        ],
        "program_of": list(compiled.program_of),
        "casts": list(compiled.casts),
        "shardings": list(compiled.shardings),
    }
    return json.dumps(facts, sort_keys=True, indent=1) + "\n"


def _program_json(program: Program, constants: Mapping[str, int]) -> Json:
    """What differs between the programs of a file."""
    return {
        "tensors": [_tensor_json(t, constants) for t in program.tensors],
        "engines": [engine.value for engine in program.streams],
        "sbuf_peak_bytes": program.sbuf_peak_bytes,
        "notes": list(program.notes),
    }


def read_manifest(text: bytes, *, where: str) -> Json:
    """The manifest as plain values.

    Raises:
        ProgramFormatError: not a manifest, or one of another format version.
    """
    try:
        facts = json.loads(text)
        found = facts["format"], int(facts["format_version"])
    except (ValueError, KeyError, TypeError):
        raise ProgramFormatError(f"{where}: its manifest is not one of axonc") from None
    if found != (FORMAT, FORMAT_VERSION):
        producer = facts.get("producer", "an unknown producer")
        raise ProgramFormatError(
            f"{where}: made by {producer} in format {found[0]} {found[1]}; "
            f"axonc {__version__} needs {FORMAT} {FORMAT_VERSION}",
            hint="compile the model again with this version",
        )
    return dict(facts)


class ManifestReader:
    """Turns the values of a manifest into typed objects; any surprise is a ProgramFormatError."""

    def __init__(self, facts: Json, where: str) -> None:
        self.facts = facts
        self.where = where

    def __enter__(self) -> ManifestReader:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        expected = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
        is_surprise = isinstance(error, expected) and not isinstance(error, AxoncError)
        if is_surprise:
            raise ProgramFormatError(
                f"{self.where}: its manifest is damaged ({type(error).__name__}: {error})"
            ) from None

    def host_tensors(self, key: str) -> tuple[HostTensor, ...]:
        return tuple(
            HostTensor(
                str(t["name"]),
                _sizes(t["shape"]),
                str(t["dtype"]),
                _sharding(t["sharding"]) if "sharding" in t else None,
                str(t.get("state_of", "")),
            )
            for t in self.facts[key]
        )

    def groups(self) -> tuple[Groups, ...]:
        return tuple(
            tuple(tuple(int(n) for n in group) for group in entry) for entry in self.facts["groups"]
        )

    def weight_shardings(self) -> dict[str, Sharding]:
        return {str(n): _sharding(facts) for n, facts in self.facts["weight_shardings"].items()}

    def programs(self) -> list[Json]:
        """The facts of each program."""
        return [self.facts, *self.facts["others"]]

    def program_of(self) -> tuple[int, ...]:
        """Per core the index of its program; empty if there is one."""
        found = tuple(int(n) for n in self.facts["program_of"])
        count = len(self.facts["others"]) + 1
        fits = len(found) == int(self.facts["cores"]) and set(found) == set(range(count))
        if count > 1 and not fits:
            raise ValueError(f"program_of is {found} for {count} programs")
        return found

    def tensors(self, facts: Json, constants: bytes) -> tuple[HbmTensor, ...]:
        return tuple(_tensor(t, constants) for t in facts["tensors"])

    def open_state(self) -> dict[str, tuple[str, ...]]:
        return {str(n): tuple(map(str, rs)) for n, rs in self.facts["open_state"].items()}

    def stages(self) -> tuple[StageRecord, ...]:
        return tuple(StageRecord(str(s["name"]), str(s["ir_sha256"])) for s in self.facts["stages"])

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(line) for line in self.facts[key])


def _host_json(tensor: HostTensor) -> Json:
    facts: Json = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if tensor.sharding is not None:
        facts["sharding"] = _sharding_json(tensor.sharding)
    if tensor.state_of:
        facts["state_of"] = tensor.state_of
    return facts


def _sharding_json(sharding: Sharding) -> Json:
    return {
        "mesh": [[name, size] for name, size in sharding.mesh.axes],
        "dim_axes": [list(axes) for axes in sharding.dim_axes],
    }


def _sharding(facts: Json) -> Sharding:
    mesh = Mesh(tuple((str(name), int(size)) for name, size in facts["mesh"]))
    return Sharding(mesh, tuple(tuple(map(str, axes)) for axes in facts["dim_axes"]))


def _tensor_json(tensor: HbmTensor, constants: Mapping[str, int]) -> Json:
    facts: Json = {
        "name": tensor.name,
        "kind": tensor.kind.value,
        "address": int(tensor.address),
        "shape": [int(n) for n in tensor.shape],
        "dtype": tensor.dtype.name,
        "host_dtype": tensor.host_dtype,
        "source": tensor.source,
    }
    if tensor.alias:
        facts["alias"] = tensor.alias
    if tensor.packing is not None:
        facts["packing"] = _packing_json(tensor.packing)
    if tensor.name in constants:
        facts["constant_offset"] = constants[tensor.name]
    return facts


def _packing_json(packing: Packing) -> Json:
    return {
        "row_dims": [[int(n) for n in dim] for dim in packing.row_dims],
        "column_dims": [[int(n) for n in dim] for dim in packing.column_dims],
        "offset": int(packing.offset),
        "partition_tile": int(packing.partition_tile),
        "column_block": int(packing.column_block),
    }


def _tensor(facts: Json, constants: bytes) -> HbmTensor:
    kind = TensorKind(facts["kind"])
    tensor = HbmTensor(
        name=str(facts["name"]),
        kind=kind,
        address=int(facts["address"]),
        shape=_sizes(facts["shape"]),
        dtype=DTYPES[facts["dtype"]],
        host_dtype=str(facts["host_dtype"]),
        packing=_packing(facts["packing"]) if "packing" in facts else None,
        source=str(facts["source"]),
        alias=str(facts.get("alias", "")),
    )
    if kind is not TensorKind.CONSTANT:
        return tensor
    start = int(facts["constant_offset"])
    data = constants[start : start + tensor.size_bytes]
    if len(data) != tensor.size_bytes:
        raise ValueError(f"constant '{tensor.name}' has {len(data)} of {tensor.size_bytes} bytes")
    return HbmTensor(**{**vars(tensor), "data": data})


def _packing(facts: Json) -> Packing:
    def dims(key: str) -> tuple[tuple[int, int], ...]:
        return tuple((int(stride), int(size)) for stride, size in facts[key])

    return Packing(
        dims("row_dims"),
        dims("column_dims"),
        int(facts["offset"]),
        int(facts["partition_tile"]),
        int(facts["column_block"]),
    )


def _sizes(values: Any) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in values)
    if any(n < 0 for n in sizes):
        raise ValueError(f"a shape of {sizes}")
    return sizes
