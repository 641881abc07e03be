"""Builds accelerators, links, hosts, storages and nodes from their files."""

from __future__ import annotations

import re
from typing import cast, get_args

from sizewell.catalog.bands import VENDORS
from sizewell.catalog.facts import Facts
from sizewell.specs.encoding import ComputeType
from sizewell.specs.engine import AMX
from sizewell.specs.hardware import GpuKind, GpuSpec, HostSpec, LinkKind, LinkSpec, StorageBasis, StorageSpec

USUAL_CORE_FLOPS_PER_S = 2.0e9 * 32
"""What a core of a file that states no rate is taken to do: 2 GHz, two 256-bit multiply-adds a cycle; assumed."""
COMPUTE_TYPES: tuple[ComputeType, ...] = get_args(ComputeType)


def gpu_from(facts: Facts) -> GpuSpec:
    """Return the accelerator of one file of gpus/; raises BadInputError naming the file and the field."""
    link = "pcie" if facts.has("pcie") else "host_link"
    return GpuSpec(
        key=facts.text("key"),
        name=facts.text("name"),
        vendor=facts.choice("vendor", VENDORS),
        architecture=facts.text("architecture"),
        kind=cast(GpuKind, facts.choice("kind", get_args(GpuKind))),
        form_factor=facts.text("form_factor"),
        memory_bytes=facts.number("memory.bytes", least=1),
        reported_bytes=facts.optional_number("memory.reported_bytes"),
        bytes_per_s=facts.number("memory.bytes_per_s", least=1),
        flops_per_s=_flops(facts),
        tdp_w=facts.number("power.tdp_w", least=1),
        launch_date=facts.day("launch.date"),
        compute_capability=_capability(facts),
        l2_bytes=facts.optional_number("memory.l2_bytes"),
        usable_fraction=_usable(facts),
        scale_up=facts.text("scale_up.name", "") or None,
        scale_up_bytes_per_s=facts.optional_number("scale_up.bytes_per_s"),
        host_link=_host_link(facts),
        host_link_bytes_per_s=facts.optional_number(f"{link}.bytes_per_s"),
        aliases=facts.texts("aliases"),
        names_in_logs=facts.texts("names_in_logs"),
    )


def _capability(facts: Facts) -> str | None:
    said = facts.text("compute_capability", "")
    if said == AMX and facts.text("kind") == "cpu":
        return said
    if said and not re.fullmatch(r"\d{1,2}\.\d", said):
        raise facts.error("compute_capability", f'must be a number such as "8.9", found {said!r}')
    return said or None


def _usable(facts: Facts) -> float:
    share = facts.optional_number("memory.usable_fraction")
    if share is not None and not 0 < share <= 1:
        raise facts.error("memory.usable_fraction", f"must be above 0 and at most 1, found {share:g}")
    return share or 1.0


def _flops(facts: Facts) -> dict[ComputeType, float]:
    given = facts.keys("flops_per_s")
    unknown = [name for name in given if name not in COMPUTE_TYPES]
    if unknown:
        raise facts.error(f"flops_per_s.{unknown[0]}", f"is none of {', '.join(COMPUTE_TYPES)}")
    rates = {name: facts.number(f"flops_per_s.{name}", least=1) for name in COMPUTE_TYPES if name in given}
    if not {"fp32", "fp16", "bf16"} & rates.keys():
        raise facts.error("flops_per_s", "needs at least one of fp32, fp16, bf16")
    return rates


def _host_link(facts: Facts) -> str | None:
    if not facts.has("pcie"):
        return facts.text("host_link.name", "") or None
    return f"pcie{facts.plain_number('pcie.generation'):.0f}-x{facts.plain_number('pcie.lanes'):.0f}"


def link_from(facts: Facts) -> LinkSpec:
    """Return the link of one file of networks/."""
    return LinkSpec(
        key=facts.text("key"),
        name=facts.text("name"),
        kind=cast(LinkKind, facts.choice("kind", get_args(LinkKind))),
        bytes_per_s=facts.number("bytes_per_s", least=1),
        latency_s=facts.number("latency_s"),
        rdma=facts.flag("rdma"),
    )


def host_from(facts: Facts) -> HostSpec:
    """Return the machine of one file of hosts/."""
    return HostSpec(
        key=facts.text("key"),
        cpu=facts.text("cpu"),
        cores=int(facts.number("cores", least=1)),
        sockets=int(facts.optional_number("sockets") or 1),
        flops_per_s=facts.optional_number("flops_per_s") or facts.number("cores", least=1) * USUAL_CORE_FLOPS_PER_S,
        ram_bytes=facts.number("ram_bytes", least=1),
        ram_bytes_per_s=facts.number("ram_bytes_per_s", least=1),
        disk_bytes=facts.number("disk_bytes"),
        disk_read_bytes_per_s=facts.number("disk_read_bytes_per_s"),
        power_w=facts.number("power_w"),
    )


def storage_from(facts: Facts) -> StorageSpec:
    """Return the storage of one file of storage/."""
    return StorageSpec(
        key=facts.text("key"),
        name=facts.text("name"),
        read_bytes_per_s=facts.number("read_bytes_per_s", least=1),
        shared=facts.flag("shared"),
        aggregate_read_bytes_per_s=facts.optional_number("aggregate_read_bytes_per_s"),
        basis=cast(StorageBasis, facts.choice("basis", get_args(StorageBasis))),
    )
