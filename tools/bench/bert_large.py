"""BERT-large, 128 tokens: compile time and memory, modelled latency, accuracy, executor speed.

    python -m axonc.tools.bench.bert_large [--layers 24]

The model is transformers' class with seeded random weights, written once to a folder as a portable
artifact and a weight file. Every compile is the `axonc` command in a process of its own, with
another hash seed each time, so that its time, its peak memory and its bytes can be compared.
XLA:CPU and the executor run side by side in one process; the ratio is the figure, machines are
noisy."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import axonc
from axonc.frontends import import_program
from axonc.tools.bench.fresh_process import compile_program
from axonc.tools.bench.side_by_side import cosine, relative_error, shortest
from axonc.tools.xla_reference import XlaProgram
from axonc.weights.references import open_weight_file

PUBLISHED_MS = 2.69
"""Inf2, neuronx-cc, matmult in bf16, with runtime and framework (machine.md#encoders)."""


@dataclass(frozen=True)
class Model:
    """A model on disk: artifact and weights."""

    artifact: Path
    weights: Path


def write_model(folder: Path, layers: int) -> Model:
    """The model in `folder`, made there if it is missing (needs torch)."""
    found = Model(folder / f"bert{layers}.mlirbc", folder / f"bert{layers}.safetensors")
    if not (found.artifact.exists() and found.weights.exists()):
        from axonc.tools.models import bert_large

        bert_large.write(bert_large.imported(layers), folder, f"bert{layers}")
    return found


@dataclass(frozen=True)
class Compile:
    """One run of `axonc compile`: wall-clock seconds, peak bytes of the process, its file."""

    seconds: float
    peak_bytes: int
    program: Path


def compile_model(model: Model, auto_cast: str, hash_seed: int) -> Compile:
    """Compile in a fresh process."""
    output = model.artifact.with_suffix(f".{auto_cast}.{hash_seed}.axon")
    done = compile_program(
        model.artifact, model.weights, output, auto_cast=auto_cast, hash_seed=hash_seed
    )
    if done.exit_code:
        raise SystemExit(f"{model.artifact} does not compile: {done.complaint}")
    return Compile(done.seconds, done.peak_bytes, output)


def example_inputs(model: Model) -> dict[str, np.ndarray]:
    """Seeded token ids and a full mask, in the program's dtypes."""
    program = import_program(model.artifact, weights=open_weight_file(model.weights))
    rng = np.random.default_rng(0)
    made = {}
    for argument in program.inputs:
        limit = 30522 if "ids" in argument.name else 2
        dtype = {"i64": np.int64, "i32": np.int32}[argument.dtype]
        low = 0 if "ids" in argument.name else 1
        made[argument.name] = rng.integers(low, limit, argument.shape).astype(dtype)
    return made


def measure(model: Model, first: Compile, second: Compile) -> list[tuple[str, str]]:
    """Rows of the table for one --auto-cast, compiled twice."""
    same = first.program.read_bytes() == second.program.read_bytes()
    program = import_program(model.artifact, weights=open_weight_file(model.weights))
    inputs = example_inputs(model)
    xla = XlaProgram(program)
    weights = {name: ref.load() for name, ref in program.weights.items()}
    placed = xla.place({**weights, **inputs})
    executable = axonc.load(first.program)
    expected, found = xla.execute(placed)[0], executable.run(inputs)[0]
    seconds = shortest(
        {"axonc": lambda: executable.run(inputs), "xla": lambda: xla.execute(placed)}
    )
    error = relative_error(found, expected)
    return [
        ("compile", f"{first.seconds:.1f} s, {second.seconds:.1f} s"),
        ("compile, peak memory", f"{first.peak_bytes / 1e9:.2f} GB"),
        ("weights on disk", f"{model.weights.stat().st_size / 1e9:.2f} GB"),
        ("same bytes for two hash seeds", "yes" if same else "NO"),
        ("modelled latency", f"{executable.modelled_seconds * 1e3:.2f} ms"),
        ("max error / max |output|, to XLA:CPU f32", f"{error:.2e}"),
        ("cosine to XLA:CPU f32", f"{cosine(found, expected):.9f}"),
        ("XLA:CPU", f"{seconds['xla']:.3f} s"),
        ("executor, fast mode", f"{seconds['axonc']:.3f} s"),
        ("executor / XLA:CPU", f"{seconds['axonc'] / seconds['xla']:.2f}"),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/bench"))
    parser.add_argument("--layers", type=int, default=24)
    options = parser.parse_args(arguments)
    model = write_model(options.folder, options.layers)
    casts = ("none", "matmult")
    # All compiles before anything is loaded here: a child's peak memory counts its parent's.
    compiles = {cast: [compile_model(model, cast, seed) for seed in (1, 2)] for cast in casts}
    columns = {cast: measure(model, *compiles[cast]) for cast in casts}
    table = Table(title=f"BERT-large, {options.layers} layers, 128 tokens, inf2, one core")
    table.add_column("")
    for cast in columns:
        table.add_column(f"--auto-cast {cast}")
    for number, (name, value) in enumerate(columns["none"]):
        table.add_row(name, value, columns["matmult"][number][1])
    console = Console()
    console.print(table)
    if options.layers == 24:
        console.print(f"published for neuronx-cc, matmult in bf16: {PUBLISHED_MS} ms")


if __name__ == "__main__":
    main()
