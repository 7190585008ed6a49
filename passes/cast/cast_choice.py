"""What an operation computes in and how its weights are stored: options, overrides, attributes.

Three types are kept apart. The *compute* type is what the tensor engine multiplies; the *storage*
type is how a weight lies in device memory and on chip; sums are float32 always. A choice stands on
an operation as the attributes `cast.compute` and `cast.weight` from plan-casts on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.numerics.quantize import FORMATS
from axonc.diagnostics import UsageError, nearest

FLOATS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "tf32": "tf32"}
"""MLIR element type of the compute types that need no scale."""

COMPUTE = (*FLOATS, *(name for name, kind in FORMATS.items() if kind.is_float))
"""Types the tensor engine multiplies (machine.md#tensor-engine). int8 is storage only: there is no
8-bit integer path (machine.md#the-chip)."""

SAME = "same"
"""A weight stored in the type it is computed in."""

COMPUTE_ATTRIBUTE, WEIGHT_ATTRIBUTE, SCALES_ATTRIBUTE = "cast.compute", "cast.weight", "cast.scales"


@dataclass(frozen=True)
class CastChoice:
    """The types chosen for one operation."""

    compute: str
    """One of COMPUTE."""
    weight: str = SAME
    """A name in FORMATS, or SAME."""

    def __str__(self) -> str:
        alone = self.weight in (SAME, self.compute)
        return self.compute if alone else f"{self.compute}/{self.weight}"

    @property
    def element(self) -> str:
        """MLIR type to which an integer weight is raised on its way to the tensor engine."""
        return FLOATS.get(self.compute, "bf16")

    def put(self, op: ir.Operation) -> None:
        """Write the attributes."""
        op.attributes[COMPUTE_ATTRIBUTE] = ir.StringAttr.get(self.compute)
        op.attributes[WEIGHT_ATTRIBUTE] = ir.StringAttr.get(self.weight)


def choice_of(op: ir.Operation) -> CastChoice | None:
    """The choice that stands on an operation."""
    if COMPUTE_ATTRIBUTE not in op.attributes:
        return None
    texts = [ir.StringAttr(op.attributes[n]).value for n in (COMPUTE_ATTRIBUTE, WEIGHT_ATTRIBUTE)]
    return CastChoice(*texts)


@dataclass(frozen=True)
class Override:
    """'REGEX=TYPE', TYPE being COMPUTE, STORAGE or COMPUTE/STORAGE.

    An 8-bit float alone means both; int8 alone leaves the compute type.

    Raises:
        UsageError: it does not parse; says what does.
    """

    text: str

    def __post_init__(self) -> None:
        pattern, _, spelled = self.text.rpartition("=")
        if not pattern:
            raise UsageError(f"override '{self.text}' is not of the form REGEX=TYPE")
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"override '{self.text}': bad regular expression: {error}") from None
        self.choice(CastChoice("fp32"))

    @property
    def pattern(self) -> str:
        return self.text.rpartition("=")[0]

    def choice(self, default: CastChoice) -> CastChoice:
        """What it makes of an operation that would be `default`."""
        compute, slash, storage = self.text.rpartition("=")[2].partition("/")
        if slash:
            _check("compute", compute, COMPUTE)
            _check("storage", storage, (SAME, *FORMATS))
            return CastChoice(compute, storage)
        _check("auto-cast-override", compute, (*FLOATS, *FORMATS))
        if compute in FLOATS:
            return CastChoice(compute)
        return CastChoice(compute if compute in COMPUTE else default.compute, compute)

    def matches(self, texts: tuple[str, ...]) -> bool:
        """Whether any of an operation's names contains the pattern."""
        return any(re.search(self.pattern, text) for text in texts)


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        hint = nearest(name, known) or f"known: {', '.join(known)}"
        raise UsageError(f"{what} type '{name}' does not exist", hint=hint)
