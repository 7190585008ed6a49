"""Write a model of the zoo to a folder: StableHLO, weights, example inputs, torch's results.

    python -m axonc.tools.models bert-base --layers 2 --out /tmp/bert
    axonc compile /tmp/bert/bert-base.mlirbc --weights /tmp/bert/bert-base.safetensors -o b.axon
    axonc run b.axon --inputs /tmp/bert/bert-base.inputs.npz --outputs found.npz
    axonc compare found.npz /tmp/bert/bert-base.expected.npz

Without a name: the list of models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from axonc.diagnostics import AxoncError
from axonc.tools.models import bert_large
from axonc.tools.models.registry import MODELS, build
from axonc.tools.models.zoo_model import ZooModel


def write(model: ZooModel, folder: Path) -> list[Path]:
    """`NAME.mlirbc`, `.safetensors`, `.inputs.npz` and `.expected.npz` (float32, by result name).

    Raises:
        CompileError, UnsupportedOpError: the model cannot be imported.
    """
    program = model.imported()
    paths = [*bert_large.write(program, folder, model.name)]
    arrays = {a.name: model.arrays()[a.name] for a in program.inputs}
    expected = dict(zip(program.result_names, model.expected(), strict=True))
    for kind, content in (("inputs", arrays), ("expected", expected)):
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
        for path in write(model, options.out):
            print(f"{path}: {path.stat().st_size} bytes")
    except AxoncError as error:
        print(error.render())
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
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
