"""The file of a compiled program, `docs/reference/program-file.md`: a zip archive of

    manifest.json            target, inputs, results, tensors, weight references, options, hashes
    streams/<engine>.bin     encoded instructions
    locations.json           [name, file, line, column] of every source location
    locations/<engine>.bin   per instruction: index into locations.json, int32 little-endian
    programs/<n>/...         the same of the n-th program, where cores run different ones
    constants.bin            bytes of the program's own constants
    weights.bin              bytes of weights that no file holds (or --embed-weights)

Weights of files stay where they are and are named by path and key: relative to the program file
when they lie in its folder or below, else absolute. The same program gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from axonc.backends.program import Program
from axonc.backends.targets.target import Engine
from axonc.diagnostics import ProgramFormatError, SourceLocation, UsageError, nearest
from axonc.options import CompileOptions
from axonc.program.archive import Archive, write_archive, written_whole
from axonc.program.compiled_program import CompiledProgram
from axonc.program.manifest import Json, ManifestReader, manifest_text, read_manifest
from axonc.weights.derived import DerivedWeight, derived_weight, rule_json, rule_of_json
from axonc.weights.references import (
    NUMPY_OF_MLIR,
    Absent,
    FileRegion,
    HeldArray,
    WeightRef,
    ZipMember,
    open_weight_file,
)

MANIFEST, LOCATIONS, CONSTANTS, WEIGHTS = (
    "manifest.json", "locations.json", "constants.bin", "weights.bin"
)  # fmt: skip
SECTIONS = ("weights", "initial_state")
"""Of the manifest: tensors that lie in files or in weights.bin."""
Key = TypeVar("Key", tuple[str, str], tuple[int, str])
_INDEX_DTYPE = np.dtype("<i4")
_ALIGNMENT = 64  # of constants and weights inside their member


def write_program(
    compiled: CompiledProgram, path: str | Path, *, embed_weights: bool = False
) -> None:
    """Write the program file; it appears whole or not at all.

    Raises:
        UsageError: the file cannot be written, or a weight file cannot be read.
    """
    path = Path(path)
    stored = _stored(compiled)
    embedded = _embedded(stored, embed_weights)
    references = {
        section: {
            name: _reference(stored[section, name], path, embedded.get((section, name)))
            for where, name in stored
            if where == section
        }
        for section in SECTIONS
    }
    offsets = _constant_offsets(compiled.programs)
    text = manifest_text(compiled, offsets, references)
    pieces = (stored[key] for key in embedded)
    with written_whole(path) as file:
        write_archive(file, _members(compiled, text, pieces if embedded else None))


def read_program(path: str | Path) -> CompiledProgram:
    """Read a program file. Weights of files are found and checked; their bytes are not read.

    Raises:
        ProgramFormatError: damaged, foreign, or of another format version.
        UsageError: no such file, or a weight file it refers to is gone or has changed.
    """
    archive = Archive(Path(path))
    facts = read_manifest(archive.read(MANIFEST), where=str(path))
    with ManifestReader(facts, str(path)) as reader:
        programs = _read_programs(archive, reader)
        tensors = _read_tensors(archive, facts)
        return CompiledProgram(
            program=programs[0],
            inputs=reader.host_tensors("inputs"),
            results=reader.host_tensors("results"),
            weights=tensors["weights"],
            initial_state=tensors["initial_state"],
            open_state=reader.open_state(),
            options=CompileOptions(**facts["options"]),
            source_hash=str(facts["source_sha256"]),
            stages=reader.stages(),
            casts=reader.texts("casts"),
            shardings=reader.texts("shardings"),
            weight_shardings=reader.weight_shardings(),
            others=programs[1:],
            program_of=reader.program_of(),
        )


# ---- members ---------------------------------------------------------------------------------


def _members(
    compiled: CompiledProgram, manifest: str, weights: Iterator[WeightRef] | None
) -> Iterator[tuple[str, Iterator[bytes]]]:
    yield MANIFEST, iter([manifest.encode()])
    for number, program in enumerate(compiled.programs):
        yield from _program_members(program, _folder(number))
    constants = (t.data for program in compiled.programs for t in program.tensors)
    yield CONSTANTS, _aligned(data for data in constants if data is not None)
    if weights is not None:
        yield WEIGHTS, _aligned(_weight_bytes(weight) for weight in weights)


def _folder(number: int) -> str:
    """Where the members of a program are: the first one's at the top."""
    return f"programs/{number}/" if number else ""


