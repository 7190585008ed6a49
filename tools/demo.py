"""`make demo`: a real model with trained weights, compiled for inf2 and run instruction by
instruction.

all-MiniLM-L6-v2, written as a JAX function over its safetensors, gives sentence embeddings. The
demo compiles it twice (FP32, and matrix products in BF16), runs the program files in the executor,
and prints the similarity of sentence pairs beside XLA:CPU's. It leaves programs, the IR after each
pass and timelines in `out/`. Exit code 1 if the numbers are not close.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import axonc
from axonc.diagnostics import AxoncError
from axonc.driver.driver import DebugOptions, compile_imported
from axonc.frontends import ImportedProgram, import_program
from axonc.options import CompileOptions
from axonc.run.executable import Executable
from axonc.tools.progress_bar import shown_progress

TOKENS = 128

PAIRS = (
    ("A cat sits on the windowsill.", "A kitten is resting by the window."),
    ("How do I reset my password?", "I forgot my login credentials."),
    ("The compiler orders the instructions.", "Instructions are scheduled by the compiler."),
    ("She plays the violin in an orchestra.", "The stock market fell sharply today."),
)


@dataclass(frozen=True)
class Variant:
    """One way to compile."""

    name: str
    title: str
    options: CompileOptions
    least_cosine: float
    """To the reference, of every embedding."""


VARIANTS = (
    Variant("minilm", "FP32", CompileOptions(), 0.99999),
    Variant("minilm-bf16", "matmult BF16", CompileOptions(auto_cast="matmult"), 0.999),
)


@dataclass(frozen=True)
class Demo:
    """What differs between the JAX and the PyTorch demo. embed(executable, sentence) and
    reference(sentence) give one unit vector [hidden]."""

    title: str
    reference_name: str
    load: Callable[[], ImportedProgram]
    embed: Callable[[Executable, str], np.ndarray]
    reference: Callable[[], Callable[[str], np.ndarray]]


def run_demo(demo: Demo, folder: Path) -> bool:
    """Compile, run, compare, print; whether every variant was close enough."""
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{demo.title}\n\nReading the model and its weights (by reference) ...")
    imported = demo.load()
    executables = [_compiled(imported, variant, folder) for variant in VARIANTS]
    sentences = [sentence for pair in PAIRS for sentence in pair]
    print(f"Running {demo.reference_name} on {len(sentences)} sentences ...")
    reference = demo.reference()
    expected = np.stack([reference(sentence) for sentence in sentences])
    found = [_embeddings(demo, executable, sentences) for executable in executables]
    _print_similarities(demo.reference_name, expected, found)
    is_close = _print_cosines(demo.reference_name, expected, found)
    for variant, executable in zip(VARIANTS, executables, strict=True):
        _print_profile(variant, executable, folder)
    _print_files(folder)
    return is_close


def _compiled(imported: ImportedProgram, variant: Variant, folder: Path) -> Executable:
    """Compiled, written, and read back: what runs is the file."""
    ir_folder = folder / ("ir" if variant is VARIANTS[0] else f"ir-{variant.name}")
    start = time.perf_counter()
    with shown_progress() as progress:
        compiled = compile_imported(
            imported, variant.options, progress=progress, debug=DebugOptions(dump_dir=ir_folder)
        )
    path = folder / f"{variant.name}.axon"
    Executable(compiled).save(path)
    print(
        f"Compiled for {variant.options.target}, {variant.title}: {_seconds_since(start)}, {path}"
    )
    return axonc.load(path)


def _embeddings(demo: Demo, executable: Executable, sentences: Sequence[str]) -> np.ndarray:
    """[sentences, hidden], with a line that says how long the executor took."""
    start = time.perf_counter()
    vectors = np.stack([demo.embed(executable, sentence) for sentence in sentences])
    count = sum(executable.profile().timeline.instruction_count.values())
    print(
        f"Ran the instruction streams on {len(sentences)} sentences: {_seconds_since(start)} on "
        f"this machine's CPU, {count:,} instructions each"
    )
    return vectors


def _seconds_since(start: float) -> str:
    return f"{time.perf_counter() - start:.1f} s"


def _print_similarities(name: str, expected: np.ndarray, found: Sequence[np.ndarray]) -> None:
    titles = [f"{name:>12}", *(f"{'axonc ' + v.title:>20}" for v in VARIANTS)]
    print(f"\nSimilarity of sentence pairs\n  {''.join(titles)}")
    for i, (first, second) in enumerate(PAIRS):
        vectors = (expected, *found)
        values = [float(each[2 * i] @ each[2 * i + 1]) for each in vectors]
        cells = f"{values[0]:12.6f}" + "".join(f"{value:20.6f}" for value in values[1:])
        print(f"  {cells}   {first}  |  {second}")


def _print_cosines(name: str, expected: np.ndarray, found: Sequence[np.ndarray]) -> bool:
    """The worst embedding of each variant; whether all are within their limits."""
    print(f"\nCosine of each embedding to that of {name} (worst of {len(expected)})")
    is_close = True
    for variant, vectors in zip(VARIANTS, found, strict=True):
        worst = float((vectors * expected).sum(axis=1).min())
        is_close &= worst >= variant.least_cosine
        verdict = "ok" if worst >= variant.least_cosine else "TOO FAR"
        print(f"  {variant.title:14} {worst:.8f}  (at least {variant.least_cosine}: {verdict})")
    return is_close


def _print_profile(variant: Variant, executable: Executable, folder: Path) -> None:
    profile = executable.profile()
    profile.save_trace(folder / f"{variant.name}.trace.json")
    print(f"\n{variant.title}, one sentence of {TOKENS} tokens: {profile.summary()}")


def _print_files(folder: Path) -> None:
    print(f"\nLeft in {folder}/:")
    rows = (
        ("*.axon", "compiled programs; try: axonc inspect --disassemble"),
        ("ir*/", "the IR after each pass that changed it"),
        ("*.trace.json", "timelines; open one in ui.perfetto.dev or chrome://tracing"),
    )
    for name, what in rows:
        print(f"  {name:14} {what}")


def unit(vector: np.ndarray) -> np.ndarray:
    """float64 [hidden] of length 1, for exact comparisons."""
    wide = np.asarray(vector, np.float64).reshape(-1)
    return wide / np.linalg.norm(wide)


# ---- the JAX model ------------------------------------------------------------------------------


def _load() -> ImportedProgram:
    from axonc.tools.models import minilm_jax

    return import_program(minilm_jax.lowered(1, TOKENS), weights=minilm_jax.weights())


def _embed(executable: Executable, sentence: str) -> np.ndarray:
    from axonc.tools.models import minilm_jax

    ids, mask = minilm_jax.tokenize([sentence], TOKENS)
    return unit(executable.run(ids, mask)[0])


def _reference() -> Callable[[str], np.ndarray]:
    """The same function, compiled by XLA for this CPU."""
    import jax

    from axonc.tools.models import minilm_jax

    parameters = {name: ref.load() for name, ref in minilm_jax.weights().items()}
    compiled = jax.jit(minilm_jax.sentence_embedding)

    def embed(sentence: str) -> np.ndarray:
        ids, mask = minilm_jax.tokenize([sentence], TOKENS)
        return unit(np.asarray(compiled(parameters, ids, mask)))

    return embed


JAX_DEMO = Demo(
    "all-MiniLM-L6-v2, a JAX function, on one modelled NeuronCore-v2",
    "XLA:CPU",
    _load,
    _embed,
    _reference,
)


def main(demo: Demo = JAX_DEMO, arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=demo.title)
    parser.add_argument("--output", default="out", metavar="DIR", help="folder for what it leaves")
    options = parser.parse_args(arguments)
    try:
        return 0 if run_demo(demo, Path(options.output)) else 1
    except AxoncError as error:
        print(error.render(), file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
