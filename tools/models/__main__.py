"""Write a model of the zoo to a folder: StableHLO, weights, example inputs, torch's results.

    python -m axonc.tools.models bert-base --layers 2 --out /tmp/bert
    axonc compile /tmp/bert/bert-base.mlirbc --weights /tmp/bert/bert-base.safetensors -o b.axon
    axonc compare b.axon --inputs /tmp/bert/bert-base.inputs.npz \\
        --reference /tmp/bert/bert-base.expected.npz

Without a name: the list of models.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from axonc.diagnostics import AxoncError
from axonc.tools.models import model_files
from axonc.tools.models.registry import MODELS, build
from axonc.tools.models.zoo_model import ZooModel


def write(
    model: ZooModel, folder: Path, *, weights: bool = True, expected: bool = True
) -> list[Path]:
    """`NAME.mlirbc`, `.inputs.npz`, and unless left out `.safetensors` and `.expected.npz` (torch's
    float32 results by name).

    Raises:
        CompileError, UnsupportedOpError: the model cannot be imported.
    """
    program = model.imported()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [model_files.write_artifact(program, folder, model.name)]
    if weights:
        paths.append(model_files.write_weights(program, folder, model.name))
    arrays = model.arrays()
    written = {"inputs": {a.name: arrays[a.name] for a in program.inputs}}
    if expected:
        written["expected"] = dict(zip(program.result_names, model.expected(), strict=True))
    for kind, content in written.items():
        paths.append(folder / f"{model.name}.{kind}.npz")
        np.savez(paths[-1], **content)  # type: ignore[arg-type]
    return paths


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit code."""
    options = _parser().parse_args(arguments)
    if options.name is None:
        print("\n".join(f"{entry.name:16} {entry.summary}" for entry in MODELS.values()))
        return 0
    try:
        model = build(
            options.name,
            layers=options.layers,
            batch=options.batch,
            seq=options.seq,
            small=options.small,
            seed=options.seed,
        )
        paths = write(
            model, options.out, weights=not options.no_weights, expected=not options.no_expected
        )
        for path in paths:
            print(f"{path}: {path.stat().st_size} bytes")
    except AxoncError as error:
        print(error.render(), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m axonc.tools.models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of the list")
    parser.add_argument("--layers", type=int, help="layers to build (default: all)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seq", type=int, help="tokens; in decoding, length of the cache")
    parser.add_argument("--small", action="store_true", help="a narrow version, for tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-weights", action="store_true", help="write no weight file")
    parser.add_argument("--no-expected", action="store_true", help="write no results of torch")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
