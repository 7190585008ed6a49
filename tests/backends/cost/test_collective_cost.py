"""Collectives: routes between chips, algorithms by size, and their cost against hand arithmetic."""

from __future__ import annotations

import pytest

from axonc.backends.cost.collective_steps import candidates
from axonc.backends.cost.collectives import steps_cost, transfer_ns
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.targets import TARGETS

INF2, TRN1 = TARGETS["inf2"], TARGETS["trn1"]
RATE = 290.0
STEP, START = INF2.collectives.step_ns, INF2.collectives.start_ns
MIB = 1024**2


def exchange(mnemonic):
    return INSTRUCTIONS[mnemonic].exchange


def cost(mnemonic, cores, size, target=INF2):
    return steps_cost(target, exchange(mnemonic), (tuple(range(cores)),), cores, size, RATE)


def ways(mnemonic, cores, size, target=INF2):
    """Steps by algorithm, of cores 0, 1, ... of the smallest instance that has them."""
    instance = target.instance_for(cores)
    group = tuple(range(cores))
    return candidates(instance, exchange(mnemonic), group, size, target.collectives.most_sources)


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
    assert near == [1, 3, 4, 12]  # machine.md#the-chip
    assert [chip for chip in range(16) if len(torus.route(1, chip)) == 1] == [0, 2, 5, 13]
    for source in range(16):
        for target in range(16):
            links = torus.route(source, target)
            assert [a for a, _ in links] == ([source] + [b for _, b in links])[: len(links)]
            assert (links[-1][1] if links else source) == target


def test_two_cores_exchange_in_one_step():
    found = cost("all_reduce", 2, 512 * 1024)
    assert found.duration_ns == pytest.approx(START + STEP + 512 * 1024 / RATE)
    assert (found.algorithm, found.moved_bytes) == ("exchange", 512 * 1024)
    assert cost("all_gather", 2, 512 * 1024).duration_ns == pytest.approx(
        START + STEP + 256 * 1024 / RATE
    )


def test_the_least_time_decides():
    found = [cost("all_reduce", 8, size).algorithm for size in (4096, 65536, MIB // 2, 64 * MIB)]
    assert found == ["exchange", "mesh", "chips", "ring"]
    assert cost("all_reduce", 4, 2 * MIB).algorithm == "doubling"
    for size in (4096, MIB, 64 * MIB):
        least = cost("all_reduce", 8, size).duration_ns
        instance = INF2.instance_for(8)
        for steps in ways("all_reduce", 8, size).values():
            times = [s.repeat * (STEP + transfer_ns(instance, s.flows, RATE)) for s in steps]
            assert START + sum(times) >= least * (1 - 1e-12)


def test_the_number_of_steps_is_that_of_the_algorithm():
    """1; 2; 4; 2 log2 N; 2 (N - 1)."""
    steps = {n: sum(s.repeat for s in found) for n, found in ways("all_reduce", 8, MIB).items()}
    assert steps == {"exchange": 1, "mesh": 2, "chips": 4, "doubling": 6, "ring": 14}


def test_algorithms_are_made_for_some_numbers_of_cores():
    assert "doubling" not in ways("all_reduce", 6, MIB)
    assert "chips" not in ways("all_reduce", 2, MIB), "one chip"
    assert "exchange" not in ways("all_reduce", 24, MIB), "more than a DMA engine adds at once"
    assert "exchange" not in ways("all_gather", 8, MIB)


@pytest.mark.parametrize("cores", [4, 6, 8, 24])
def test_every_core_sends_what_the_bus_bandwidth_formula_says(cores):
    """2 (N - 1) / N of the bytes for all_reduce, half of that to gather
    (machine.md#collectives)."""
    for mnemonic, factor in (("all_reduce", 2), ("all_gather", 1), ("reduce_scatter", 1)):
        for name, steps in ways(mnemonic, cores, 8 * MIB).items():
            if name in ("mesh", "doubling", "ring"):
                sent = sum(s.repeat * size for s in steps for a, _, size in s.flows if a == 0)
                assert sent == pytest.approx(factor * (cores - 1) / cores * 8 * MIB)


@pytest.mark.parametrize("cores", [4, 6, 8, 10, 24])
@pytest.mark.parametrize("name", ["mesh", "chips", "doubling", "ring"])
def test_gathering_brings_every_block_to_every_core(cores, name):
    """Followed core by core: what a step sends, its sender has, and in the end all have all."""
    steps = ways("all_gather", cores, cores).get(name, ())  # blocks of one byte
    if name == "ring":
        pytest.skip("sends halves of blocks")
    held = {core: {core} for core in range(cores)}
    for step in steps:
        before = {core: set(blocks) for core, blocks in held.items()}
        for sender, receiver, size in step.flows:
            chip = {c for c in range(cores) if c // 2 == sender // 2}
            given = before[sender] | (chip if name == "chips" and step is steps[0] else set())
            assert size <= len(given)
            held[receiver] |= given
    assert not steps or all(len(blocks) == cores for blocks in held.values())


def test_a_chip_sends_the_sum_of_its_cores_once():
    """4 cores on 2 chips: half of the tensor crosses the link each way; a mesh sends it twice."""
    instance = INF2.instance_for(4)

    def crossing(name):
        steps = ways("reduce_scatter", 4, MIB)[name]
        return sum(n for s in steps for a, b, n in s.flows if a < 2 <= b) / MIB

    assert (crossing("chips"), crossing("mesh")) == (0.5, 1.0)
    assert instance.chip_of(1) == 0 and instance.chip_of(2) == 1


def test_doubling_sends_most_between_neighbours():
    """4 cores on 2 chips: half of the bytes on the chip, a quarter from each core to the other."""
    far, near = ways("all_gather", 4, 2 * MIB)["doubling"]
    assert {flow for flow in near.flows if flow[0] == 0} == {(0, 1, MIB)}
    assert {flow for flow in far.flows if flow[0] == 0} == {(0, 2, MIB / 2)}


def test_a_large_ring_is_bound_by_the_links():
    size = 240 * MIB
    found = cost("all_reduce", 24, size)
    bytes_ns = 23 / 24 * size / INF2.instances[-1].link_bytes_per_ns  # half each way round
    assert found.duration_ns == pytest.approx(START + 46 * STEP + bytes_ns)


def test_groups_side_by_side_share_links():
    pairs = ((0, 2), (1, 3))  # both cross the link from chip 0 to chip 1
    alone = steps_cost(INF2, exchange("all_gather"), ((0, 2),), 4, MIB, RATE)
    both = steps_cost(INF2, exchange("all_gather"), pairs, 4, MIB, RATE)
    extra = MIB / 2 / INF2.instances[1].link_bytes_per_ns
    assert both.duration_ns - alone.duration_ns == pytest.approx(extra)


def test_flows_within_a_chip_are_bound_by_the_sender():
    instance = INF2.instance_for(2)
    assert transfer_ns(instance, ((0, 1, 2900.0), (0, 1, 2900.0)), RATE) == pytest.approx(20.0)


def test_a_group_of_one_only_copies():
    assert cost("all_reduce", 1, 2900).duration_ns == pytest.approx(START + 10.0)
