"""Collectives: routes between chips, algorithms by size, and their cost against hand arithmetic."""

from __future__ import annotations

import pytest

from axonc.backends.cost.collectives import plan, steps_cost, transfer_ns
from axonc.backends.targets import TARGETS

INF2, TRN1 = TARGETS["inf2"], TARGETS["trn1"]
RATE = 290.0
STEP, START = INF2.collectives.step_ns, INF2.collectives.start_ns
MIB = 1024**2


def cost(mnemonic, cores, size, target=INF2):
    return steps_cost(target, mnemonic, (tuple(range(cores)),), cores, size, RATE)


def test_instances_are_the_smallest_that_fit():
    names = {n: INF2.instance_for(n).name for n in (1, 2, 3, 12, 13, 24)}
    assert names == {
        1: "inf2.xlarge", 2: "inf2.xlarge", 3: "inf2.24xlarge", 12: "inf2.24xlarge",
        13: "inf2.48xlarge", 24: "inf2.48xlarge",
    }  # fmt: skip
    assert INF2.instance_for(25) is None and INF2.max_cores == 24 and TRN1.max_cores == 32


def test_a_ring_is_walked_the_shorter_way():
    ring = INF2.instance_for(24)
    assert ring.route(0, 11) == [(0, 11)] and ring.route(11, 1) == [(11, 0), (0, 1)]
    assert len(ring.route(2, 8)) == 6 and ring.route(3, 3) == []


def test_the_torus_has_the_published_neighbours():
    torus = TRN1.instance_for(32)
    near = [chip for chip in range(16) if len(torus.route(0, chip)) == 1]
    assert near == [1, 3, 4, 12]  # hardware.md 1.2
    assert [chip for chip in range(16) if len(torus.route(1, chip)) == 1] == [0, 2, 5, 13]
    for source in range(16):
        for target in range(16):
            links = torus.route(source, target)
            assert [a for a, _ in links] == ([source] + [b for _, b in links])[: len(links)]
            assert (links[-1][1] if links else source) == target


def test_two_cores_exchange_in_one_step():
    found = cost("all_reduce", 2, 512 * 1024)
    assert found.duration_ns == pytest.approx(START + STEP + 512 * 1024 / RATE)
    assert (found.algorithm, found.moved_bytes) == ("mesh", 512 * 1024)
    assert cost("all_gather", 2, 512 * 1024).duration_ns == pytest.approx(
        START + STEP + 256 * 1024 / RATE
    )


def test_algorithms_go_by_size():
    assert cost("all_reduce", 8, MIB // 2).algorithm == "mesh"
    assert cost("all_reduce", 8, 2 * MIB).algorithm == "doubling"
    assert cost("all_reduce", 6, 2 * MIB).algorithm == "ring"
    assert cost("all_reduce", 8, 64 * MIB).algorithm == "ring"


@pytest.mark.parametrize("cores, size, steps", [(8, MIB // 2, 2), (8, 2 * MIB, 6), (6, MIB, 10)])
def test_the_number_of_steps_is_that_of_the_algorithm(cores, size, steps):
    """Mesh 2, doubling 2 log2 N, ring 2 (N - 1): latency of a tensor of no bytes."""
    _, found = plan(INF2, "all_reduce", tuple(range(cores)), size)
    assert sum(step.repeat for step in found) == steps


@pytest.mark.parametrize("cores, size", [(6, 8 * MIB), (8, 2 * MIB), (8, 64 * MIB), (8, MIB // 2)])
def test_every_core_sends_what_the_bus_bandwidth_formula_says(cores, size):
    """2 (N - 1) / N of the bytes for all_reduce, half of that to gather (hardware.md 1.5)."""
    moved = cost("all_reduce", cores, size).moved_bytes
    assert moved == pytest.approx(2 * (cores - 1) / cores * size)
    assert cost("all_gather", cores, size).moved_bytes == pytest.approx(moved / 2)


def test_doubling_sends_most_between_neighbours():
    """4 cores on 2 chips: half of the bytes on the chip, a quarter from each core to the other."""
    _, (near, far) = plan(INF2, "all_gather", (0, 1, 2, 3), 2 * MIB)
    assert {flow for flow in near.flows if flow[0] == 0} == {(0, 1, MIB)}
    assert {flow for flow in far.flows if flow[0] == 0} == {(0, 2, MIB / 2)}


def test_a_large_ring_is_bound_by_the_links():
    size = 240 * MIB
    found = cost("all_reduce", 24, size)
    bytes_ns = 2 * 23 / 24 * size / INF2.instances[-1].link_bytes_per_ns
    assert found.duration_ns == pytest.approx(START + 46 * STEP + bytes_ns)


def test_groups_side_by_side_share_links():
    pairs = ((0, 2), (1, 3))  # both cross the link from chip 0 to chip 1
    alone = steps_cost(INF2, "all_gather", ((0, 2),), 4, MIB, RATE)
    both = steps_cost(INF2, "all_gather", pairs, 4, MIB, RATE)
    extra = MIB / 2 / INF2.instances[1].link_bytes_per_ns
    assert both.duration_ns - alone.duration_ns == pytest.approx(extra)


def test_flows_within_a_chip_are_bound_by_the_sender():
    instance = INF2.instance_for(2)
    assert transfer_ns(instance, ((0, 1, 2900.0), (0, 1, 2900.0)), RATE) == pytest.approx(20.0)


def test_a_group_of_one_only_copies():
    assert cost("all_reduce", 1, 2900).duration_ns == pytest.approx(START + 10.0)