def _program_members(program: Program, folder: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    for engine, data in program.streams.items():
        yield f"{folder}streams/{engine.value}.bin", iter([data])
    yield folder + LOCATIONS, iter([_locations_text(program).encode()])
    for engine, indices in program.instruction_locations.items():
        data = np.ascontiguousarray(indices, _INDEX_DTYPE).tobytes()
        yield f"{folder}locations/{engine.value}.bin", iter([data])


def _aligned(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, each padded so that the next begins at a multiple of the alignment."""
    for piece in pieces:
        yield piece
        yield bytes(-len(piece) % _ALIGNMENT)


def _weight_bytes(weight: WeightRef) -> bytes:
    return np.ascontiguousarray(weight.load()).tobytes()


def _locations_text(program: Program) -> str:
    rows = [[where.name, where.file, where.line, where.column] for where in program.locations]
    return json.dumps(rows, indent=0) + "\n"


def _constant_offsets(programs: Sequence[Program]) -> list[dict[str, int]]:
    """Per program, the place of each constant in constants.bin, which holds those of all."""
    keys = [(n, t.name, t.data) for n, p in enumerate(programs) for t in p.tensors]
    sizes = {(n, name): len(data) for n, name, data in keys if data is not None}
    found: list[dict[str, int]] = [{} for _ in programs]
    for (number, name), offset in _offsets(sizes).items():
        found[number][name] = offset
    return found


def _offsets(sizes: dict[Key, int]) -> dict[Key, int]:
    """Where each piece begins, as `_aligned` lays them out."""
    offsets, position = {}, 0
    for name, size in sizes.items():
        offsets[name] = position
        position += size + -size % _ALIGNMENT
    return offsets


def _read_programs(archive: Archive, reader: ManifestReader) -> tuple[Program, ...]:
    constants = archive.read(CONSTANTS)
    return tuple(
        _read_program(archive, reader, facts, constants, _folder(number))
        for number, facts in enumerate(reader.programs())
    )


def _read_program(
    archive: Archive, reader: ManifestReader, facts: Json, constants: bytes, folder: str
) -> Program:
    engines = [Engine(name) for name in facts["engines"]]
    return Program(
        target=str(reader.facts["target"]),
        streams={e: archive.read(f"{folder}streams/{e.value}.bin") for e in engines},
        tensors=reader.tensors(facts, constants),
        locations=_read_locations(archive, folder),
        instruction_locations=_read_indices(archive, engines, folder),
        sbuf_peak_bytes=int(facts["sbuf_peak_bytes"]),
        notes=tuple(map(str, facts["notes"])),
        cores=int(reader.facts["cores"]),
        groups=reader.groups(),
    )


def _read_locations(archive: Archive, folder: str) -> tuple[SourceLocation, ...]:
    rows = json.loads(archive.read(folder + LOCATIONS))
    return tuple(SourceLocation(str(n), str(f), int(ln), int(c)) for n, f, ln, c in rows)


def _read_indices(archive: Archive, engines: list[Engine], folder: str) -> dict[Engine, np.ndarray]:
    found: dict[Engine, np.ndarray] = {}
    for engine in engines:
        name = f"{folder}locations/{engine.value}.bin"
        if name in archive:
            found[engine] = np.frombuffer(archive.read(name), _INDEX_DTYPE)
    return found


# ---- weights ---------------------------------------------------------------------------------


def _stored(compiled: CompiledProgram) -> dict[tuple[str, str], WeightRef]:
    """The tensors that go along, by section and name: weights the program uses, first values of
    state."""
    used = {t.source for p in compiled.programs for t in p.tensors}
    weights = {("weights", n): ref for n, ref in compiled.weights.items() if n in used}
    return weights | {("initial_state", n): ref for n, ref in compiled.initial_state.items()}


def _embedded(
    stored: dict[tuple[str, str], WeightRef], everything: bool
) -> dict[tuple[str, str], int]:
    """Offset in weights.bin of those whose bytes travel in the program file."""
    held = {key: ref.size_bytes for key, ref in stored.items() if everything or _is_held(ref)}
    return _offsets(held)


def _is_held(weight: WeightRef) -> bool:
    """Whether no file has the bytes, or those they are derived from."""
    storage = weight.storage
    while isinstance(storage, DerivedWeight):
        storage = storage.source.storage
    return isinstance(storage, HeldArray)


def _type_json(weight: WeightRef) -> Json:
    return {"shape": list(weight.shape), "dtype": weight.dtype}


def _reference(weight: WeightRef, path: Path, offset: int | None = None) -> Json:
    """Where a weight is, or how to make it. offset: in weights.bin, if it travels along."""
    facts = _type_json(weight)
    if offset is not None:
        return facts | {"offset": offset}
    if isinstance(weight.storage, Absent):
        return facts | {"absent": True}
    if isinstance(weight.storage, DerivedWeight):
        source = _reference(weight.storage.source, path)
        return facts | {"rule": rule_json(weight.storage.rule), "from": source}
    if weight.stored_shape is not None:
        facts["stored_shape"] = list(weight.stored_shape)
    if isinstance(weight.storage, FileRegion | ZipMember):
        file = _reference_to(weight.storage.path, path)
        return facts | {"file": file, "key": weight.storage.key}
    return facts


def _reference_to(weight_file: Path, program_file: Path) -> str:
    """Relative (with forward slashes) when the program file can be moved along with it."""
    absolute, folder = weight_file.resolve(), program_file.resolve().parent
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return os.fspath(absolute)


def _read_tensors(archive: Archive, facts: Json) -> dict[str, dict[str, WeightRef]]:
    """The tensors of each section, by name."""
    opened: dict[str, dict[str, WeightRef]] = {}
    embedded_at = _verified_weights(archive) if WEIGHTS in archive else -1
    return {
        section: {
            name: _embedded_weight(archive, name, entry, embedded_at)
            if "offset" in entry
            else _referred_weight(archive, name, entry, opened)
            for name, entry in facts[section].items()
        }
        for section in SECTIONS
    }


def _type_of(facts: Json) -> tuple[tuple[int, ...], str]:
    return tuple(int(n) for n in facts["shape"]), str(facts["dtype"])


def _referred_weight(
    archive: Archive, name: str, facts: Json, opened: dict[str, dict[str, WeightRef]]
) -> WeightRef:
    """The reverse of `_reference`. opened: weight files by path, so that each is read once."""
    shape, dtype = _type_of(facts)
    if "absent" in facts:
        return WeightRef.absent(shape, dtype, name=name)
    if "rule" in facts:
        rule = rule_of_json(name, facts["rule"])
        return derived_weight(_referred_weight(archive, rule.source, facts["from"], opened), rule)
    file = str(facts["file"])
    if file not in opened:
        opened[file] = open_weight_file(archive.path.resolve().parent / file)
    stored = tuple(int(n) for n in facts.get("stored_shape", shape))
    weight = _file_weight(opened[file], file, str(facts["key"]), stored, dtype)
    return weight if stored == shape else weight.reshaped(shape)


def _verified_weights(archive: Archive) -> int:
    archive.verify(WEIGHTS)
    return archive.data_offset(WEIGHTS)


def _embedded_weight(archive: Archive, name: str, facts: Json, base: int) -> WeightRef:
    shape, dtype = _type_of(facts)
    region = FileRegion(archive.path, name, base + int(facts["offset"]))
    weight = WeightRef(shape, dtype, region)
    if base < 0 or dtype not in NUMPY_OF_MLIR:
        raise ProgramFormatError(f"{archive.path}: the bytes of weight '{name}' are missing")
    return weight


def _file_weight(
    tensors: dict[str, WeightRef], file: str, key: str, shape: tuple[int, ...], dtype: str
) -> WeightRef:
    if key not in tensors:
        raise UsageError(f"{file}: tensor '{key}' is gone", hint=nearest(key, tensors))
    weight = tensors[key]
    if (weight.shape, weight.dtype) != (shape, dtype):
        raise UsageError(
            f"{weight.describe()} has changed: the program was compiled for {dtype}{list(shape)}",
            hint="compile again, or bring the old weight file back",
        )
    return weight
