"""Whether the values of a manifest fit each other, the members of the archive and the machine.

Done before anything is allocated: what passes names sizes that the machine has, offsets inside of
what they are offsets of, and tensors that do not lie on each other. A value that does not is an
error that names it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from axonc.backends.numerics.dtypes import DTYPES, F32, U32
from axonc.backends.numerics.wide_integers import COMPLEX, are_words
from axonc.backends.program import TensorKind
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Target
from axonc.diagnostics import AxoncError
from axonc.program.manifest import packing_of, sharding_of
from axonc.program.manifest_schema import (
    HostFacts,
    Manifest,
    ProgramFacts,
    ShardingFacts,
    TensorFacts,
    WeightFacts,
)
from axonc.weights.derived import rule_of_json
from axonc.weights.references import NUMPY_OF_MLIR

Sizes = dict[str, int]
"""Bytes of the members of the archive, by name."""


class BadFactError(Exception):
    """A value of the manifest that cannot be; a sentence."""


def verify_facts(manifest: Manifest, members: Sizes) -> None:
    """Raises: BadFactError."""
    try:
        _verify(manifest, members)
    except AxoncError as error:
        raise BadFactError(error.message) from None


def _verify(manifest: Manifest, members: Sizes) -> None:
    target = _target(manifest)
    _verify_cores(manifest, target)
    _verify_hosts(manifest)
    for section in (manifest.weights, manifest.initial_state):
        for name, weight in section.items():
            _verify_weight(f"weight '{name}'", weight, manifest, members)
    for name, sharding in manifest.weight_shardings.items():
        _require(name in manifest.weights, f"a sharding of '{name}', which is no weight")
        _verify_sharding(f"weight '{name}'", manifest.weights[name].shape, sharding, manifest)
    for program in programs_of(manifest):
        _verify_program(program, manifest, target, members)
    _verify_tensors_of_hosts(manifest)


def programs_of(manifest: Manifest) -> list[ProgramFacts]:
    """The facts of each program; that of the manifest itself is the first."""
    return [manifest, *manifest.others]


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise BadFactError(otherwise)


def _unique(what: str, names: Iterable[str]) -> None:
    found = list(names)
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise BadFactError(f"two {what}s are named '{twice}'")


# ---- the machine


def _target(manifest: Manifest) -> Target:
    known = manifest.target in TARGETS
    _require(known, f"it is for '{manifest.target}', which is no target")
    return TARGETS[manifest.target]


def _verify_cores(manifest: Manifest, target: Target) -> None:
    cores, count = manifest.cores, len(manifest.others) + 1
    _require(cores <= target.max_cores, f"{cores} cores; {target.name} has {target.max_cores}")
    if count > 1 or manifest.program_of:
        fits = len(manifest.program_of) == cores
        fits &= set(manifest.program_of) == set(range(count))
        _require(fits, f"program_of is {manifest.program_of} for {count} programs")
    for entry in manifest.groups:
        members = [core for group in entry for core in group]
        fits = len(set(members)) == len(members) and all(core < cores for core in members)
        _require(fits, f"groups {entry} of {cores} cores")


# ---- inputs and results


def _verify_hosts(manifest: Manifest) -> None:
    inputs = {host.name: host for host in manifest.inputs}
    results = {host.name for host in manifest.results}
    for what, hosts in (("input", manifest.inputs), ("result", manifest.results)):
        _unique(what, (host.name for host in hosts))
        for host in hosts:
            _require(host.dtype in NUMPY_OF_MLIR, f"{what} '{host.name}' is {host.dtype}")
            if host.sharding is not None:
                _verify_sharding(f"{what} '{host.name}'", host.shape, host.sharding, manifest)
    for host in manifest.results:
        old = inputs.get(host.state_of)
        fits = not host.state_of or (old is not None and _type(old) == _type(host))
        _require(fits, f"result '{host.name}' is the new value of '{host.state_of}'")
    for name, candidates in manifest.open_state.items():
        fits = name in inputs and set(candidates) <= results
        _require(fits, f"'{name}' becomes one of {candidates}")
    for name, weight in manifest.initial_state.items():
        fits = name in inputs and _type(inputs[name]) == _type(weight)
        _require(fits, f"a first value of '{name}', which is no input of its type")


def _type(facts: HostFacts | WeightFacts) -> tuple[list[int], str]:
    return facts.shape, facts.dtype


def _verify_sharding(
    what: str, shape: Sequence[int], facts: ShardingFacts, manifest: Manifest
) -> None:
    """Raises also: UsageError of the sharding itself."""
    sharding = sharding_of(facts)
    fits = sharding.mesh.size == manifest.cores
    _require(fits, f"{what} is spread over {sharding.mesh}, there are {manifest.cores} cores")
    sharding.local_shape(tuple(shape))


def _local_shape(shape: Sequence[int], sharding: ShardingFacts | None) -> tuple[int, ...]:
    whole = tuple(shape)
    return whole if sharding is None else sharding_of(sharding).local_shape(whole)


# ---- weights


def _verify_weight(what: str, weight: WeightFacts, manifest: Manifest, members: Sizes) -> None:
    _require(weight.dtype in NUMPY_OF_MLIR, f"{what} is {weight.dtype}")
    size = math.prod(weight.shape) * NUMPY_OF_MLIR[weight.dtype].itemsize
    ways = (weight.offset is not None, bool(weight.file), weight.absent, weight.rule is not None)
    _require(sum(ways) == 1, f"{what} is in {sum(ways)} places")
    if weight.offset is not None:
        held = members.get("weights.bin", 0)
        _require(
            weight.offset + size <= held,
            f"{what} is at bytes {weight.offset} to {weight.offset + size} of weights.bin, which "
            f"has {held}",
        )
    _require(not weight.file or weight.file in manifest.files, f"no content of {weight.file}")
    stored = weight.shape if weight.stored_shape is None else weight.stored_shape
    _require(
        math.prod(stored) == math.prod(weight.shape),
        f"{what} is stored as {stored}, it is {weight.shape}",
    )
    if weight.rule is not None:
        _verify_derived(what, weight, manifest, members)


def _verify_derived(what: str, weight: WeightFacts, manifest: Manifest, members: Sizes) -> None:
    source, facts = weight.made_from, weight.rule
    if source is None or facts is None:
        raise BadFactError(f"{what} is made from nothing")
    _require(source.rule is None, f"{what} is made from what is made itself")
    _verify_weight(f"what {what} is made from", source, manifest, members)
    try:
        rule = rule_of_json("", msgspec.structs.asdict(facts))
    except ValueError as error:
        raise BadFactError(f"{what}: {error}") from None
    made = list(rule.shape(tuple(source.shape))), rule.dtype
    fits = made == _type(weight) and all(axis < len(source.shape) for axis in rule.kept)
    _require(fits, f"{what} is {weight.dtype}{weight.shape}, its rule makes {made}")


# ---- device memory


def _verify_program(
    program: ProgramFacts, manifest: Manifest, target: Target, members: Sizes
) -> None:
    _unique("engine", (engine.value for engine in program.engines))
    peak, most = program.sbuf_peak_bytes, target.sbuf_partition_bytes
    _require(peak <= most, f"{peak} bytes of SBUF per partition; {target.name} has {most}")
    for kind in TensorKind:
        _unique(f"{kind.value} tensor", (t.name for t in program.tensors if t.kind is kind))
    for tensor in program.tensors:
        _verify_tensor(tensor, program, manifest, members)
    _verify_places(program, target)


def _verify_tensor(
    tensor: TensorFacts, program: ProgramFacts, manifest: Manifest, members: Sizes
) -> None:
    what = f"{tensor.kind.value} tensor '{tensor.name}'"
    _require(tensor.dtype in DTYPES, f"{what} is {tensor.dtype}")
    is_weight, is_constant = (tensor.kind is k for k in (TensorKind.WEIGHT, TensorKind.CONSTANT))
    _require(is_weight or tensor.packing is None, f"{what} is packed")
    _require(is_constant == (tensor.constant_offset is not None), f"{what}: constant_offset")
    if is_constant:
        end, held = (tensor.constant_offset or 0) + size_bytes(tensor), members["constants.bin"]
        _require(end <= held, f"{what} ends at byte {end} of constants.bin, which has {held}")
    if is_weight:
        _verify_source(what, tensor, manifest)
    if tensor.kind is TensorKind.RANK:
        _require(size_bytes(tensor) == 4, f"{what} has {size_bytes(tensor)} bytes")
    if tensor.alias:
        inputs = {t.name: t for t in program.tensors if t.kind is TensorKind.INPUT}
        old = inputs.get(tensor.alias)
        fits = old is not None and tensor.kind is TensorKind.OUTPUT
        fits = fits and old is not None and size_bytes(old) == size_bytes(tensor)
        _require(fits, f"{what} lies in '{tensor.alias}'")


def _verify_source(what: str, tensor: TensorFacts, manifest: Manifest) -> None:
    """The weight a tensor is made from has all elements it wants."""
    weight = manifest.weights.get(tensor.source)
    if weight is None:
        raise BadFactError(f"{what} is made from '{tensor.source}', which is no weight")
    local = _local_shape(weight.shape, manifest.weight_shardings.get(tensor.source))
    count = math.prod(local)
    if tensor.packing is None:
        fits = math.prod(tensor.shape) == count or _has_words(tensor, local, weight.dtype)
        _require(fits, f"{what} is {tensor.shape}, its weight {list(local)}")
        return
    packing = packing_of(tensor.packing)
    dims = (*packing.row_dims, *packing.column_dims)
    first = packing.offset + sum(min(0, stride * (size - 1)) for stride, size in dims)
    last = packing.offset + sum(max(0, stride * (size - 1)) for stride, size in dims)
    fits = first >= 0 and last < count and len(dims) <= MAX_PACKING_DIMS
    _require(fits, f"{what} reads elements {first} to {last} of a weight of {count}")


MAX_PACKING_DIMS = 32
"""numpy has up to 64 dims."""


def size_bytes(tensor: TensorFacts) -> int:
    """In device memory."""
    shape: Sequence[int] = tensor.shape
    if tensor.packing is not None:
        shape = packing_of(tensor.packing).packed_shape
    return math.prod(shape) * DTYPES[tensor.dtype].size_bytes


def _verify_places(program: ProgramFacts, target: Target) -> None:
    """Inside of device memory, and not on each other."""
    spans = sorted(
        (t.address, t.address + size_bytes(t), t.name)
        for t in program.tensors
        if not t.alias and size_bytes(t)
    )
    for start, end, name in spans:
        _require(
            end <= target.hbm_bytes,
            f"tensor '{name}' is at bytes {start} to {end} of {target.hbm_bytes}",
        )
    for (_, end, name), (start, _, other) in pairwise(spans):
        _require(end <= start, f"tensors '{name}' and '{other}' lie on each other")


NARROWED = {"i64": "i32", "ui64": "ui32"}
"""As what a result of 64-bit integers may have been computed."""


def _has_words(tensor: TensorFacts, local: tuple[int, ...], dtype: str) -> bool:
    """Whether a tensor holds numbers of 64 bits in two words."""
    word = F32 if dtype == COMPLEX else U32
    is_pair = tuple(tensor.shape) == (2, *local) and tensor.dtype == word.name
    return is_pair and are_words(tuple(tensor.shape), local, dtype)


def _verify_tensors_of_hosts(manifest: Manifest) -> None:
    """Every input and result has tensors of its type, and every such tensor a host."""
    for kind, hosts in (
        (TensorKind.INPUT, manifest.inputs),
        (TensorKind.OUTPUT, manifest.results),
    ):
        known = {host.name: host for host in hosts}
        seen = set()
        for tensor in (t for p in programs_of(manifest) for t in p.tensors if t.kind is kind):
            host = known.get(tensor.name)
            if host is None:
                raise BadFactError(f"no {kind.value} '{tensor.name}', which has a tensor")
            local = _local_shape(host.shape, host.sharding)
            fits = tuple(tensor.shape) == local
            in_one = fits and tensor.host_dtype in (host.dtype, NARROWED.get(host.dtype))
            _require(
                in_one or _has_words(tensor, local, host.dtype),
                f"{kind.value} '{host.name}' is {host.dtype}{list(local)}, its tensor is "
                f"{tensor.host_dtype}{tensor.shape}",
            )
            seen.add(tensor.name)
        missing = sorted(known.keys() - seen)
        _require(not missing, f"{kind.value} '{missing[:1]}' has no tensor")
