"""The file of a compiled program, `docs/reference/program-file.md`: a zip archive of

    streams/<engine>.bin     encoded instructions
    locations.json           [name, file, line, column, is_lookup] of every source location
    locations/<engine>.bin   per instruction: index into locations.json, int32 little-endian
    programs/<n>/...         the same of the n-th program, where cores run different ones
    constants.bin            bytes of the program's own constants
    source.mlirbc            the program it was compiled from, to compile it again
    weights.bin              bytes of weights that no file holds (or --embed-weights)
    manifest.json            target, inputs, results, tensors, weight references, options, hashes
    manifest.blake3          hash of the manifest, which has those of all others

Weights of files stay where they are and are named by path and key: relative to the program file
when they lie in its folder or below, else absolute; the manifest says what is in them. The same
program gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import blake3
import msgspec
import numpy as np

from axonc.backends.program import Program
from axonc.backends.targets.target import Engine
from axonc.diagnostics import SourceLocation, UsageError, nearest
from axonc.output_files import written_whole
from axonc.program.archive import Archive, write_archive
from axonc.program.compiled_program import CompiledProgram
from axonc.program.manifest import (
    host_tensor,
    manifest_of,
    manifest_text,
    read_manifest,
    sharding_of,
    source_of_facts,
    stage_record,
    tensor_of,
)
from axonc.program.manifest_schema import (
    ContentFacts,
    Manifest,
    ProgramFacts,
    RuleFacts,
    WeightFacts,
)
from axonc.program.source import ProgramSource
from axonc.program.verify_facts import BadFactError, programs_of, verify_facts
from axonc.weights.content_hash import Content
from axonc.weights.derived import (
    DerivedWeight,
    derived_weight,
    rule_json,
    rule_of_json,
    storage_of_source,
    weight_files,
)
from axonc.weights.open_file import OpenFile
from axonc.weights.references import (
    Absent,
    FileRegion,
    HeldArray,
    WeightRef,
    ZipMember,
    open_weight_file,
)

MANIFEST, SEAL, LOCATIONS, CONSTANTS, WEIGHTS, SOURCE = (
    "manifest.json", "manifest.blake3", "locations.json", "constants.bin", "weights.bin",
    "source.mlirbc",
)  # fmt: skip
SECTIONS = ("weights", "initial_state")
"""Sections of the manifest with tensors that lie in files or in weights.bin."""
Key = TypeVar("Key", tuple[str, str], tuple[int, str])
Pieces = Iterator[bytes | memoryview]
_INDEX_DTYPE = np.dtype("<i4")
_ALIGNMENT = 64  # of constants and weights inside their member


def write_program(
    compiled: CompiledProgram, path: str | Path, *, embed_weights: bool = False
) -> None:
    """Write the program file; it appears whole or not at all.

    Raises:
        UsageError: the file cannot be written, or is a weight file; or one cannot be read or has
            changed.
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
    files = _contents(stored[key] for key in stored if key not in embedded)
    offsets = _constant_offsets(compiled.programs)

    def text(members: Mapping[str, ContentFacts]) -> bytes:
        named = {_reference_to(file, path): content for file, content in files.items()}
        return manifest_text(manifest_of(compiled, offsets, references, named, members))

    pieces = (_bytes_of(stored[key]) for key in embedded)
    with written_whole(path, weight_files(stored.values())) as file:
        members = _members(compiled, pieces if embedded else None)
        write_archive(file, _sealed(members, text))


