"""Messages cost latency plus size over bandwidth, and never less than their wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster as read_cluster
from sizewell.catalog.hardware import nodes_for, read_gpu
from sizewell.costs.collectives import exchange, transfer_s
from sizewell.costs.machines import Machines, Reached, machine_tags
from sizewell.costs.work import Collective, CollectiveKind
from sizewell.specs.calibration import LINK_PARAMETERS
from sizewell.specs.hardware import ClusterSpec
from specimens import H100, cluster, gpu

PCIE = gpu(864e9, 362e12, None, key="l40s")
CLUSTERS = (cluster(H100, 8), cluster(H100, 4, 4), cluster(PCIE, 8, topology="pcie", latency_s=1.9e-6))
REACHED = Reached.of(Machines.of(CLUSTERS), read_efficiencies())
SIZES = np.array([1e3, 1e5, 1e7, 1e9])


def seconds(kind: CollectiveKind, ranks: int, sizes: object = SIZES, stride: int = 1) -> np.ndarray:
    each = exchange(Collective(kind=kind, ranks=ranks, bytes=np.asarray(sizes, float), stride=stride), REACHED)
    return each.latency_s + each.wire_s


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["all-reduce", "all-gather", "all-to-all", "send"]),
    ranks=st.integers(2, 16),
    size=st.floats(1, 1e10),
)
def test_no_message_beats_its_wire(kind: CollectiveKind, ranks: int, size: float) -> None:
    each = exchange(Collective(kind=kind, ranks=ranks, bytes=np.array([size])), REACHED)
    assert (each.wire_s >= each.floor_s).all()
    assert (each.latency_s > 0).all()


@pytest.mark.parametrize("kind", ["all-reduce", "all-gather", "all-to-all", "send"])
def test_larger_messages_take_longer(kind: CollectiveKind) -> None:
    assert (np.diff(seconds(kind, 8), axis=1) > 0).all()


def test_a_large_all_reduce_on_nvswitch_moves_twice_the_tensor_over_the_wire() -> None:
    share = REACHED.curve("all-reduce", LINK_PARAMETERS)[LINK_PARAMETERS.index("large_share"), 0]
    expected = 2 * 7 / 8 * 1e9 / (450e9 * share)
    assert seconds("all-reduce", 8)[0, 3] == pytest.approx(expected, rel=0.02)


def test_small_messages_wait_for_latency_and_more_so_across_nodes_and_over_pcie() -> None:
    inside, across, pcie = seconds("all-reduce", 8)[:, 0]
    assert inside < pcie
    assert inside < across
    assert inside < 30e-6


def test_between_nodes_each_accelerator_carries_its_slice() -> None:
    """Sixteen ranks on four nodes: near 3/4, far 3/4 of a quarter, both ways."""
    near = REACHED.curve("all-reduce", LINK_PARAMETERS)[LINK_PARAMETERS.index("large_share"), 1]
    far = REACHED.factors["link_far"][1]
    wire = 2 * 1e9 * (3 / 4 / (450e9 * near) + 3 / 4 / 4 / (50e9 * far))
    assert seconds("all-reduce", 16)[1, 3] == pytest.approx(wire, rel=0.02)


def test_pipeline_borders_between_nodes_use_the_far_link() -> None:
    near = seconds("send", 2, [1e8], stride=2)
    far = seconds("send", 2, [1e8], stride=4)
    assert far[1, 0] > 3 * near[1, 0]
    assert far[0, 0] == near[0, 0]


def test_a_cache_moves_over_all_lanes_at_once() -> None:
    one, eight = (transfer_s(np.array([1e9]), REACHED, lanes)[0, 0] for lanes in (1, 8))
    assert one == pytest.approx(8 * eight, rel=0.05)


@pytest.mark.parametrize(("bridged", "flat", "count"), [("h100-pcie-80gb", "l40s-48gb", 4), ("h200-nvl", "l40s", 8)])
def test_bridged_cards_meet_the_other_islands_of_their_node_in_the_slots(bridged: str, flat: str, count: int) -> None:
    islands, slots = (Machines.of([read_cluster(each, gpus_per_node=count)]) for each in (bridged, flat))
    message = Collective(kind="all-reduce", ranks=count, bytes=np.array([16384.0]))
    mine, theirs = (exchange(message, Reached.of(each, read_efficiencies())) for each in (islands, slots))
    assert mine.latency_s == pytest.approx(theirs.latency_s, rel=0.5)
    assert islands.node_gpus.tolist() == [count]


def test_a_large_all_reduce_crosses_two_islands_of_four_in_four_rings() -> None:
    """Eight H200 NVL: 2 × 3/4 over bridges, 2 × 7/8 of a quarter over each slot, and no network."""
    reached = Reached.of(Machines.of([read_cluster("h200-nvl", gpus_per_node=8)]), read_efficiencies())
    assert reached.slots is not None
    near, slot = (
        r.curve("all-reduce", LINK_PARAMETERS)[LINK_PARAMETERS.index("large_share"), 0]
        for r in (reached, reached.slots)
    )
    found = exchange(Collective(kind="all-reduce", ranks=8, bytes=np.array([1e9])), reached)
    machines = reached.machines
    wire = 2e9 * (3 / 4 / 450e9 / near + 7 / 8 / 4 / machines.slot_bytes_per_s[0] / slot)
    assert found.wire_s[0, 0] == pytest.approx(wire, rel=1e-6)
    assert machines.far_bytes_per_s[0] < machines.slot_bytes_per_s[0]


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["all-reduce", "all-gather", "all-to-all", "send"]),
    gpu=st.sampled_from(["h200-nvl", "h100-nvl", "a100-pcie-80gb"]),
    ranks=st.sampled_from([2, 4, 8]), size=st.floats(1, 1e10),
)  # fmt: skip
def test_bridges_are_never_slower_than_slots_and_never_beat_their_wire(
    kind: CollectiveKind, gpu: str, ranks: int, size: float
) -> None:
    reached = Reached.of(Machines.of([read_cluster(gpu, gpus_per_node=8)]), read_efficiencies())
    assert reached.slots is not None
    message = Collective(kind=kind, ranks=ranks, bytes=np.array([size]))
    bridged, flat = exchange(message, reached), exchange(message, reached.slots)
    assert (bridged.wire_s >= bridged.floor_s * (1 - 1e-9)).all()
    if ranks > reached.machines.near_gpus[0] and kind != "send":
        assert (bridged.latency_s + bridged.wire_s <= (flat.latency_s + flat.wire_s) * (1 + 1e-9)).all()


def test_two_stages_of_a_pair_on_each_side_pass_on_over_the_bridge_then_the_slot() -> None:
    reached = Reached.of(Machines.of([read_cluster("h100-nvl", gpus_per_node=4)]), read_efficiencies())
    inside, across = (
        exchange(Collective(kind="send", ranks=2, bytes=np.array([1e8]), stride=stride), reached).wire_s[0, 0]
        for stride in (1, 2)
    )
    assert across > 3 * inside


@pytest.mark.parametrize(
    ("gpu", "node", "through_host"),
    [
        ("rtx-4090-24gb", "desktop", True), ("a10g-24gb", "aws-g5-12xlarge", True), ("l40s-48gb", "l40s-8", False),
        ("rtx-a6000-48gb", "rtx-a6000-4", False), ("h100-sxm-80gb", "hgx-h100-8", False),
    ],
)  # fmt: skip
def test_cards_without_peer_access_meet_in_host_memory(gpu: str, node: str, through_host: bool) -> None:
    card = read_gpu(gpu)
    (box,) = (each for each in nodes_for(card) if each.key == node)
    tags = machine_tags(ClusterSpec(gpu=card, node=box, gpus_per_node=2, nodes=1))
    assert ("peers:host" in tags) == through_host
