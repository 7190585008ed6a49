"""Dependences between tile operations, and the footprints they rest on."""

import numpy as np
import pytest

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.targets import INF2
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.footprint import Footprint, covers, footprint, may_overlap
from axonc.dialects.ntile.program import Buffer, View
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.tile_level.accesses import Accesses
from axonc.passes.tile_level.dependencies import DependenceGraph, dependence_graph


def graph(kernel: KernelBuilder) -> DependenceGraph:
    return dependence_graph(kernel.program)


def reached(found: DependenceGraph, node: int) -> set[int]:
    """Everything before `node`, directly or not."""
    seen: set[int] = set()
    stack = list(found.predecessors[node])
    while stack:
        other = stack.pop()
        if other not in seen:
            seen.add(other)
            stack.extend(found.predecessors[other])
    return seen


def test_many_accesses_are_found_as_few_are() -> None:
    """Of random boxes, dense and with gaps: those that meet, and those that are dropped."""
    rng = np.random.default_rng(8)
    buffer = Buffer("b", Memory.SBUF, F32, 128, 4096)
    many = Accesses()
    kept: list[tuple[Footprint, int]] = []
    for node in range(400):
        low, count = int(rng.integers(0, 120)), int(rng.integers(1, 9))
        stride = int(rng.integers(1, 3))
        length = int(rng.integers(1, 40))
        start = int(rng.integers(0, 1024 - stride * length)) * 4
        touched = footprint(View(buffer, F32, low, count, start, ((stride, length),)))
        assert many.meeting(touched) == [n for f, n in kept if may_overlap(f, touched)]
        if node % 3:
            many.replaced_by(touched)
            kept = [(f, n) for f, n in kept if not covers(touched, f)]
        many.add(touched, node)
        kept.append((touched, node))
        assert list(many) == kept and len(many) == len(kept)
    assert 100 < len(kept) < 400


# ---- within a buffer -------------------------------------------------------------------------


def test_read_after_write():
    kernel = KernelBuilder(INF2)
    a, b = kernel.sbuf((128, 8), F32), kernel.sbuf((128, 8), F32)
    kernel.memset(a, 1.0)
    kernel.copy(b, a)
    assert graph(kernel).predecessors == [[], [0]]


def test_write_after_read():
    kernel = KernelBuilder(INF2)
    a, b = kernel.sbuf((128, 8), F32), kernel.sbuf((128, 8), F32)
    kernel.copy(b, a)
    kernel.memset(a, 1.0)
    assert graph(kernel).predecessors == [[], [0]]


def test_write_after_write():
    kernel = KernelBuilder(INF2)
    a = kernel.sbuf((128, 8), F32)
    kernel.memset(a, 1.0)
    kernel.memset(a, 2.0)
    assert graph(kernel).predecessors == [[], [0]]


def test_reads_do_not_depend_on_each_other():
    kernel = KernelBuilder(INF2)
    a = kernel.sbuf((128, 8), F32)
    for _ in range(3):
        kernel.copy(kernel.sbuf((128, 8), F32), a)
    assert graph(kernel).predecessors == [[], [], []]


@pytest.mark.parametrize(
    ("first", "second", "is_dependent"),
    [
        ((slice(None), slice(0, 4)), (slice(None), slice(4, 8)), False),
        ((slice(None), slice(0, 5)), (slice(None), slice(4, 8)), True),
        ((slice(0, 64), slice(0, 4)), (slice(64, 128), slice(0, 4)), False),
        ((slice(0, 65), slice(0, 4)), (slice(64, 128), slice(0, 4)), True),
    ],
)
def test_parts_of_a_tile(first, second, is_dependent):
    kernel = KernelBuilder(INF2)
    a = kernel.sbuf((128, 8), F32)
    kernel.memset(a[first], 1.0)
    kernel.memset(a[second], 2.0)
    assert graph(kernel).predecessors == [[], [0] if is_dependent else []]


def test_a_part_reads_only_its_writer():
    kernel = KernelBuilder(INF2)
    a = kernel.sbuf((128, 8), F32)
    kernel.memset(a[:, 0:4], 1.0)
    kernel.memset(a[:, 4:8], 2.0)
    kernel.copy(kernel.sbuf((128, 4), F32), a[:, 4:8])
    kernel.copy(kernel.sbuf((128, 8), F32), a)
    assert graph(kernel).predecessors[2:] == [[1], [0, 1]]


def test_columns_of_a_device_tensor_are_independent():
    kernel = KernelBuilder(INF2)
    out = kernel.output("y", (128, 64), F32)
    tile = kernel.sbuf((128, 32), F32)
    kernel.dma(out[:, 0:32], tile)
    kernel.dma(out[:, 32:64], tile)
    kernel.dma(out[:, 31:33], tile[:, 0:2])
    assert graph(kernel).predecessors == [[], [], [0, 1]]


def test_an_accumulation_group_is_a_chain():
    """Edges grow with the number of operations, not with its square."""
    kernel = KernelBuilder(INF2)
    a, total = kernel.sbuf((128, 128), BF16), kernel.psum((128, 128), F32)
    for k in range(100):
        kernel.matmul(total, a, a, accumulate=k > 0)
    assert graph(kernel).predecessors == [[], *([k] for k in range(99))]