def read_program(
    path: str | Path, *, trust_weights: bool = False, with_weights: bool = True
) -> CompiledProgram:
    """Read a program file. Weights of files are found and checked; their bytes are read when the
    program first runs, and must be those it was compiled with unless trust_weights. Without
    weights those files are not looked for: the program can be looked at, but not run.

    Raises:
        ProgramFormatError: damaged, foreign, or of another format version.
        UsageError: no such file, or a weight file it refers to is gone or has changed.
    """
    archive = Archive(Path(path))
    manifest = _verified_manifest(archive)
    programs = _read_programs(archive, manifest)
    files = _WeightFiles(archive, manifest, trust_weights) if with_weights else None
    tensors = _read_tensors(archive, manifest, files)
    return CompiledProgram(
        program=programs[0],
        inputs=tuple(map(host_tensor, manifest.inputs)),
        results=tuple(map(host_tensor, manifest.results)),
        weights=tensors["weights"],
        initial_state=tensors["initial_state"],
        open_state={name: tuple(results) for name, results in manifest.open_state.items()},
        options=manifest.options,
        source_hash=manifest.source_sha256,
        stages=tuple(map(stage_record, manifest.stages)),
        casts=tuple(manifest.casts),
        shardings=tuple(manifest.shardings),
        weight_shardings={n: sharding_of(s) for n, s in manifest.weight_shardings.items()},
        others=programs[1:],
        program_of=tuple(manifest.program_of),
        is_foreign=True,
        source=_read_source(archive, manifest),
    )


def _read_source(archive: Archive, manifest: Manifest) -> ProgramSource | None:
    facts = manifest.source_program
    return None if facts is None else source_of_facts(facts, archive.read(SOURCE))


def _verified_manifest(archive: Archive) -> Manifest:
    """The manifest, which has the right form, fits itself and the members, and is the one that was
    written; so are the members."""
    text = archive.read(MANIFEST)
    manifest = read_manifest(text, where=str(archive.path))
    sizes = archive.sizes
    for name, content in manifest.members.items():
        if sizes.get(name) != content.size_bytes:
            raise archive.damaged(f"member {name} has {sizes.get(name)} bytes")
    unknown = sizes.keys() - manifest.members.keys() - {MANIFEST, SEAL}
    if unknown:
        raise archive.damaged(f"member {min(unknown)} does not belong there")
    for name in _needed(manifest):
        if name not in manifest.members:
            raise archive.damaged(f"member {name} is missing")
    try:
        verify_facts(manifest, {name: sizes[name] for name in manifest.members})
    except BadFactError as error:
        raise archive.damaged(str(error)) from None
    if archive.read(SEAL).decode("ascii", "replace") != blake3.blake3(text).hexdigest():
        raise archive.damaged("its manifest is not the one that was written")
    for name, content in manifest.members.items():
        if Content.of(archive.view(name)).blake3 != content.blake3:
            raise archive.damaged(f"member {name} is not the one that was written")
    return manifest


def _needed(manifest: Manifest) -> Iterator[str]:
    yield CONSTANTS
    if manifest.source_program is not None:
        yield SOURCE
    for number, program in enumerate(programs_of(manifest)):
        yield _folder(number) + LOCATIONS
        for engine in program.engines:
            yield f"{_folder(number)}streams/{engine.value}.bin"


# ---- members ---------------------------------------------------------------------------------


def _members(compiled: CompiledProgram, weights: Pieces | None) -> Iterator[tuple[str, Pieces]]:
    for number, program in enumerate(compiled.programs):
        yield from _program_members(program, _folder(number))
    constants = (t.data for program in compiled.programs for t in program.tensors)
    yield CONSTANTS, _aligned(data for data in constants if data is not None)
    if compiled.source is not None:
        yield SOURCE, iter([compiled.source.module])
    if weights is not None:
        yield WEIGHTS, _aligned(weights)


def _sealed(
    members: Iterator[tuple[str, Pieces]],
    manifest: Callable[[Mapping[str, ContentFacts]], bytes],
) -> Iterator[tuple[str, Pieces]]:
    """The members, then the manifest, which says what was in them, and its hash. Each member has to
    be written before the next is asked for."""
    contents: dict[str, ContentFacts] = {}
    for name, pieces in members:
        yield name, _noted(name, pieces, contents)
    text = manifest(contents)
    yield MANIFEST, iter([text])
    yield SEAL, iter([blake3.blake3(text).hexdigest().encode()])


def _noted(name: str, pieces: Pieces, contents: dict[str, ContentFacts]) -> Pieces:
    """The pieces; when they have been written, `contents` says what they were."""
    hasher, size = blake3.blake3(max_threads=blake3.blake3.AUTO), 0
    for piece in pieces:
        hasher.update(piece)
        size += len(piece)
        yield piece
    contents[name] = ContentFacts(size, hasher.hexdigest())


def _folder(number: int) -> str:
    """Where the members of a program are: the first one's at the top."""
    return f"programs/{number}/" if number else ""


