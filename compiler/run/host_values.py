"""Between the arrays of a host and what a machine stores: i1 as bytes, 64-bit integers in one word
of 32 bits or in two.

Nothing is narrowed in silence: a value that the machine cannot hold is an error that names it. Only
where the compiler proved that the program cannot tell it from the nearest value that fits, that
takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from axonc.backends.numerics.cast import from_float32
from axonc.backends.numerics.dtypes import TF32, DType
from axonc.backends.numerics.wide_integers import are_words, join_words, split_words
from axonc.backends.program import HbmTensor
from axonc.diagnostics import ExecutionError, nearest
from axonc.program.compiled_program import HostTensor, Limits
from axonc.sharding import Sharding
from axonc.weights.foreign_arrays import as_array
from axonc.weights.references import NUMPY_OF_MLIR, WeightRef


def in_order(inputs: Sequence[HostTensor], given: Sequence[object]) -> list[np.ndarray]:
    """`given` as arrays, one per input: positional, or one mapping by name.

    Raises:
        ExecutionError: wrong number, unknown or missing name; or something that is no array.
    """
    if len(given) == 1 and isinstance(given[0], Mapping):
        check_names(inputs, given[0])
        given = [given[0][tensor.name] for tensor in inputs]
    if len(given) != len(inputs):
        raise ExecutionError(f"{len(given)} arrays given, {_wanted(inputs)}")
    return [input_array(tensor, value) for tensor, value in zip(inputs, given, strict=True)]


def check_names(inputs: Sequence[HostTensor], given: Iterable[str]) -> None:
    """Raises:
    ExecutionError: a name that no input has, or an input that is missing.
    """
    names, given = [tensor.name for tensor in inputs], list(given)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ExecutionError(
            f"the program has no input '{unknown[0]}'; {_wanted(inputs)}",
            hint=nearest(unknown[0], names),
        )
    missing = [name for name in names if name not in given]
    if missing:
        raise ExecutionError(f"input '{missing[0]}' is missing; {_wanted(inputs)}")


def input_array(host: HostTensor, value: object) -> np.ndarray:
    """The array of an input, in whatever type it has.

    Raises:
        ExecutionError: it is no array.
    """
    try:
        return as_array(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise ExecutionError(
            f"input '{host.name}' is a {type(value).__name__} that is no array: {error}",
            hint="numpy arrays, and what has __array__ or __dlpack__ (torch, JAX)",
        ) from None


MAX_NAMED_INPUTS = 8
"""Inputs an error spells out; a program whose weights are inputs has hundreds."""


def _wanted(inputs: Sequence[HostTensor]) -> str:
    spelled = ", ".join(map(str, inputs[:MAX_NAMED_INPUTS])) or "none"
    rest = len(inputs) - MAX_NAMED_INPUTS
    more = f" and {rest} more (`axonc inspect` lists them)" if rest > 0 else ""
    return f"the program takes {len(inputs)}: {spelled}{more}"


def to_machine(host: HostTensor, stored: HbmTensor, array: np.ndarray) -> np.ndarray:
    """An input in the type the machine stores, C-contiguous; in one that takes two words as it is.

    Raises:
        ExecutionError: wrong shape or dtype, or an integer beyond the machine's; names the input.
    """
    check_type(host, array.shape, array.dtype)
    if are_words(stored.shape, host.shape, host.dtype):
        return np.asarray(array, order="C")
    if host.limits is not None:
        array = _limited(host.name, array, host.limits)
    return _as_dtype(f"input '{host.name}'", array, stored.dtype)


def _limited(name: str, array: np.ndarray, limits: Limits) -> np.ndarray:
    if limits.saturates:
        return np.clip(array, limits.low, limits.high)
    outside = (array < limits.low) | (array > limits.high)
    if outside.any():
        place = [int(n) for n in np.argwhere(outside)[0]]
        raise ExecutionError(
            f"input '{name}' holds {array[tuple(place)]} at {place}; the program computes with it "
            f"in 32 bits, and takes {limits.low} to {limits.high}",
            hint="it is used as a place in a table; no table has so many",
        )
    return array


def check_type(host: HostTensor, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises:
    ExecutionError: an array of this type is not what the input takes.
    """
    expected = NUMPY_OF_MLIR[host.dtype]
    if (dtype, shape) != (expected, host.shape):
        raise ExecutionError(
            f"input '{host.name}' is {dtype}{list(shape)}, expected {expected}{list(host.shape)}",
            hint=_conversion_hint(host, shape, expected),
        )


def _conversion_hint(host: HostTensor, shape: tuple[int, ...], expected: np.dtype) -> str:
    if shape == host.shape:
        return f"convert it: array.astype({expected.name!r})"
    if math.prod(shape) == math.prod(host.shape):
        return f"reshape it: array.reshape({host.shape})"
    return "programs have fixed shapes: pad or cut the array, or compile for its shape"


