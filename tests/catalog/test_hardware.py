"""Accelerators, nodes and clusters by name; names in logs; the measured points' own machines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sizewell.catalog.facts import Facts
from sizewell.catalog.hardware import (
    cluster,
    gpu_in_log,
    list_gpus,
    list_nodes,
    list_storage,
    nodes_for,
    read_gpu,
    read_node,
    read_storage,
)
from sizewell.catalog.overlay import VARIABLE
from sizewell.specs.errors import BadInputError, UnknownNameError

MEASURED = Path(__file__).parents[2].parent / "shared" / "data"
GIB = 2**30


@pytest.mark.parametrize(
    ("spelt", "key"),
    [
        ("h200", "h200-sxm-141gb"),
        ("H100", "h100-sxm-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie-80gb"),
        ("h100 sxm", "h100-sxm-80gb"),
        ("RTX 4090", "rtx-4090-24gb"),
        ("rtx4090", "rtx-4090-24gb"),
        ("GeForce RTX-3060-Ti", "rtx-3060-ti-8gb"),
        ("RTX PRO 6000", "rtx-pro-6000-workstation-96gb"),
        ("AMD Instinct MI300X", "mi300x-192gb"),
        ("mi250x", "mi250x-gcd-64gb"),
        ("DGX-Spark", "gb10-128gb"),
        ("Tesla T4", "t4-16gb"),
        ("M3 Ultra", "apple-m3-ultra-512gb"),
    ],
)
def test_an_accelerator_is_found_however_it_is_spelt(spelt: str, key: str) -> None:
    assert read_gpu(spelt).key == key


def test_every_key_and_alias_means_its_own_accelerator() -> None:
    for gpu in list_gpus():
        assert all(read_gpu(name).key == gpu.key for name in (gpu.key, gpu.key.upper(), *gpu.aliases))


def test_an_unknown_accelerator_is_answered_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown GPU 'h2000'; did you mean h200"):
        read_gpu("h2000")
    with pytest.raises(UnknownNameError, match=r"mi250x"):
        read_gpu("mi250x-128gb")


def test_h100_says_what_its_datasheet_says() -> None:
    gpu = read_gpu("h100")
    assert gpu.memory_bytes == 80 * GIB
    assert gpu.bytes_per_s == 3.35e12
    assert gpu.flops_per_s["bf16"] == pytest.approx(989.4e12)
    assert gpu.flops_per_s["fp8"] == pytest.approx(1978.9e12)
    assert gpu.total_bytes == pytest.approx(79.2 * GIB)
    assert gpu.scale_up_bytes_per_s == 450e9
    assert (gpu.host_link, gpu.compute_capability) == ("pcie5-x16", "9.0")


def test_the_total_of_an_accelerator_nobody_logged_is_derived_within_a_percent() -> None:
    corrected_by_memory = {"a10-24gb", "a10g-24gb", "a16-16gb", "a40-48gb", "l4-24gb", "l20-48gb", "l40-48gb"}
    corrected_by_memory |= {"l40s-48gb", "t4-16gb"}  # ECC in GDDR6 takes a sixteenth, which only the driver tells
    for gpu in list_gpus():
        if gpu.kind == "gpu" and gpu.reported_bytes and gpu.key not in corrected_by_memory:
            derived = replace(gpu, reported_bytes=None).total_bytes
            assert derived == pytest.approx(gpu.reported_bytes, rel=0.007), gpu.key


@pytest.mark.parametrize(
    ("gpu", "gib"), [("rtx-3060", 11.63), ("rtx-3060-ti", 7.63), ("rtx-4080", 15.57), ("rtx-a6000", 47.53)]
)
def test_totals_of_out_of_memory_messages_seen_elsewhere(gpu: str, gib: float) -> None:
    assert read_gpu(gpu).total_bytes / GIB == pytest.approx(gib, rel=0.004)


def test_every_accelerator_has_a_node_and_every_node_an_accelerator() -> None:
    assert [gpu.key for gpu in list_gpus() if not nodes_for(gpu)] == []
    assert [node.key for node in list_nodes() if not node.gpu_keys] == []


@pytest.mark.parametrize(
    ("gpu", "node"),
    [
        ("h100", "hgx-h100-8"),
        ("h200", "hgx-h200-8"),
        ("b200", "hgx-b200-8"),
        ("gb200", "gb200-nvl72"),
        ("mi300x", "mi300x-8"),
        ("l40s", "l40s-8"),
        ("l40", "pcie-server"),
        ("rtx-4090", "desktop"),
        ("rtx-5000-ada", "workstation"),
        ("m4-max", "mac-studio"),
        ("gb10", "dgx-spark"),
        ("ryzen-7600", "cpu-desktop"),
        ("epyc-9654", "cpu-server"),
    ],
)
def test_the_standard_node_comes_first(gpu: str, node: str) -> None:
    assert nodes_for(read_gpu(gpu))[0].key == node


def test_two_nodes_of_eight_h200() -> None:
    pair = cluster("h200", gpus_per_node=8, nodes=2)
    assert (pair.node.key, pair.gpus, pair.scale_up_gpus) == ("hgx-h200-8", 16, 8)
    assert pair.node.scale_up.bytes_per_s == 450e9
    assert pair.node.scale_out.bytes_per_s == 50e9


def test_one_node_may_be_used_in_part_but_several_are_whole() -> None:
    assert cluster("h100", gpus_per_node=4).node.key == "hgx-h100-8"
    assert cluster("h100", gpus_per_node=4, nodes=4).node.key == "hgx-h100-4"


def test_fast_links_end_at_the_node_except_in_a_rack() -> None:
    assert cluster("h100", gpus_per_node=4, nodes=2, node="dgx-h100").scale_up_gpus == 4
    assert cluster("gb200", gpus_per_node=4, nodes=18).scale_up_gpus == 72
    assert cluster("gb200", gpus_per_node=4, nodes=36).scale_up_gpus == 72
    assert cluster("gb200", gpus_per_node=4, nodes=2).scale_up_gpus == 8


@pytest.mark.parametrize(("cards", "host"), [(1, "epyc-7443p-128gb"), (4, "epyc-7443p-128gb"), (8, "epyc-server-1tb")])
def test_a_few_consumer_cards_sit_around_a_small_host(cards: int, host: str) -> None:
    assert cluster("rtx-4090", gpus_per_node=cards, node="consumer-server").node.host.key == host


def test_bridged_pairs_reach_the_others_over_pcie() -> None:
    bridged = cluster("h100-pcie", gpus_per_node=8)
    assert bridged.scale_up_gpus == 2
    assert bridged.node.peer_link is not None
    assert bridged.node.peer_link.bytes_per_s < bridged.node.scale_up.bytes_per_s


@pytest.mark.parametrize(
    ("gpu", "node", "link"),
    [
        ("rtx-4090", "desktop", "pcie4-x8"),
        ("rtx-4090", "workstation", "pcie4-x16"),
        ("rtx-5090", "workstation", "pcie5-x16"),
        ("rtx-2080-ti", "desktop", "pcie3-x8"),
        ("rtx-4060-ti", "workstation", "pcie4-x8"),
        ("l40", "pcie-server", "pcie4-x16"),
    ],
)
def test_a_slot_is_as_fast_as_board_and_card_allow(gpu: str, node: str, link: str) -> None:
    assert cluster(gpu, gpus_per_node=2, node=node).node.scale_up.key == link


def test_impossible_clusters_are_refused_with_what_would_be_possible() -> None:
    with pytest.raises(BadInputError, match=r"desktop holds 1, 2, 3, 4"):
        cluster("rtx-4090", gpus_per_node=8, node="desktop")
    with pytest.raises(BadInputError, match=r"no node holds 9 x h100-sxm-80gb: .*hgx-h100-8 holds"):
        cluster("h100", gpus_per_node=9)
    with pytest.raises(BadInputError, match=r"no node holds 0 x"):
        cluster("h100", gpus_per_node=0)
    with pytest.raises(BadInputError, match=r"65 nodes of h100-sxm-80gb: .* 1 to 64"):
        cluster("h100", gpus_per_node=8, nodes=65)
    with pytest.raises(BadInputError, match=r"hgx-h100-8 does not hold l4-24gb"):
        cluster("l4", gpus_per_node=1, node="hgx-h100-8")
    with pytest.raises(UnknownNameError, match=r"unknown node 'hgx-h100-9'; did you mean hgx-h100-8"):
        cluster("h100", gpus_per_node=1, node="hgx-h100-9")


def test_clouds_are_named_by_their_provider() -> None:
    assert read_node("aws-p5-48xlarge").provider == "aws"
    assert read_node("HGX-H100-8").provider is None


def test_storages() -> None:
    assert {store.key for store in list_storage()} >= {"nvme-gen4", "vast-nfs", "lustre-shared"}
    assert read_storage("nvme-gen4").read_bytes_per_s > read_storage("sata-ssd").read_bytes_per_s
    with pytest.raises(UnknownNameError, match=r"unknown storage 'nvme'"):
        read_storage("nvme")


@pytest.mark.parametrize(
    ("name", "memory_gib", "key"),
    [
        ("NVIDIA H100 80GB HBM3", 79.1, "h100-sxm-80gb"),
        ("H100-80GB", None, "h100-sxm-80gb"),
        ("A100", None, "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-80GB", None, "a100-sxm-80gb"),
        ("A100-40GB", 39.5, "a100-sxm-40gb"),
        ("H100", 93.1, "h100-nvl-94gb"),
        ("L4", None, "l4-24gb"),
        ("NVIDIA L40S", 44.4, "l40s-48gb"),
        ("NVIDIA GeForce RTX 4090", None, "rtx-4090-24gb"),
        ("NVIDIA GeForce RTX 4090", 47.4, "rtx-4090-48gb"),
        ("NVIDIA GeForce RTX 2080 Ti", 21.5, "rtx-2080-ti-22gb"),
        ("RTX3060-12GB", None, "rtx-3060-12gb"),
    ],
)
def test_names_in_logs(name: str, memory_gib: float | None, key: str) -> None:
    assert gpu_in_log(name, memory_gib).key == key


def test_a_log_that_names_nothing_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        gpu_in_log("", None)
    with pytest.raises(UnknownNameError):
        gpu_in_log("Quadro K2000", 0.002)
    with pytest.raises(UnknownNameError):
        gpu_in_log("RTX A4500-20GB", name_alone=True)
    with pytest.raises(UnknownNameError):
        gpu_in_log("NVIDIA A100-SXM-64GB", 63.4)


def test_every_name_the_makers_drivers_print_leads_back() -> None:
    for gpu in list_gpus():
        for name in gpu.names_in_logs:
            assert gpu_in_log(name, gpu.total_bytes / GIB).key == gpu.key, name


def _rows(name: str) -> Iterator[dict[str, str]]:
    path = MEASURED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the checkout")
    with path.open(newline="") as lines:
        yield from csv.DictReader(lines)


def test_every_accelerator_of_the_measured_memory_is_found() -> None:
    seen = {(row["gpu"], row["gpu_mem_gib_reported"]) for row in _rows("memory-dev.csv") if row["gpu"]}
    for name, reported in seen:
        gpu = gpu_in_log(name, float(reported) if reported else None)
        assert not reported or gpu.total_bytes / GIB == pytest.approx(float(reported), rel=0.02), name


def test_every_machine_of_the_measured_points_can_be_built() -> None:
    seen = {(row["gpu"], int(row["num_gpus"]), row["num_nodes"]) for row in _rows("points-dev.csv")}
    for key, gpus, stated in seen:
        gpu = read_gpu(key)
        assert gpu.key == key
        most = max(node.max_gpus for node in nodes_for(gpu))
        nodes = int(stated) if stated else -(-gpus // most)
        assert cluster(key, gpus_per_node=-(-gpus // nodes), nodes=nodes).gpus >= gpus


def test_one_accelerator_is_read_from_one_whole_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of all the others only the lines with their names are parsed: that is what keeps the commands quick."""
    whole: list[str] = []
    read = Facts.read
    monkeypatch.setattr(Facts, "read", lambda path: whole.append(path.stem) or read(path))
    monkeypatch.setenv(VARIABLE, str(tmp_path))  # a catalogue nothing was read from before
    assert read_gpu("H200").key == "h200-sxm-141gb"
    assert whole == ["h200-sxm-141gb"]