def _program_members(program: Program, folder: str) -> Iterator[tuple[str, Pieces]]:
    for engine, data in program.streams.items():
        yield f"{folder}streams/{engine.value}.bin", iter([data])
    yield folder + LOCATIONS, iter([_locations_text(program)])
    for engine, indices in program.instruction_locations.items():
        data = np.ascontiguousarray(indices, _INDEX_DTYPE).tobytes()
        yield f"{folder}locations/{engine.value}.bin", iter([data])


def _aligned(pieces: Iterable[bytes | memoryview]) -> Pieces:
    """The pieces, each padded so that the next begins at a multiple of the alignment."""
    for piece in pieces:
        yield piece
        yield bytes(-len(piece) % _ALIGNMENT)


def _bytes_of(weight: WeightRef) -> memoryview:
    return np.ascontiguousarray(weight.load()).reshape(-1).view(np.uint8).data


def _locations_text(program: Program) -> bytes:
    rows = [(w.name, w.file, w.line, w.column, w.is_lookup) for w in program.locations]
    return msgspec.json.format(msgspec.json.encode(rows), indent=0) + b"\n"


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


def _read_programs(archive: Archive, manifest: Manifest) -> tuple[Program, ...]:
    constants = archive.read(CONSTANTS)
    return tuple(
        _read_program(archive, manifest, facts, constants, _folder(number))
        for number, facts in enumerate(programs_of(manifest))
    )


def _read_program(
    archive: Archive, manifest: Manifest, facts: ProgramFacts, constants: bytes, folder: str
) -> Program:
    locations = _read_locations(archive, folder)
    return Program(
        target=manifest.target,
        streams={e: archive.read(f"{folder}streams/{e.value}.bin") for e in facts.engines},
        tensors=tuple(tensor_of(t, constants) for t in facts.tensors),
        locations=locations,
        instruction_locations=_read_indices(archive, facts.engines, folder, len(locations)),
        sbuf_peak_bytes=facts.sbuf_peak_bytes,
        notes=tuple(facts.notes),
        cores=manifest.cores,
        groups=tuple(tuple(tuple(group) for group in entry) for entry in manifest.groups),
    )


_Row = tuple[str, str, int, int, bool]
"""A row of locations.json: the fields of a SourceLocation."""


def _read_locations(archive: Archive, folder: str) -> tuple[SourceLocation, ...]:
    name = folder + LOCATIONS
    try:
        rows = msgspec.json.decode(archive.view(name).data, type=list[_Row])
    except (msgspec.DecodeError, RecursionError) as error:
        raise archive.damaged(f"member {name}: {error}") from None
    return tuple(SourceLocation(*row) for row in rows)


def _read_indices(
    archive: Archive, engines: list[Engine], folder: str, count: int
) -> dict[Engine, np.ndarray]:
    """Per engine, numbers of the `count` locations."""
    found: dict[Engine, np.ndarray] = {}
    for engine in engines:
        name = f"{folder}locations/{engine.value}.bin"
        if name not in archive:
            continue
        data = archive.read(name)
        if len(data) % _INDEX_DTYPE.itemsize:
            raise archive.damaged(f"member {name} has {len(data)} bytes")
        indices = np.frombuffer(data, _INDEX_DTYPE)
        if len(indices) and not 0 <= indices.min() <= indices.max() < count:
            raise archive.damaged(f"member {name} names more than {count} locations")
        found[engine] = indices
    return found


# ---- weights ---------------------------------------------------------------------------------


def _stored(compiled: CompiledProgram) -> dict[tuple[str, str], WeightRef]:
    """The tensors that go along, by section and name, sorted: weights the program uses, first
    values of state."""
    used = {t.source for p in compiled.programs for t in p.tensors}
    weights = {("weights", n): ref for n, ref in compiled.weights.items() if n in used}
    state = {("initial_state", n): ref for n, ref in compiled.initial_state.items()}
    return dict(sorted((weights | state).items()))


def _embedded(
    stored: dict[tuple[str, str], WeightRef], everything: bool
) -> dict[tuple[str, str], int]:
    """Offset in weights.bin of those whose bytes travel in the program file."""
    held = {key: ref.size_bytes for key, ref in stored.items() if everything or _is_held(ref)}
    return _offsets(held)


