"""A reference for partitioned programs: XLA runs one rank's module on several host devices.

XLA wants to partition what it compiles for several partitions, so the ranks are replicas here: the
groups of collectives then name replicas, and a channel, which would name partitions, goes.
Run by tests in a process of its own, because the number of host devices is fixed when JAX starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import jax
import numpy as np
from jax._src.lib import xla_client

from axonc.imported.program import ImportedProgram
from axonc.imported.stablehlo_module import deserialize, new_context

_CHANNEL = re.compile(r"channel_handle = #stablehlo\.channel_handle<[^>]*>,? ?")
_GLOBAL_IDS = re.compile(r",? ?use_global_device_ids")
_COLLECTIVE = re.compile(
    r'("stablehlo\.(?:all_\w+|reduce_scatter|collective_permute)"\([^)]*\) <\{)(.*?)(\}>)'
)


def run_ranks(program: ImportedProgram, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The whole results of whole inputs by name; weights from the program. Copies must agree."""
    count = program.cores
    devices = jax.devices("cpu")[:count]
    whole = [a.weight.load() if a.weight else inputs[a.name] for a in program.arguments]
    parts = [
        _spread([_part(v, a.sharding, rank) for rank in range(count)], devices)
        for v, a in zip(whole, program.arguments, strict=True)
    ]
    outputs = _executable(program, devices).execute_sharded(parts)
    found = [
        [np.asarray(part) for part in ranks]
        for ranks in outputs.disassemble_into_single_device_arrays()
    ]
    return [_assembled(s, p) for s, p in zip(program.result_shardings, found, strict=True)]


def _part(value: np.ndarray, sharding: object, rank: int) -> np.ndarray:
    return np.ascontiguousarray(value[sharding.index_of(rank, value.shape)])  # type: ignore[attr-defined]


def _assembled(sharding: object, parts: list[np.ndarray]) -> np.ndarray:
    whole: np.ndarray = sharding.assemble(parts)  # type: ignore[attr-defined]
    for rank, part in enumerate(parts):
        np.testing.assert_array_equal(whole[sharding.index_of(rank, whole.shape)], part)  # type: ignore[attr-defined]
    return whole


def _spread(parts: list[np.ndarray], devices: list[jax.Device]) -> jax.Array:
    """One part a device, as one array of blocks along the first dim."""
    blocks = [part[None] if part.ndim == 0 else part for part in parts]
    mesh = jax.sharding.Mesh(np.array(devices), ("rank",))
    layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rank"))
    shape = (len(parts) * blocks[0].shape[0], *blocks[0].shape[1:])
    with jax.enable_x64(True):
        placed = [jax.device_put(b, d) for b, d in zip(blocks, devices, strict=True)]
        return jax.make_array_from_single_device_arrays(shape, layout, placed)


def _executable(program: ImportedProgram, devices: list[jax.Device]) -> object:
    options = xla_client.CompileOptions()
    options.num_replicas = len(devices)
    options.executable_build_options.num_replicas = len(devices)
    assignment = np.arange(len(devices)).reshape(-1, 1)
    options.executable_build_options.device_assignment = xla_client.DeviceAssignment.create(
        assignment
    )
    placed = xla_client.DeviceList(tuple(devices))
    return devices[0].client.compile_and_load(_as_replicas(program), placed, options)


def _as_replicas(program: ImportedProgram) -> str:
    context = new_context()
    with context:
        text = str(deserialize(program.module_bytes, context))
    text = re.sub(r"mhlo\.num_(partitions|replicas) = \d+ : i32,? ?", "", text)
    return _COLLECTIVE.sub(
        lambda m: m[1] + _GLOBAL_IDS.sub("", _CHANNEL.sub("", m[2])) + m[3], text
    )
