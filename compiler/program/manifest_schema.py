"""The form of `manifest.json`: what each value is, and the bounds it has by itself.

Decoding with it is the first step of reading a program file; how values have to fit each other is
checked by `verify_facts`. Bounds are those of the format, far beyond any machine; what the machine
of the program can hold is less.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from axonc.backends.program import TensorKind
from axonc.backends.targets.target import Engine
from axonc.options import CompileOptions

Size = Annotated[int, Meta(ge=0, le=1 << 48)]
Count = Annotated[int, Meta(ge=1, le=1 << 48)]
Stride = Annotated[int, Meta(ge=-(1 << 48), le=1 << 48)]
Name = Annotated[str, Meta(max_length=1 << 16)]
Shape = Annotated[list[Size], Meta(max_length=64)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Facts(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A JSON object with these keys and no others."""


class Header(msgspec.Struct):
    """What is read before anything else is known of the format."""

    format: str
    format_version: int
    producer: str = "an unknown producer"


class ShardingFacts(Facts):
    """Which part of a tensor each core has."""

    mesh: list[tuple[Name, Count]]
    """The axes: (name, size)."""
    dim_axes: list[list[Name]]
    """By dim, the axes it is cut along."""


class LimitsFacts(Facts):
    """Which integers of an input reach the machine."""

    low: Annotated[int, Meta(ge=-(1 << 31), le=0)]
    high: Annotated[int, Meta(ge=0, lt=1 << 32)]
    saturates: bool


class HostFacts(Facts):
    """An input or a result."""

    name: Name
    shape: Shape
    dtype: Name
    sharding: ShardingFacts | None = None
    state_of: Name = ""
    limits: LimitsFacts | None = None


class PackingFacts(Facts):
    """`axonc.backends.program.Packing`."""

    row_dims: list[tuple[Stride, Count]]
    column_dims: list[tuple[Stride, Count]]
    offset: Size
    partition_tile: Count
    column_block: Count


class TensorFacts(Facts):
    """A tensor in device memory."""

    name: Name
    kind: TensorKind
    address: Size
    shape: Shape
    dtype: Name
    host_dtype: Name
    source: Name
    alias: Name = ""
    packing: PackingFacts | None = None
    constant_offset: Size | None = None
    """Where its bytes lie in `constants.bin`."""


class RuleFacts(Facts):
    """How a weight is derived from another one."""

    source: Name
    part: Name
    format: Name
    kept: list[Size]


class WeightFacts(Facts):
    """Where a tensor is: at `offset` of weights.bin, under `key` of a file, nowhere, or `rule` says
    how it is made from another one."""

    shape: Shape
    dtype: Name
    offset: Size | None = None
    file: Name = ""
    key: Name = ""
    stored_shape: Shape | None = None
    absent: bool = False
    rule: RuleFacts | None = None
    made_from: WeightFacts | None = msgspec.field(default=None, name="from")


class ContentFacts(Facts):
    """What is in a file or member."""

    size_bytes: Size
    blake3: Hash


class StageFacts(Facts):
    """A pass, and the hash of the IR it left."""

    name: Name
    ir_sha256: Name


class ProgramFacts(Facts):
    """What differs between the programs of a file."""

    tensors: list[TensorFacts]
    engines: list[Engine]
    sbuf_peak_bytes: Size
    notes: list[str]


class SourceArgumentFacts(Facts):
    """An argument of the program as it was before it was compiled."""

    name: Name
    shape: Shape
    dtype: Name
    is_weight: bool
    sharding: ShardingFacts | None = None


class SourceFacts(Facts):
    """Of source.mlirbc, what the module does not say itself."""

    arguments: list[SourceArgumentFacts]
    result_names: list[Name]
    mesh: list[tuple[Name, Count]] | None
    result_shardings: list[ShardingFacts]
    sharding_notes: list[str]
    aliases: dict[str, Name]


class Manifest(ProgramFacts):
    """All facts of a compiled program."""

    format: str
    format_version: int
    producer: str
    target: Name
    options: CompileOptions
    source_sha256: Name
    stages: list[StageFacts]
    inputs: list[HostFacts]
    results: list[HostFacts]
    weights: dict[str, WeightFacts]
    initial_state: dict[str, WeightFacts]
    open_state: dict[str, list[Name]]
    files: dict[str, ContentFacts]
    """The content of the weight files, by path."""
    members: dict[str, ContentFacts]
    """The content of the other members of the archive, by name."""
    cores: Count
    groups: list[list[list[Size]]]
    weight_shardings: dict[str, ShardingFacts]
    others: list[ProgramFacts]
    program_of: list[Size]
    casts: list[str]
    shardings: list[str]
    source_program: SourceFacts | None