def to_cores(
    host: HostTensor, stored: HbmTensor, array: np.ndarray, cores: int
) -> list[np.ndarray]:
    """What each core stores of an input. Raises: as `to_machine`."""
    whole = to_machine(host, stored, array)
    parts = [part_of(whole, host.sharding, core) for core in range(cores)]
    has_words = are_words(stored.shape, host.shape, host.dtype)
    return [split_words(part) for part in parts] if has_words else parts


def part_of(whole: np.ndarray, sharding: Sharding | None, core: int) -> np.ndarray:
    """What a core has of an array, C-contiguous."""
    if sharding is None or sharding.is_replicated:
        return whole
    return np.ascontiguousarray(whole[sharding.index_of(core, whole.shape)])


def from_cores(host: HostTensor, parts: list[np.ndarray]) -> np.ndarray:
    """A result of several cores in the dtype of the program. Of copies the first core's is taken.

    Raises:
        ExecutionError: copies differ.
    """
    if are_words(parts[0].shape, host.shape, host.dtype):
        parts = [join_words(part, NUMPY_OF_MLIR[host.dtype]) for part in parts]
    if host.sharding is None:
        return from_machine(host, parts[0])
    whole = host.sharding.assemble(parts)
    for core, part in enumerate(parts):
        if whole[host.sharding.index_of(core, whole.shape)].tobytes() != part.tobytes():
            raise ExecutionError(
                f"result '{host.name}': core {core} has another copy than the first one",
                hint="the program computes a replicated result differently on every core",
            )
    return from_machine(host, whole)


def from_machine(host: HostTensor, array: np.ndarray) -> np.ndarray:
    """A result in the dtype of the program."""
    wanted = NUMPY_OF_MLIR[host.dtype]
    if _is_float8(wanted) and array.dtype == np.uint8:
        return array.view(wanted)
    return array != 0 if wanted == np.bool_ else array.astype(wanted, copy=False)


def weight_for_machine(
    stored: HbmTensor, weight: WeightRef, sharding: Sharding | None = None, core: int = 0
) -> np.ndarray:
    """The bytes of a WEIGHT tensor: packed and cast, or the memory-mapped original where it fits.
    sharding: which part of the weight `core` has.

    Raises:
        ExecutionError: an integer beyond the machine's.
    """
    source = part_of(weight.load(), sharding, core)
    if are_words(stored.shape, source.shape, stored.host_dtype):
        source = split_words(source)
    if stored.packing is not None:
        # Packing casts as numpy does: it wraps integers and does not know tf32.
        if not stored.dtype.is_float or stored.dtype is TF32:
            source = _as_dtype(f"weight '{stored.source}'", source, stored.dtype)
        return stored.packing.apply(source, stored.dtype)
    cast = _as_dtype(f"weight '{stored.source}'", source, stored.dtype)
    return np.require(cast, requirements=["C", "A"])


def _is_float8(dtype: np.dtype) -> bool:
    return dtype.name.startswith("float8")


def _as_dtype(what: str, array: np.ndarray, dtype: DType) -> np.ndarray:
    """8-bit floats that the machine lacks are stored as their bits."""
    if _is_float8(array.dtype) and not dtype.is_float:
        array = array.view(np.uint8)
    if dtype.is_float and array.dtype == np.float32:
        return np.asarray(from_float32(array, dtype), order="C")
    if array.dtype.kind in "iu" and not dtype.is_float:
        _check_range(what, array, dtype)
    return np.asarray(array.astype(dtype.numpy, copy=False), order="C")


def _check_range(what: str, array: np.ndarray, dtype: DType) -> None:
    limits = np.iinfo(dtype.numpy)
    if array.size == 0 or np.can_cast(array.dtype, dtype.numpy):
        return
    outside = (array < limits.min) | (array > limits.max)
    if outside.any():
        place = [int(n) for n in np.argwhere(outside)[0]]
        raise ExecutionError(
            f"{what} holds {array[tuple(place)]} at {place}; the machine stores it as "
            f"{dtype.numpy}, {limits.min} to {limits.max}",
            hint="the program computes with it in 32 bits",
        )


def random_inputs(inputs: Sequence[HostTensor], seed: int) -> dict[str, np.ndarray]:
    """Seeded inputs of the right shapes: floats standard normal, integers 0 or 1, booleans fair.

    Small integers are valid as masks and as indices of any table with two rows.
    """
    generator = np.random.default_rng(seed)
    return {tensor.name: _random(tensor, generator) for tensor in inputs}


def _random(tensor: HostTensor, generator: np.random.Generator) -> np.ndarray:
    dtype = NUMPY_OF_MLIR[tensor.dtype]
    if tensor.dtype.startswith(("i", "ui")):
        return generator.integers(0, 2, tensor.shape).astype(dtype)
    return generator.standard_normal(tensor.shape).astype(np.float32).astype(dtype)
