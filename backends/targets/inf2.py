"""inf2: one NeuronCore-v2 of an Inferentia2 chip. The source of each number: the table of
machine.md#target-numbers; here is why it was taken."""

from axonc.backends.targets.target import DmaTiming, Engine, EngineTiming, Target
from axonc.backends.targets.topology import CollectiveTiming, Instance

KIB = 1024

CORES_PER_CHIP = 2
LINK_BYTES_PER_NS = 96 * KIB**3 / 1e9  # 96 GiB/s per link and direction

INF2 = Target(
    name="inf2",
    core_version=2,
    partitions=128,  # SBUF is 128 partitions
    partition_quadrant=32,  # start partitions are multiples of 32
    sbuf_partition_bytes=192 * KIB,  # 24 MiB / 128
    psum_partition_bytes=16 * KIB,  # 2 MiB / 128
    psum_banks=8,  # 8 banks of 2 KiB per partition
    hbm_bytes=16 * KIB**3,  # 32 GiB per chip of two cores
    pe_rows=128,
    pe_columns=128,
    max_moving_columns=512,  # one PSUM bank
    max_free_dims=4,
    max_free_elements_sbuf=64 * KIB,
    max_free_elements_psum=4 * KIB,
    bn_stats_max_elements=512,
    fast_stride_bytes=16,  # longer innermost strides halve the bandwidth
    registers=64,  # per sequencer
    semaphores=64,  # assumed: the number is not published
    semaphore_max=2**31 - 1,  # assumed
    max_attached_waits=1,  # assumed: traces show one wait per instruction
    engines={
        # Latencies, machine.md#single-instructions: MultiplyMoving of 128 columns takes 188 ns, of
        # which 46 stream; TENSOR_TENSOR 14968 ns, modelled 14629; ACTIVATE of N = 1 159 ns, of
        # which 46 are the least interval.
        Engine.TENSOR: EngineTiming(2.8, 64, 142.0, 9.0),
        Engine.VECTOR: EngineTiming(1.12, 64, 100.0, 9.0),
        # fig16: a chain of dependent ACTIVATEs starts one every 189 ns, 30 after the 159.
        Engine.SCALAR: EngineTiming(1.4, 64, 113.0, 9.0, dependent_ns=30.0),
        Engine.GPSIMD: EngineTiming(1.4, 64, 100.0, 9.0),  # latency assumed like VectorE
        Engine.SYNC: EngineTiming(1.4, 1, 0.0, 9.0),
    },
    dma=DmaTiming(
        engines=16,  # per core
        queues=16,  # rings per engine
        trigger_ns=50.0,  # assumed: the trigger occupies the sequencer this long
        fixed_latency_ns=1300.0,  # nki-dma-bandwidth-guide.rst
        completion_ns=7.0,  # the 4-byte semaphore write, fig29
        semaphore_increment=16,  # each of 16 engines posts one
        # 4 B: fig29. 256 B to 1 KiB: 6.5 B/ns, from the matmul tutorial (104 GB/s per core).
        # 4 KiB: 18.1 B/ns, fig30.
        descriptor_time_ns=((4, 7.0), (256, 39.4), (1024, 157.5), (4096, 226.3)),
        hbm_bytes_per_ns=410.0,  # 820 GB/s per two cores
        descriptor_max_bytes=64 * KIB,  # assumed
    ),
    fp32_matmul_passes=4,  # confirmed by a published GEMM
    load_stationary_speedup=4,  # fast weight load
    load_stationary_latency_ns=67.0,  # LDWEIGHTS of one column, fig20-21
    act_table_load_ns=368.0,
    activation_accumulate_cycles=64,  # ActReadAccumulator
    dependent_cycles=100,
    dynamic_interval_cycles=600,  # MIN_II_DYNAMIC
    gpsimd_start_cycles=150,
    program_start_ns=16000.0,  # 15-17 us before the first compute instruction
    program_end_ns=5000.0,  # 4-5 us teardown
    collectives=CollectiveTiming(
        step_ns=1500.0,  # a hop takes 1 to 2 us within an instance
        start_ns=1300.0,  # assumed: the trigger is a DMA write, as slow to start as any
        most_sources=16,  # source tensors of a compute descriptor
    ),
    instances=(
        Instance("inf2.xlarge", (1,), CORES_PER_CHIP, LINK_BYTES_PER_NS),
        Instance("inf2.24xlarge", (6,), CORES_PER_CHIP, LINK_BYTES_PER_NS),  # ring: assumed
        Instance("inf2.48xlarge", (12,), CORES_PER_CHIP, LINK_BYTES_PER_NS),  # 12-chip ring
    ),
)
