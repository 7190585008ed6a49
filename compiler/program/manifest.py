"""`manifest.json` of a program file: everything but streams, constants and weight bytes, as JSON.

Keys are sorted and numbers are plain, so equal programs have equal manifests. `manifest_schema` is
its form, in both directions. Reading trusts nothing: whatever does not have the expected form is a
ProgramFormatError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.program import HbmTensor, Packing, Program, TensorKind
from axonc.diagnostics import ProgramFormatError
from axonc.program.compiled_program import CompiledProgram, HostTensor, Limits, StageRecord
from axonc.program.manifest_schema import (
    ContentFacts,
    Header,
    HostFacts,
    LimitsFacts,
    Manifest,
    PackingFacts,
    ProgramFacts,
    ShardingFacts,
    SourceArgumentFacts,
    SourceFacts,
    StageFacts,
    TensorFacts,
    WeightFacts,
)
from axonc.program.source import ProgramSource, SourceArgument
from axonc.sharding import Mesh, Sharding
from axonc.version import __version__

FORMAT = "axonc-program"
FORMAT_VERSION = 3


# ---- writing


def manifest_of(
    compiled: CompiledProgram,
    constants: Sequence[Mapping[str, int]],
    references: Mapping[str, Mapping[str, WeightFacts]],
    files: Mapping[str, ContentFacts],
    members: Mapping[str, ContentFacts],
) -> Manifest:
    """The manifest. constants: for each program, offset in `constants.bin` by tensor name;
    references: where the bytes of weights and of the first values of state are, by section and
    argument name; files, members: what is in the weight files and in the archive."""
    first = _program_facts(compiled.program, constants[0])
    return Manifest(
        **msgspec.structs.asdict(first),
        format=FORMAT,
        format_version=FORMAT_VERSION,
        producer=f"axonc {__version__}",
        target=compiled.program.target,
        options=compiled.options,
        source_sha256=compiled.source_hash,
        stages=[StageFacts(s.name, s.ir_hash) for s in compiled.stages],
        inputs=[_host_facts(t) for t in compiled.inputs],
        results=[_host_facts(t) for t in compiled.results],
        weights=dict(references["weights"]),
        initial_state=dict(references["initial_state"]),
        open_state={name: list(results) for name, results in compiled.open_state.items()},
        files=dict(files),
        members=dict(members),
        cores=compiled.program.cores,
        groups=[[list(group) for group in entry] for entry in compiled.program.groups],
        weight_shardings={
            name: _sharding_facts(sharding)
            for name, sharding in compiled.weight_shardings.items()
            if name in references["weights"]  # the others are not used
        },
        others=[_program_facts(p, c) for p, c in zip(compiled.others, constants[1:], strict=True)],
        program_of=list(compiled.program_of),
        casts=list(compiled.casts),
        shardings=list(compiled.shardings),
        source_program=None if compiled.source is None else _source_facts(compiled.source),
    )


def manifest_text(manifest: Manifest) -> bytes:
    """As it is written: sorted keys, a line each."""
    text = msgspec.json.encode(manifest, order="sorted")
    return msgspec.json.format(text, indent=1) + b"\n"


def _program_facts(program: Program, constants: Mapping[str, int]) -> ProgramFacts:
    return ProgramFacts(
        tensors=[_tensor_facts(t, constants) for t in program.tensors],
        engines=list(program.streams),
        sbuf_peak_bytes=program.sbuf_peak_bytes,
        notes=list(program.notes),
    )


def _host_facts(tensor: HostTensor) -> HostFacts:
    sharding = None if tensor.sharding is None else _sharding_facts(tensor.sharding)
    shape = [int(n) for n in tensor.shape]
    limits = None if tensor.limits is None else LimitsFacts(**vars(tensor.limits))
    return HostFacts(tensor.name, shape, tensor.dtype, sharding, tensor.state_of, limits)


def _sharding_facts(sharding: Sharding) -> ShardingFacts:
    return ShardingFacts(
        [(name, int(size)) for name, size in sharding.mesh.axes],
        [list(axes) for axes in sharding.dim_axes],
    )


def _source_facts(source: ProgramSource) -> SourceFacts:
    arguments = [
        SourceArgumentFacts(
            a.name,
            [int(n) for n in a.shape],
            a.dtype,
            a.is_weight,
            None if a.sharding is None else _sharding_facts(a.sharding),
        )
        for a in source.arguments
    ]
    return SourceFacts(
        arguments=arguments,
        result_names=list(source.result_names),
        mesh=None if source.mesh is None else [(n, int(size)) for n, size in source.mesh.axes],
        result_shardings=[_sharding_facts(s) for s in source.result_shardings],
        sharding_notes=list(source.sharding_notes),
        aliases=dict(source.aliases),
    )


def _tensor_facts(tensor: HbmTensor, constants: Mapping[str, int]) -> TensorFacts:
    return TensorFacts(
        name=tensor.name,
        kind=tensor.kind,
        address=int(tensor.address),
        shape=[int(n) for n in tensor.shape],
        dtype=tensor.dtype.name,
        host_dtype=tensor.host_dtype,
        source=tensor.source,
        alias=tensor.alias,
        packing=None if tensor.packing is None else _packing_facts(tensor.packing),
        constant_offset=constants.get(tensor.name),
    )


def _packing_facts(packing: Packing) -> PackingFacts:
    return PackingFacts(
        row_dims=[(int(stride), int(size)) for stride, size in packing.row_dims],
        column_dims=[(int(stride), int(size)) for stride, size in packing.column_dims],
        offset=int(packing.offset),
        partition_tile=int(packing.partition_tile),
        column_block=int(packing.column_block),
    )


# ---- reading


def read_manifest(text: bytes, *, where: str) -> Manifest:
    """The manifest in its form; its values may still contradict each other.

    Raises:
        ProgramFormatError: not a manifest, or one of another format version.
    """
    try:
        header = msgspec.json.decode(text, type=Header)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ProgramFormatError(f"{where}: its manifest.json is not one of axonc") from None
    if (header.format, header.format_version) != (FORMAT, FORMAT_VERSION):
        raise ProgramFormatError(
            f"{where}: made by {header.producer} in format {header.format} "
            f"{header.format_version}; axonc {__version__} needs {FORMAT} {FORMAT_VERSION}",
            hint="compile the model again with this version",
        )
    try:
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProgramFormatError(f"{where}: its manifest.json is damaged: {error}") from None


def host_tensor(facts: HostFacts) -> HostTensor:
    """Raises: UsageError for a sharding that is none."""
    sharding = None if facts.sharding is None else sharding_of(facts.sharding)
    limits = None if facts.limits is None else Limits(**msgspec.structs.asdict(facts.limits))
    shape = tuple(facts.shape)
    return HostTensor(facts.name, shape, facts.dtype, sharding, facts.state_of, limits)


def source_of_facts(facts: SourceFacts, module: bytes) -> ProgramSource:
    """module: the content of source.mlirbc. Raises: UsageError for a sharding that is none."""
    arguments = (
        SourceArgument(
            a.name,
            tuple(a.shape),
            a.dtype,
            a.is_weight,
            None if a.sharding is None else sharding_of(a.sharding),
        )
        for a in facts.arguments
    )
    return ProgramSource(
        module,
        tuple(arguments),
        tuple(facts.result_names),
        None if facts.mesh is None else Mesh(tuple(facts.mesh)),
        tuple(map(sharding_of, facts.result_shardings)),
        tuple(facts.sharding_notes),
        facts.aliases,
    )


def stage_record(facts: StageFacts) -> StageRecord:
    return StageRecord(facts.name, facts.ir_sha256)


def sharding_of(facts: ShardingFacts) -> Sharding:
    """Raises: UsageError for a mesh or a sharding that is none."""
    return Sharding(Mesh(tuple(facts.mesh)), tuple(tuple(axes) for axes in facts.dim_axes))


def tensor_of(facts: TensorFacts, constants: bytes) -> HbmTensor:
    """constants: the content of constants.bin. The facts have been verified."""
    tensor = HbmTensor(
        name=facts.name,
        kind=facts.kind,
        address=facts.address,
        shape=tuple(facts.shape),
        dtype=DTYPES[facts.dtype],
        host_dtype=facts.host_dtype,
        packing=None if facts.packing is None else packing_of(facts.packing),
        source=facts.source,
        alias=facts.alias,
    )
    if facts.kind is not TensorKind.CONSTANT:
        return tensor
    start = facts.constant_offset or 0
    data = constants[start : start + tensor.size_bytes]
    return HbmTensor(**{**vars(tensor), "data": data})


def packing_of(facts: PackingFacts) -> Packing:
    return Packing(
        tuple(facts.row_dims),
        tuple(facts.column_dims),
        facts.offset,
        facts.partition_tile,
        facts.column_block,
    )
