"""Arrays of a call from and to files: .npz, .npy, .safetensors."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from axonc.diagnostics import UsageError
from axonc.output_files import check_output, written_whole
from axonc.program.compiled_program import HostTensor
from axonc.run.executable import Executable
from axonc.run.host_values import check_names, check_type
from axonc.weights.references import NUMPY_OF_MLIR, open_weight_file

# in0, in1 ... and the names numpy.savez gives positional arrays.
_POSITIONAL = re.compile(r"(?:in|arg|arr_)(\d+)")
_OUTPUT_SUFFIXES = (".npz", ".safetensors")


def call_arrays(options: argparse.Namespace, executable: Executable) -> dict[str, np.ndarray]:
    """The inputs `--inputs` or `--random-inputs` ask for, by name.

    Raises:
        UsageError: neither was given and the program takes inputs; an unreadable file.
    """
    if options.inputs is not None:
        return read_arrays(Path(options.inputs), executable.inputs)
    if options.random_inputs is not None:
        return executable.random_inputs(options.random_inputs)
    if not executable.inputs:
        return {}
    names = ", ".join(map(str, executable.inputs))
    raise UsageError(
        f"the program takes {names}", hint="give --inputs FILE, or --random-inputs SEED"
    )


def read_arrays(path: Path, inputs: Sequence[HostTensor]) -> dict[str, np.ndarray]:
    """Arrays by input name. A file whose names are all positional, or which holds one array for one
    input, gives them in order.

    Raises:
        UsageError: missing, damaged or unknown file.
        ExecutionError: an array of another type or name than the inputs'.
    """
    found = open_weight_file(path)
    names = [tensor.name for tensor in inputs]
    order = _positional_order(found)
    is_single = len(found) == len(names) == 1
    if set(found) != set(names) and (order is not None or is_single):
        if len(found) != len(names):
            raise UsageError(
                f"{path} holds {len(found)} arrays, the program takes {len(names)}: "
                + ", ".join(map(str, inputs))
            )
        found = dict(zip(names, [found[name] for name in order or found], strict=True))
    check_names(inputs, found)
    for tensor in inputs:  # before anything is read: a header may promise far more
        ref = found[tensor.name]
        check_type(tensor, ref.shape, NUMPY_OF_MLIR[ref.dtype])
    return {tensor.name: found[tensor.name].load() for tensor in inputs}


def _positional_order(found: Collection[str]) -> list[str] | None:
    """The names sorted by their numbers, if all are of one kind with the numbers 0, 1, 2 ..."""
    numbers: dict[int, str] = {}
    for name in found:
        match = _POSITIONAL.fullmatch(name)
        if match is None:
            return None
        numbers[int(match[1])] = name
    return (
        [numbers[i] for i in sorted(numbers)] if sorted(numbers) == [*range(len(found))] else None
    )


def files_read(options: argparse.Namespace, executable: Executable | None = None) -> list[Path]:
    """The files that a verb reads: the program, its weight files, the inputs."""
    named = [options.program, *([options.inputs] if options.inputs else [])]
    weights = () if executable is None else executable.weight_files
    return [*map(Path, named), *weights]


def check_output_path(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Fail before the run, not after it. inputs: files that must not be written over.

    Raises:
        UsageError: unknown suffix, or a place that cannot be written.
    """
    if path.suffix not in _OUTPUT_SUFFIXES:
        raise UsageError(
            f"{path}: cannot tell the format of an array file from '{path.suffix}'",
            hint=f"known: {', '.join(_OUTPUT_SUFFIXES)}",
        )
    check_output(path, inputs)


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], inputs: Iterable[Path] = ()
) -> list[str]:
    """Write arrays by name; the file appears whole or not at all. Returns notes for the user: npz
    cannot name bf16 and the 8-bit floats, which are widened to f32, exactly. inputs: as for
    `check_output_path`.

    Raises:
        UsageError: it cannot be written.
    """
    check_output_path(path, inputs)
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        with written_whole(path, inputs) as file:
            file.write(data)
        return []
    narrow = [name for name, array in arrays.items() if array.dtype.kind == "V"]
    widened = {n: a.astype(np.float32) if n in narrow else a for n, a in arrays.items()}
    with written_whole(path, inputs) as file:
        np.savez(file, **widened)  # type: ignore[arg-type]
    return [
        f"{path}: {name} is {arrays[name].dtype}, written as float32 (exact)" for name in narrow
    ]