def _is_held(weight: WeightRef) -> bool:
    """Whether no weight file has the bytes, or those they are derived from: they are in memory, or
    in the file of a program."""
    storage = storage_of_source(weight)
    in_program = isinstance(storage, FileRegion) and storage.in_program
    return in_program or isinstance(storage, HeldArray)


def _contents(weights: Iterable[WeightRef]) -> dict[Path, ContentFacts]:
    """What is in the files that the weights refer to.

    Raises:
        UsageError: one of them has changed.
    """
    found: dict[Path, ContentFacts] = {}
    for weight in weights:
        storage = storage_of_source(weight)
        if isinstance(storage, FileRegion | ZipMember) and storage.file.path not in found:
            storage.file.verify()
            content = storage.file.content()
            found[storage.file.path] = ContentFacts(content.size_bytes, content.blake3)
    return found


def _reference(weight: WeightRef, path: Path, offset: int | None = None) -> WeightFacts:
    """Where a weight is, or how to make it. offset: in weights.bin, if it travels along."""
    facts = WeightFacts([int(n) for n in weight.shape], weight.dtype, offset=offset)
    storage = weight.storage
    if offset is not None:
        return facts
    if isinstance(storage, Absent):
        facts.absent = True
    if isinstance(storage, DerivedWeight):
        facts.rule = RuleFacts(**rule_json(storage.rule))
        facts.made_from = _reference(storage.source, path)
    if isinstance(storage, FileRegion | ZipMember):
        facts.file, facts.key = _reference_to(storage.file.path, path), storage.key
        if weight.stored_shape is not None:
            facts.stored_shape = [int(n) for n in weight.stored_shape]
    return facts


def _reference_to(weight_file: Path, program_file: Path) -> str:
    """Relative (with forward slashes) when the program file can be moved along with it."""
    absolute, folder = weight_file.resolve(), program_file.resolve().parent
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return os.fspath(absolute)


class _WeightFiles:
    """The weight files a program refers to, each opened once."""

    def __init__(self, archive: Archive, manifest: Manifest, trust: bool) -> None:
        self._folder = archive.path.resolve().parent
        self._contents = {} if trust else manifest.files
        self._opened: dict[str, dict[str, WeightRef]] = {}

    def tensors(self, file: str) -> dict[str, WeightRef]:
        if file not in self._opened:
            facts = self._contents.get(file)
            expected = None if facts is None else Content(facts.size_bytes, facts.blake3)
            self._opened[file] = open_weight_file(self._folder / file, expected)
        return self._opened[file]


def _read_tensors(
    archive: Archive, manifest: Manifest, files: _WeightFiles | None
) -> dict[str, dict[str, WeightRef]]:
    """The tensors of each section, by name; without files, those of files have no data."""
    base = archive.data_offset(WEIGHTS) if WEIGHTS in archive else 0
    return {
        section: {
            name: _embedded_weight(archive.file, name, facts, base + facts.offset)
            if facts.offset is not None
            else _referred_weight(name, facts, files)
            for name, facts in getattr(manifest, section).items()
        }
        for section in SECTIONS
    }


def _embedded_weight(file: OpenFile, name: str, facts: WeightFacts, offset: int) -> WeightRef:
    return WeightRef(tuple(facts.shape), facts.dtype, FileRegion(file, name, offset, True))


def _referred_weight(name: str, facts: WeightFacts, files: _WeightFiles | None) -> WeightRef:
    """The reverse of `_reference`."""
    shape = tuple(facts.shape)
    if facts.absent or files is None:
        return WeightRef.absent(shape, facts.dtype, name=name)
    if facts.rule is not None and facts.made_from is not None:
        rule = rule_of_json(name, msgspec.structs.asdict(facts.rule))
        return derived_weight(_referred_weight(rule.source, facts.made_from, files), rule)
    stored = shape if facts.stored_shape is None else tuple(facts.stored_shape)
    weight = _file_weight(files.tensors(facts.file), facts.file, facts.key, stored, facts.dtype)
    return weight if stored == shape else weight.reshaped(shape)


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
