"""What the compiler and the executor know about a machine: sizes, clocks, bandwidths, costs.

One frozen description per target; every number has its unit in its name and its source in the
target's file. Nothing else in axonc holds a hardware number.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from axonc.backends.targets.topology import CollectiveTiming, Instance


class Engine(enum.Enum):
    """The five instruction streams of a NeuronCore. The sync engine triggers DMA transfers."""

    TENSOR = "tensor"
    VECTOR = "vector"
    SCALAR = "scalar"
    GPSIMD = "gpsimd"
    SYNC = "sync"

    def __repr__(self) -> str:
        return self.value


@dataclass(frozen=True)
class EngineTiming:
    """How fast an engine is, before the shapes of instructions count."""

    clock_ghz: float
    """Cycles per nanosecond."""
    min_interval_cycles: int
    """Least initiation interval (MIN_II)."""
    latency_ns: float
    """From the start of an instruction to its writes being visible, over and above its initiation
    interval."""
    dispatch_ns: float
    """Time the sequencer needs for an instruction without data (semaphore, branch, register)."""
    dependent_ns: float = 0.0
    """From the visible result of an instruction to the start of one on the same engine that reads
    it."""


@dataclass(frozen=True)
class DmaTiming:
    """How fast the DMA engines of a core are."""

    engines: int
    queues: int
    trigger_ns: float
    fixed_latency_ns: float
    completion_ns: float
    semaphore_increment: int
    descriptor_time_ns: tuple[tuple[int, float], ...]
    """(bytes, ns) points of the time one engine needs for one contiguous descriptor; linear between
    points, and beyond the last at its bytes-per-ns. Longer contiguous runs than
    `descriptor_max_bytes` take several descriptors."""
    hbm_bytes_per_ns: float
    descriptor_max_bytes: int = 64 * 1024


@dataclass(frozen=True)
class Target:
    """One NeuronCore and its surroundings. Sizes in bytes unless the name says otherwise."""

    name: str
    core_version: int
    partitions: int
    partition_quadrant: int
    sbuf_partition_bytes: int
    psum_partition_bytes: int
    psum_banks: int
    hbm_bytes: int
    pe_rows: int
    pe_columns: int
    max_moving_columns: int
    max_free_dims: int
    max_free_elements_sbuf: int
    max_free_elements_psum: int
    bn_stats_max_elements: int
    fast_stride_bytes: int
    registers: int
    semaphores: int
    semaphore_max: int
    max_attached_waits: int
    engines: dict[Engine, EngineTiming]
    dma: DmaTiming
    fp32_matmul_passes: int
    load_stationary_speedup: int
    load_stationary_latency_ns: float
    act_table_load_ns: float
    activation_accumulate_cycles: int
    dependent_cycles: int
    dynamic_interval_cycles: int
    gpsimd_start_cycles: int
    program_start_ns: float
    program_end_ns: float
    collectives: CollectiveTiming
    instances: tuple[Instance, ...]

    @property
    def psum_bank_bytes(self) -> int:
        return self.psum_partition_bytes // self.psum_banks

    @property
    def collective_semaphores(self) -> int:
        """Those that engines and DMA queues leave (docs/design/0001)."""
        return self.semaphores - len(Engine) - self.dma.queues

    @property
    def barrier_semaphores(self) -> range:
        """The last ones: of barriers between straight-line blocks, two rounds of two each."""
        return range(self.semaphores - 4, self.semaphores)

    @property
    def max_cores(self) -> int:
        """Cores of the largest instance."""
        return max(instance.cores for instance in self.instances)

    def instance_for(self, cores: int) -> Instance | None:
        """The smallest instance with that many cores; None if there is none."""
        large_enough = [i for i in self.instances if i.cores >= cores]
        return min(large_enough, key=lambda i: i.cores, default=None)
