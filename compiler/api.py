"""The functions most users need: compile, load, check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from axonc.options import CompileOptions
from axonc.run.executable import Executable
from axonc.weights.references import WeightRef, open_weight_file

if TYPE_CHECKING:
    from axonc.driver.driver import Progress
    from axonc.passes.unsupported import Finding

Weights = str | Path | Mapping[str, WeightRef | np.ndarray]
Samples = str | Path | Mapping[str, np.ndarray]


def compile(
    source: Any,
    *,
    target: str = "inf2",
    auto_cast: str = "none",
    auto_cast_type: str = "bf16",
    cores: int = 1,
    optlevel: int = 2,
    model_type: str = "generic",
    allow_lossy_integers: bool = False,
    exact_transposes: bool = False,
    parallel: str = "none",
    weight_dtype: str = "none",
    weight_scale: str = "auto",
    auto_cast_override: Sequence[str] = (),
    auto_cast_budget: float = 0.0,
    calibrate: Samples | None = None,
    weights: Weights | None = None,
    dump_ir: str | Path | None = None,
    progress: Progress | None = None,
) -> Executable:
    """Compile a program for a NeuronCore.

    source: StableHLO text, MLIR bytecode, a portable artifact or HLO (`str`, `bytes`,
        `Path`), an MLIR module, `jax.jit(f).lower(...)`, `jax.export.export(...)(...)`, or
        `torch.export.export(...)`.
    target: "inf2" or "trn1". auto_cast: "none", "matmult" or "all": which FP32 operations compute
        in auto_cast_type ("bf16", "fp16", "tf32", "fp8_e4m3", "fp8_e5m2", "fp8_e3m4").
    weight_dtype: how weights lie in memory, if not as they are computed: an 8-bit float or "int8",
        with a scale per output channel (per row of a table) or per tensor: weight_scale is
        "channel", "tensor" or "auto", which is "channel" for int8 and fp8_e3m4.
    auto_cast_override: "REGEX=TYPE" each, for operations by name, source line or weight; TYPE is a
        compute type, an 8-bit type, or "compute/storage". The last that matches counts.
    calibrate: sample inputs: an .npz file or arrays, by input name, of the input's shape or a stack
        of such. Ranges of 8-bit activations and the errors in the cast report come from them.
    auto_cast_budget: the least cosine of the results to those in float32 on the samples; the
        cheapest casts that keep it are searched (`compiled.cast_report.search` has the curve).
    cores: NeuronCores, two to a chip. A program with shardings (JAX) takes as many as its mesh has
        devices.
    parallel: for a program without shardings on several cores: "tensor" cuts weights (Megatron's
        choice), "data" the batch, "pipeline" the layers.
    weights: a .safetensors, .npz or .npy file, or arrays by name: binds arguments of these names,
        which then are no inputs any more.
    allow_lossy_integers: let 64-bit integer arithmetic wrap at 32 bits instead of refusing it.
    exact_transposes: transpose by DMA (slower), so that infinities and NaN survive. On the tensor
        engine, the default, they would spoil their row; the program stops with an error then.
    optlevel: 1, 2: equal layers are compiled once and are a loop on the machine; 3: each by itself,
        for a few percent of modelled time.
    dump_ir: a folder for the IR after each pass. progress(pass, index, count): called before each.

    Raises:
        UsageError: a bad option, source type or weight. CompileError: a wrong program.
        UnsupportedOpError: a right program the compiler cannot do; names every such op.
        CapacityError: it does not fit; with the memory map.
    """
    from axonc.driver.build import build
    from axonc.driver.driver import DebugOptions
    from axonc.frontends import import_program
    from axonc.imported.samples import read_samples

    options = CompileOptions(
        target=target,
        auto_cast=auto_cast,
        auto_cast_type=auto_cast_type,
        optlevel=optlevel,
        cores=cores,
        model_type=model_type,
        allow_lossy_integers=allow_lossy_integers,
        exact_transposes=exact_transposes,
        parallel=parallel,
        weight_dtype=weight_dtype,
        weight_scale=weight_scale,
        auto_cast_override=tuple(auto_cast_override),
        auto_cast_budget=auto_cast_budget,
    )
    imported = import_program(source, weights=weights_by_name(weights))
    debug = DebugOptions(dump_dir=None if dump_ir is None else Path(dump_ir))
    samples = () if calibrate is None else read_samples(calibrate, imported.inputs)
    return Executable(build(imported, options, samples=samples, progress=progress, debug=debug))


def load(path: str | Path) -> Executable:
    """Read a program file that `Executable.save` or `axonc compile` wrote.

    Raises:
        ProgramFormatError: damaged, foreign, or made by a version with another format.
        UsageError: it, or a weight file it refers to, is missing or has changed.
    """
    from axonc.program.package import read_program

    return Executable(read_program(path))


def check(source: Any) -> list[Finding]:
    """Everything in a program that cannot be compiled: every op, dtype and attribute in one go; an
    empty list when there is nothing. Takes what `compile` takes.

    Raises:
        UsageError, CompileError: the source cannot be read at all.
    """
    from axonc.driver.driver import find_unsupported_ops
    from axonc.frontends import import_program

    return find_unsupported_ops(import_program(source))


def weights_by_name(weights: Weights | None) -> Mapping[str, WeightRef | np.ndarray] | None:
    """A weight file's tensors by name; mappings as they are."""
    return open_weight_file(weights) if isinstance(weights, str | Path) else weights
