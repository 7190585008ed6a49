"""Weights derived from others: their 8-bit numbers, and the scales of these.

Derived when they are bound to a program (or written into its file), from the memory-mapped
original: neither passes through the IR, and no float copy of a checkpoint is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from axonc.backends.numerics.quantize import FORMATS, QuantizedFormat, quantize, scales_of
from axonc.diagnostics import UsageError
from axonc.sharding import Sharding
from axonc.weights.open_file import OpenFile
from axonc.weights.references import Absent, FileRegion, WeightRef, ZipMember


@dataclass(frozen=True)
class Derivation:
    """One derived argument."""

    name: str
    """The name of the derived tensor."""
    source: str
    """Argument it is made from."""
    part: str
    """"numbers" in the format, or "scales", float32, of the source's rank, size 1 along the axes
    that are not kept."""
    format: str
    """Name in `FORMATS`."""
    kept: tuple[int, ...]
    """Axes of the source with a scale per index; none: one scale for the tensor."""

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the derived tensor, for a source of that shape."""
        if self.part == "numbers":
            return source
        return tuple(n if axis in self.kept else 1 for axis, n in enumerate(source))

    @property
    def dtype(self) -> str:
        """MLIR spelling of the derived tensor's element type."""
        return FORMATS[self.format].mlir if self.part == "numbers" else "f32"


@dataclass(frozen=True)
class DerivedWeight:
    """Storage of a derived tensor: made anew by each `load`."""

    source: WeightRef
    rule: Derivation

    @property
    def files(self) -> tuple[OpenFile, ...]:
        return ()

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Raises:
        UsageError: the weight holds an infinity or NaN.
        """
        array, kind = self.source.load(), FORMATS[self.rule.format]
        scales = weight_scales(array, self.rule.kept, kind, self.rule.source)
        if self.rule.part == "scales":
            return scales
        return quantize(array, scales, kind)

    def describe(self) -> str:
        return f"{self.rule.format} {self.rule.part} of {self.source.describe()}"


def storage_of_source(weight: WeightRef) -> object:
    """Where the bytes of a weight are, or those that it is derived from."""
    storage = weight.storage
    while isinstance(storage, DerivedWeight):
        storage = storage.source.storage
    return storage


def weight_files(weights: Iterable[WeightRef]) -> tuple[Path, ...]:
    """The user's files that hold them; the file of a program is none."""
    found: dict[Path, None] = {}
    for storage in map(storage_of_source, weights):
        if isinstance(storage, ZipMember) or (
            isinstance(storage, FileRegion) and not storage.in_program
        ):
            found[storage.file.path] = None
    return tuple(found)


def weight_scales(
    array: np.ndarray, kept: tuple[int, ...], kind: QuantizedFormat, name: str
) -> np.ndarray:
    """As `scales_of`; an error names the weight."""
    try:
        return scales_of(array, kept, kind)
    except UsageError as error:
        raise UsageError(
            f"weight '{name}' cannot be stored as {kind.name}: {error.message}",
            hint=f"leave it out: --auto-cast-override '{name}=fp32'",
        ) from None


def derived_weight(source: WeightRef, rule: Derivation) -> WeightRef:
    """A reference to the derived tensor."""
    shape = rule.shape(source.shape)
    if isinstance(source.storage, Absent):
        return WeightRef.absent(shape, rule.dtype, name=rule.source)
    return WeightRef(shape, rule.dtype, DerivedWeight(source, rule))


def with_derived(
    weights: Mapping[str, WeightRef], rules: Iterable[Derivation]
) -> dict[str, WeightRef]:
    """The weights and what is derived from them, by name."""
    return {**weights, **{r.name: derived_weight(weights[r.source], r) for r in rules}}


def derived_shardings(
    shardings: Mapping[str, Sharding], rules: Iterable[Derivation]
) -> dict[str, Sharding]:
    """The shardings and those of derived tensors: cut like their source, whole where it is reduced
    to one scale."""
    found = dict(shardings)
    for rule in rules:
        if rule.source not in shardings:
            continue
        cut = shardings[rule.source]
        if rule.part == "scales":
            axes = enumerate(cut.dim_axes)
            cut = replace(cut, dim_axes=tuple(a if i in rule.kept else () for i, a in axes))
        found[rule.name] = cut
    return found


def rule_json(rule: Derivation) -> dict[str, Any]:
    """As the manifest of a program holds it; the name is the key there."""
    return {
        "source": rule.source,
        "part": rule.part,
        "format": rule.format,
        "kept": list(rule.kept),
    }


def rule_of_json(name: str, facts: Mapping[str, Any]) -> Derivation:
    """Raises: KeyError, ValueError, TypeError for what `rule_json` did not write."""
    if facts["format"] not in FORMATS or facts["part"] not in ("numbers", "scales"):
        raise ValueError(f"weight '{name}' is {facts['part']} in {facts['format']}")
    kept = tuple(int(axis) for axis in facts["kept"])
    source, part, kind = (str(facts[key]) for key in ("source", "part", "format"))
    return Derivation(name, source, part, kind, kept)
