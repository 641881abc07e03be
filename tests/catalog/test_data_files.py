"""Every shipped data file parses, names its sources and stays inside physical bands."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import sizewell
from sizewell.catalog.hardware import list_gpus, list_hosts, list_links, list_nodes, list_storage, nodes_for
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
from sizewell.specs.hardware import GpuSpec, HostSpec, LinkSpec, NodeSpec

DATA = Path(sizewell.__file__).parent / "catalog" / "data"
GIB = 2**30
SOURCED_FOLDERS = ("gpus", "nodes", "networks", "hosts", "storage", "prices", "quality", "drivers")
SOURCED = sorted(path for folder in SOURCED_FOLDERS for path in (DATA / folder).glob("*.toml"))
TESTED_ELSEWHERE = {"engine_flags", "engine_metrics", "models", "engines", "calibrations", "workloads"}
GPUS = [gpu for gpu in list_gpus() if gpu.kind != "cpu"]
PLAIN_NUMBERS = {
    "generation", "lanes", "ports", "domain_gpus", "max_nodes", "gpus", "size_b",
    "usd", "usd_per_gpu_hour", "baseline", "quantized", "recovery_fraction",
}  # fmt: skip
"""Numbers without a source of their own: counts, and those of a row whose `from` stands beside them."""

ODD_INTENSITY = {"jetson-thor-128gb": "data-centre tensor cores on laptop memory"}
ODD_INT8 = {
    "b300-sxm-288gb": "integer units cut by design",
    "gb300-288gb": "integer units cut by design",
    "apple-m5-32gb": "measured on the same core, not a maker's figure",
    "apple-m5-max-128gb": "measured on the same core, not a maker's figure",
}
ODD_FP16 = {"apple": "GPU computes fp16 at the fp32 rate", "cpu": "vector units"}
FP4_OVER_FP8 = {
    "b300-sxm-288gb": 3.0,
    "gb300-288gb": 3.0,
}
GEFORCE_BLACKWELL_FP4_OVER_FP8 = 4.0
"""GeForce halves fp8 with fp32 accumulation; fp4 is whole."""


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def _origins(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["from"]] if isinstance(node.get("from"), str) else []
        return own + [origin for value in node.values() for origin in _origins(value)]
    if isinstance(node, list):
        return [origin for value in node for origin in _origins(value)]
    return []


def _unsourced(node: Any, name: str = "") -> list[str]:
    """Return the names of numbers that neither carry a source nor are counts."""
    if isinstance(node, dict):
        if "value" in node:
            return [] if isinstance(node.get("from"), str) else [name]
        return [bad for key, value in node.items() for bad in _unsourced(value, key)]
    if isinstance(node, list):
        return [bad for value in node for bad in _unsourced(value, name)]
    number = isinstance(node, int | float) and not isinstance(node, bool)
    return [name] if number and name not in PLAIN_NUMBERS and name != "gpu_counts" else []


def _day(stated: str) -> date:
    year, month, day = ([int(part) for part in stated.split("-")] + [1, 1])[:3]
    return date(year, month, day)


def _dates(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["date"])] if isinstance(node.get("date"), str) else []
        return own + [stated for value in node.values() for stated in _dates(value)]
    return [stated for value in node for stated in _dates(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("path", SOURCED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_number_names_a_source_of_its_own_file(path: Path) -> None:
    facts = _read(path)
    assert facts["key"] == path.stem
    body = {key: value for key, value in facts.items() if key != "sources"}
    origins = _origins(body)
    assert origins or facts.get("result") == []
    assert set(origins) == set(facts.get("sources", {})), "a source that is missing or that nothing uses"
    assert _unsourced(body) == []


@pytest.mark.parametrize("path", SOURCED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_source_has_a_title_and_every_date_is_past(path: Path) -> None:
    facts = _read(path)
    for source in facts.get("sources", {}).values():
        assert len(source["title"]) > 10
        assert re.match(r"https://|urn:", source.get("url", "https://"))
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", source["date"])
    assert all(_day(stated) <= date.today() for stated in _dates(facts))


def test_no_data_file_escapes() -> None:
    files = [path for path in DATA.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    ours = [path for path in files if path.relative_to(DATA).parts[0] not in TESTED_ELSEWHERE]
    assert sorted(ours) == SOURCED


def test_there_are_at_least_45_accelerators() -> None:
    assert len(GPUS) >= 45


@pytest.mark.parametrize("gpu", list_gpus(), ids=lambda gpu: gpu.key)
def test_every_accelerator_can_be_used(gpu: GpuSpec) -> None:
    assert nodes_for(gpu)
    assert 2 * GIB < gpu.total_bytes <= gpu.memory_bytes * 1.001
    assert 0.5 <= gpu.usable_fraction <= 1
    assert date(2016, 1, 1) <= _day(gpu.launch_date) <= date.today()
    assert all(gpu.peak_flops_per_s(compute) > 0 for compute in ("fp32", "fp16", "bf16", "fp8", "int8", "fp4"))


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_memory_lies_in_physical_bands(gpu: GpuSpec) -> None:
    assert 8 * GIB <= gpu.memory_bytes <= 600 * GIB
    assert 100e9 <= gpu.bytes_per_s <= 8.1e12
    assert gpu.reported_bytes is None or 0.9 < gpu.reported_bytes / gpu.memory_bytes <= 1.0
    stated = re.search(r"-(\d+)gb$", gpu.key)
    assert stated
    assert gpu.memory_bytes / 1e9 == pytest.approx(float(stated[1]), rel=0.08)
    assert 0.001 < gpu.bytes_per_s / gpu.memory_bytes < 80, "reads of its whole memory a second"


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_arithmetic_lies_in_physical_bands(gpu: GpuSpec) -> None:
    dense = gpu.peak_flops_per_s("bf16")
    if gpu.key not in ODD_INTENSITY:
        assert 20 <= dense / gpu.bytes_per_s <= 510, "operations a byte"
    assert 0.02e12 <= dense / gpu.tdp_w <= 2.5e12, "operations a joule: sparse rates would lie above"
    assert 30 <= gpu.tdp_w <= 1500


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_rates_of_types_keep_the_ratios_of_the_chip(gpu: GpuSpec) -> None:
    rates = gpu.flops_per_s
    dense = gpu.peak_flops_per_s("bf16")
    assert dense == pytest.approx(gpu.peak_flops_per_s("fp16"), rel=0.01)
    if "fp8" in rates:
        assert rates["fp8"] / dense == pytest.approx(1.0 if gpu.key.startswith("gaudi3") else 2.0, rel=0.02)
    if "int8" in rates and gpu.key not in ODD_INT8:
        assert min(abs(rates["int8"] / dense - ratio) for ratio in (1, 2, 4)) < 0.1
    if "fp4" in rates:
        geforce = gpu.vendor == "nvidia" and gpu.form_factor in ("consumer", "laptop")
        usual = GEFORCE_BLACKWELL_FP4_OVER_FP8 if geforce else 2.0
        assert rates["fp4"] / rates["fp8"] == pytest.approx(FP4_OVER_FP8.get(gpu.key, usual), rel=0.02)
    assert rates.get("fp32", 0.0) <= dense * 1.001


@pytest.mark.parametrize(
    "gpu", [gpu for gpu in GPUS if gpu.compute_capability and gpu.kind == "gpu"], ids=lambda gpu: gpu.key
)
def test_narrow_types_exist_only_where_the_generation_has_them(gpu: GpuSpec) -> None:
    generation = float(gpu.compute_capability or 0)
    assert ("fp8" in gpu.flops_per_s) == (generation >= 8.9)
    assert ("fp4" in gpu.flops_per_s) == (generation >= 10)
    assert ("bf16" in gpu.flops_per_s) == (generation >= 8)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_links_are_what_their_technology_carries(gpu: GpuSpec) -> None:
    links = {link.key: link for link in list_links()}
    if (gpu.host_link or "").startswith("pcie"):
        assert gpu.host_link_bytes_per_s == pytest.approx(links[gpu.host_link or ""].bytes_per_s, rel=0.06)
    for node in nodes_for(gpu):
        if node.topology == "nvswitch":
            assert node.scale_up.bytes_per_s == pytest.approx(gpu.scale_up_bytes_per_s, rel=0.01), node.key


@pytest.mark.parametrize("link", list_links(), ids=lambda link: link.key)
def test_links_lie_in_physical_bands(link: LinkSpec) -> None:
    assert 0.1e9 <= link.bytes_per_s <= 1e12
    assert 0.1e-6 <= link.latency_s <= 100e-6
    assert link.kind != "scale-out" or link.bytes_per_s <= 100e9


@pytest.mark.parametrize("host", list_hosts(), ids=lambda host: host.key)
def test_hosts_lie_in_physical_bands(host: HostSpec) -> None:
    assert 4 <= host.cores <= 512
    assert 8 * GIB <= host.ram_bytes <= 8192 * GIB
    assert 30e9 <= host.ram_bytes_per_s <= 6e12
    assert host.disk_read_bytes_per_s <= 150e9
    assert 10 <= host.power_w <= 7000


@pytest.mark.parametrize("node", list_nodes(), ids=lambda node: node.key)
def test_nodes_hold_together(node: NodeSpec) -> None:
    cards = [gpu for gpu in list_gpus() if gpu.key in node.gpu_keys]
    assert cards
    assert all(1 <= count <= 16 for count in node.gpu_counts)
    assert (node.topology == "none") == (node.max_gpus == 1)
    assert node.scale_up_domain >= (2 if node.topology == "pairs" else min(node.max_gpus, 4))
    assert node.scale_out.kind == "scale-out"
    assert 1 <= node.scale_out_ports <= 24
    assert 1 <= node.max_nodes <= 256
    if not node.template:
        assert node.power_w >= 0.75 * node.max_gpus * min(gpu.tdp_w for gpu in cards)


def test_every_accelerator_has_one_standard_node_at_most() -> None:
    for gpu in list_gpus():
        assert len([node for node in list_nodes() if node.standard and gpu.key in node.gpu_keys]) <= 1, gpu.key


def test_storages_lie_in_physical_bands() -> None:
    for store in list_storage():
        assert 10e6 <= store.read_bytes_per_s <= 100e9
        assert (store.aggregate_read_bytes_per_s or 1e15) >= store.read_bytes_per_s


def test_rents_lie_in_bands_of_the_memory_rented() -> None:
    memory = {gpu.key: gpu.memory_bytes / 1e9 for gpu in list_gpus()}
    for offer in read_prices().offers:
        usd_per_gb_hour = offer.usd_per_gpu_hour / memory[offer.gpu_key]
        assert 0.003 <= usd_per_gb_hour <= 0.2, offer
        assert _day(offer.date) <= date.today()


def test_purchases_lie_in_bands_of_the_memory_bought() -> None:
    memory = {gpu.key: gpu.memory_bytes / 1e9 for gpu in list_gpus()}
    nodes = {node.key for node in list_nodes()}
    hosts = {host.key for host in list_hosts()}
    for row in read_prices().purchases:
        assert row.node_key is None or row.node_key in nodes
        assert row.host_key is None or row.host_key in hosts
        if row.gpu_key and not row.node_key:
            assert 10 <= row.usd / memory[row.gpu_key] <= 500, row
        elif row.host_key:
            assert 500 <= row.usd <= 100_000


def test_quality_lies_between_nothing_and_a_little_luck() -> None:
    table = read_quality()
    assert sum(len(rows) for rows in table.results.values()) >= 110
    for path in (DATA / "quality").glob("*.toml"):
        for row in _read(path)["result"]:
            assert 0 < row["recovery_fraction"] <= 1.05
            if "baseline" in row and "quantized" in row:
                up, down = row["quantized"], row["baseline"]
                ratio = down / up if row["tasks"] == "perplexity" else up / down
                assert row["recovery_fraction"] == pytest.approx(ratio, abs=2e-3), (path.stem, row["model"])


def test_every_model_of_the_index_has_a_config_that_parses() -> None:
    index = tomllib.loads((DATA / "models" / "index.toml").read_text())
    assert len(index) >= 60
    for facts in index.values():
        assert "model_type" in json.loads((DATA / "models" / facts["file"]).read_text())


def test_no_data_folder_escapes_the_tests() -> None:
    read_here = {"gpus", "nodes", "networks", "hosts", "storage", "models", "prices", "quality", "drivers"}
    read_elsewhere = {"engines", "engine_flags", "engine_metrics", "calibrations", "workloads"}
    assert {folder.name for folder in DATA.iterdir()} == read_here | read_elsewhere
