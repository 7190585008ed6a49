"""What a user may choose about a compile, with the names and meanings of `neuronx-cc compile`.

Source of names, values and defaults: hardware.md 5.1 (the neuronx-cc command-line reference).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from axonc.backends.numerics.quantize import FORMATS, SCALE_OPTIONS
from axonc.backends.targets import TARGETS
from axonc.diagnostics import UsageError, nearest

AUTO_CAST = ("none", "matmult", "all")
AUTO_CAST_TYPES = ("bf16", "fp16", "tf32", "fp8_e4m3", "fp8_e5m2", "fp8_e3m4")
WEIGHT_DTYPES = ("none", *FORMATS)
MODEL_TYPES = ("generic", "transformer", "unet-inference")
OPTLEVELS = (1, 2, 3)
PARALLEL = ("none", "tensor", "data", "pipeline")


@dataclass(frozen=True)
class CompileOptions:
    """target: name in `backends/targets`. auto_cast: which FP32 operations compute in
    auto_cast_type: none, those of the tensor engine, or all. cores: NeuronCores to compile for.
    parallel: what of an unsharded program is cut: weights ("tensor"), the batch ("data") or the
    layers ("pipeline").
    weight_dtype: how weights are stored, if not as they are computed: "none", an 8-bit float or
    "int8". weight_scale: one scale per output "channel" (per row of a table), or per "tensor", or
    "auto": channels for int8 and fp8_e3m4, whose range is small.
    auto_cast_override: 'REGEX=TYPE' each, for operations by name, source line or weight; the last
    that matches counts. auto_cast_budget: the least cosine of the results to those in float32 on
    the sample inputs, for a search of the cheapest casts; 0: no search.
    optlevel: 1, 2: equal layers that follow each other are compiled once, as a loop of the streams
    (docs/design/0006); 3: each by itself, which takes as many times longer and fills the joints
    between layers. model_type: accepted; one strategy serves all of its values today.
    allow_lossy_integers: 64-bit integer arithmetic may wrap at 32 bits; else it is refused.
    exact_transposes: by DMA, so that infinities and NaN survive; else on the tensor engine, where
    they are an error at run time.

    Raises:
        UsageError: a value that does not exist; names the nearest that does.
    """

    target: str = "inf2"
    auto_cast: str = "none"
    auto_cast_type: str = "bf16"
    optlevel: int = 2
    cores: int = 1
    model_type: str = "generic"
    allow_lossy_integers: bool = False
    exact_transposes: bool = False
    parallel: str = "none"
    weight_dtype: str = "none"
    weight_scale: str = "auto"
    auto_cast_override: tuple[str, ...] = ()
    auto_cast_budget: float = 0.0

    @property
    def repeat_layers(self) -> bool:
        """Whether equal layers become a loop."""
        return self.optlevel < 3

    def __post_init__(self) -> None:
        _check_choice("target", self.target, tuple(TARGETS))
        _check_choice("auto-cast", self.auto_cast, AUTO_CAST)
        _check_choice("auto-cast-type", self.auto_cast_type, AUTO_CAST_TYPES)
        _check_choice("model-type", self.model_type, MODEL_TYPES)
        _check_choice("optlevel", self.optlevel, OPTLEVELS)
        _check_choice("parallel", self.parallel, PARALLEL)
        _check_choice("weight-dtype", self.weight_dtype, WEIGHT_DTYPES)
        _check_choice("weight-scale", self.weight_scale, SCALE_OPTIONS)
        _check_budget(self.auto_cast_budget)
        # A manifest, and a user, may give a list.
        object.__setattr__(self, "auto_cast_override", tuple(self.auto_cast_override))
        most = TARGETS[self.target].max_cores
        is_number = isinstance(self.cores, int) and not isinstance(self.cores, bool)
        if not is_number or not 1 <= self.cores <= most:
            raise UsageError(
                f"cores is {self.cores!r}; the largest {self.target} instance has {most}",
                hint=f"a number from 1 to {most}",
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest of a program."""
        return asdict(self)

    def with_changes(self, **changes: Any) -> CompileOptions:
        """A copy with some fields replaced, checked like a new one."""
        return replace(self, **changes)


def _check_budget(value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # type: ignore[operator]
        raise UsageError(
            f"auto-cast-budget is {value!r}; it is the least cosine of the results to float32's",
            hint="a number up to 1, such as 0.999",
        )


def _check_choice(name: str, value: object, known: tuple[Any, ...]) -> None:
    if value in known and not isinstance(value, bool):
        return
    hint = nearest(str(value), map(str, known)) or f"known: {', '.join(map(str, known))}"
    raise UsageError(f"{name} is {value!r}, which does not exist", hint=hint)