# ---- between buffers with the same bytes -----------------------------------------------------


def _at(view: View, address: int) -> None:
    view.buffer.address = address


def test_reuse_waits_for_the_last_users():
    kernel = KernelBuilder(INF2)
    old, new, other = (kernel.sbuf((128, 8), F32) for _ in range(3))
    kernel.memset(old, 1.0)
    kernel.copy(other, old)
    kernel.memset(new, 2.0)
    for view, address in ((old, 0), (other, 64), (new, 0)):
        _at(view, address)
    found = graph(kernel)
    assert found.predecessors == [[], [0], [3], [0, 1]]  # node 3 is the release of `old`
    assert found.op_count == 3


def test_reuse_of_a_part_waits_only_where_it_overlaps():
    kernel = KernelBuilder(INF2)
    left, right, new = (kernel.sbuf((128, n), F32) for n in (16, 16, 32))
    kernel.memset(left, 1.0)
    kernel.memset(right, 1.0)
    kernel.memset(new[:, 0:16], 2.0)
    kernel.memset(new[:, 16:32], 2.0)
    for view, address in ((left, 0), (right, 64), (new, 0)):
        _at(view, address)
    found = graph(kernel)
    assert [reached(found, node) & {0, 1} for node in (2, 3)] == [{0}, {1}]


def test_reuse_through_a_third_buffer():
    """A takes part of the bytes, B the same ones later: B waits for A and for what A waited for."""
    kernel = KernelBuilder(INF2)
    a, b, c = (kernel.sbuf((128, n), F32) for n in (32, 16, 32))
    for view in (a, b, c):
        kernel.memset(view, 1.0)
        _at(view, 0)
    assert reached(graph(kernel), 2) >= {0, 1}


def test_reuse_through_a_buffer_of_fewer_partitions():
    """B has 4 partitions of the bytes: C waits for A, which had the others."""
    kernel = KernelBuilder(INF2)
    a, b, c = (kernel.sbuf((n, 16), F32) for n in (128, 4, 128))
    kernel.memset(a, 1.0)
    kernel.memset(b, 1.0)
    kernel.memset(c[64:128], 1.0)
    for view in (a, b, c):
        _at(view, 0)
    assert 0 in reached(graph(kernel), 2)


# ---- footprints ------------------------------------------------------------------------------


def _random_view(rng: np.random.Generator, buffer: Buffer) -> View:
    dims = []
    for _ in range(rng.integers(1, 4)):
        stride = int(rng.choice([-6, -1, 0, 1, 2, 3, 4, 6, 8, 12, 24]))
        dims.append((stride, int(rng.integers(1, 5))))
    dtype = [BF16, F32][rng.integers(2)]
    start = int(rng.integers(0, 3))
    offset = dtype.size_bytes * int(rng.integers(120, 150))
    return View(buffer, dtype, start, int(rng.integers(1, 3)), offset, tuple(dims))


def _bytes(view: View) -> set[tuple[int, int]]:
    """Every (partition, byte) of a view, one by one."""
    offsets = {0}
    for stride, size in view.dims:
        offsets = {o + stride * i for o in offsets for i in range(size)}
    size = view.dtype.size_bytes
    return {
        (view.start_partition + partition, view.byte_offset + o * size + byte)
        for partition in range(view.num_partitions)
        for o in offsets
        for byte in range(size)
    }


def test_footprints_against_sets_of_bytes():
    """`may_overlap` never misses a common byte; `covers` never claims one that is not covered."""
    rng = np.random.default_rng(3)
    buffer = Buffer("b", Memory.SBUF, 128, 4096)
    told_apart = boxes_meet = 0
    for _ in range(4000):
        a, b = _random_view(rng, buffer), _random_view(rng, buffer)
        bytes_a, bytes_b = _bytes(a), _bytes(b)
        print_a, print_b = footprint(a), footprint(b)
        if not may_overlap(print_a, print_b):
            assert not bytes_a & bytes_b
        if covers(print_a, print_b):
            assert bytes_b <= bytes_a
        meet = may_overlap(print_a._replace(lattice=()), print_b._replace(lattice=()))
        boxes_meet += meet and not bytes_a & bytes_b
        told_apart += meet and not may_overlap(print_a, print_b)
    assert told_apart > boxes_meet / 4  # and it does tell many apart


def test_a_strided_write_does_not_cover_its_gaps():
    buffer = Buffer("b", Memory.SBUF, 128, 4096)
    gaps = footprint(View(buffer, F32, 0, 128, 0, ((2, 8),)))
    inside = footprint(View(buffer, F32, 0, 128, 4, ((1, 1),)))
    assert not covers(gaps, inside)
    assert covers(gaps, gaps)
    assert not may_overlap(gaps, inside)


def test_allocation_keeps_the_graph_acyclic():
    kernel = KernelBuilder(INF2)
    x = kernel.input("x", (128, 8192), F32)
    for i in range(40):
        tile = kernel.sbuf((128, 8192), F32)
        kernel.dma(tile, x)
        kernel.dma(kernel.output(f"y{i}", (128, 8192), F32), tile)
    allocate_memory(kernel.program)
    found = graph(kernel)
    assert len(found.predecessors) > found.op_count  # there is reuse
    for node in range(found.op_count):
        assert all(other < node for other in reached(found, node) if other < found.op_count)
