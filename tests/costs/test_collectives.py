"""Messages cost latency plus size over bandwidth, and never less than their wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster as read_cluster
from sizewell.costs.collectives import exchange, transfer_s
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.work import Collective, CollectiveKind
from sizewell.specs.calibration import LINK_PARAMETERS
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


def test_cards_bridged_in_pairs_meet_the_others_of_their_node_in_the_slots_not_over_the_network() -> None:
    bridged = Machines.of([read_cluster("h100-pcie-80gb", gpus_per_node=4)])
    slots = Machines.of([read_cluster("l40s-48gb", gpus_per_node=4)])
    message = Collective(kind="all-reduce", ranks=4, bytes=np.array([16384.0]))
    mine, theirs = (exchange(message, Reached.of(each, read_efficiencies())) for each in (bridged, slots))
    assert mine.latency_s == pytest.approx(theirs.latency_s, rel=0.5)
    assert bridged.near_gpus.tolist() == [4]
