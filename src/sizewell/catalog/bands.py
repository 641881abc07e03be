"""What a data file may say: the fields of each kind of file, the bands numbers lie in, the form of a date.

One place for shipped files and the user's own. Bands are wide enough for hardware that is announced; they catch GB
written for bytes, Gbit/s for bytes/s and slipped powers of ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

GIB = 2.0**30

BANDS: Mapping[str, tuple[float, float]] = {
    "gpus.memory.bytes": (2 * GIB, 16_384 * GIB),
    "gpus.memory.reported_bytes": (1 * GIB, 16_384 * GIB),
    "gpus.memory.bytes_per_s": (1e9, 50e12),
    "gpus.memory.l2_bytes": (0, 64 * GIB),
    "gpus.flops_per_s.*": (1e9, 100e15),
    "gpus.power.tdp_w": (5, 5000),
    "gpus.scale_up.bytes_per_s": (0.1e9, 10e12),
    "gpus.pcie.bytes_per_s": (0.1e9, 1e12),
    "gpus.pcie.generation": (1, 9),
    "gpus.pcie.lanes": (1, 32),
    "nodes.gpu_counts": (1, 32),
    "nodes.max_nodes": (1, 10_000),
    "nodes.small_host.gpus": (1, 32),
    "nodes.power_w": (10, 200_000),
    "nodes.scale_out.ports": (1, 64),
    "nodes.scale_up.domain_gpus": (1, 1024),
    "networks.bytes_per_s": (0.01e9, 10e12),
    "networks.latency_s": (0.01e-6, 10e-3),
    "hosts.cores": (1, 2048),
    "hosts.sockets": (1, 16),
    "hosts.flops_per_s": (1e9, 1e15),
    "hosts.ram_bytes": (1 * GIB, 65_536 * GIB),
    "hosts.ram_bytes_per_s": (1e9, 20e12),
    "hosts.disk_read_bytes_per_s": (0, 1e12),
    "hosts.power_w": (1, 20_000),
    "storage.read_bytes_per_s": (1e6, 1e12),
    "prices.usd_per_gpu_hour": (0, 1000),
    "prices.usd": (1, 100e6),
    "quality.recovery_fraction": (0, 1.5),
    "prices.depreciation.*": (0.1, 50),
}
"""Kind of file and field → least and most; `*` stands for any last part of a field."""

GPU_FIELDS = (
    "key", "name", "vendor", "architecture", "kind", "compute_capability", "form_factor", "aliases", "names_in_logs",
    "launch.date", "memory.bytes", "memory.reported_bytes", "memory.bytes_per_s", "memory.l2_bytes",
    "memory.usable_fraction", "flops_per_s.*", "scale_up.name", "scale_up.bytes_per_s", "pcie.generation",
    "pcie.lanes", "pcie.bytes_per_s", "host_link.name", "host_link.bytes_per_s", "power.tdp_w",
)  # fmt: skip
NODE_FIELDS = (
    "key", "name", "aliases", "gpu", "gpus", "accepts", "standard", "standard_for", "template", "provider",
    "through_host", "gpu_counts", "scale_up.network", "scale_up.topology", "scale_up.domain_gpus", "scale_up.from",
    "scale_out.network", "scale_out.ports", "scale_out.from", "host", "small_host.host", "small_host.gpus",
    "small_host.from", "power_w", "max_nodes",
)  # fmt: skip
FIELDS: Mapping[str, tuple[str, ...]] = {
    "gpus": GPU_FIELDS,
    "nodes": NODE_FIELDS,
    "networks": ("key", "name", "aliases", "kind", "bytes_per_s", "latency_s", "rdma"),
    "hosts": (
        "key", "cpu", "cores", "sockets", "flops_per_s", "ram_bytes", "ram_bytes_per_s", "disk_bytes",
        "disk_read_bytes_per_s", "power_w",
    ),
    "storage": ("key", "name", "read_bytes_per_s", "shared", "aggregate_read_bytes_per_s", "basis"),
    "prices": (
        "key", "currency", "example", "unit", "usd_per_su", "offer", "purchase", "rate", "power.*",
        "hosting.usd_per_kw_month", "depreciation.*",
    ),
    "quality": ("key", "format", "note", "result"),
}  # fmt: skip
"""Kind of file → every field it may hold beside `sources`."""
ROW_FIELDS: Mapping[str, tuple[str, ...]] = {
    "prices.offer": (
        "provider", "instance", "gpu", "gpus", "usd_per_gpu_hour", "kind", "region", "from", "date",
        "date_is_approximate", "confidence",
    ),
    "prices.purchase": ("gpu", "node", "host", "usd", "from", "date", "date_is_approximate", "confidence"),
    "prices.rate": ("region", "partition", "gpu", "su_per_gpu_hour", "from"),
    "quality.result": (
        "model", "size_b", "several_models", "trained", "baseline", "quantized", "recovery_fraction", "benchmark",
        "tasks", "scheme", "confirmed", "note", "from",
    ),
}  # fmt: skip
"""Kind of file and array of tables → every field a row may hold."""
VENDORS = ("nvidia", "amd", "intel", "apple", "cpu")
"""Makers whose accelerators the engines' support is known for."""


def band(kind: str, field: str) -> tuple[float, float]:
    """Return least and most of a field, without bounds for one that has none."""
    stem = field.rpartition(".")[0]
    return BANDS.get(f"{kind}.{field}") or BANDS.get(f"{kind}.{stem}.*") or (0.0, float("inf"))


def is_field(kind: str, field: str) -> bool:
    """Return whether a kind of file has a field; kinds without a list take any."""
    known = FIELDS.get(kind)
    return known is None or field in known or f"{field.rpartition('.')[0]}.*" in known


def row_fields(kind: str, array: str) -> tuple[str, ...]:
    """Return the fields a row of an array of tables may hold; nothing for arrays without a list."""
    return ROW_FIELDS.get(f"{kind}.{array}", ())


def is_date(text: object) -> bool:
    """Return whether a text is a day, a month or a year of this era: `2026-11-09`, `2026-11`, `2026`."""
    parts = str(text).split("-")
    if not 1 <= len(parts) <= 3 or [len(part) for part in parts] != [4, 2, 2][: len(parts)]:
        return False
    try:
        year, month, day = [*map(int, parts), 1, 1][:3]
        return date(year, month, day).year >= 1990
    except ValueError:
        return False
