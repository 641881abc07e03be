"""The whole machine around the accelerators: host memory, cores, disk, load time, network, power and cooling.

Derivations: docs/cost-model.md#the-whole-machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from sizewell.specs.deployment import Deployment
from sizewell.specs.hardware import StorageSpec

WORKER_HOST_BYTES = 6e9
"""Resident host memory of one engine worker (Python, CUDA context, pinned buffers); assumed."""
SERVER_HOST_BYTES = 8e9
"""Resident host memory of the operating system, API server and scheduler; assumed."""
IMAGE_BYTES = 25e9
"""Container image with engine, CUDA libraries and compiled kernels; assumed."""
FREE_DISK_FRACTION = 0.2
"""Share of a disk left free, as the source documents ask."""
CORES_BESIDE_WORKERS = 2
"""One core for the API server and one for the scheduler; each worker spins on one more (vLLM's own advice)."""
START_S = 90.0
"""Engine start beside loading: imports, compilation from cache, profile run, graph capture; assumed."""
BTU_PER_H_PER_W = 3.412


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTime:
    """Seconds from start to first request with weights on one kind of storage.

    `read_s` is the storage's share, `copy_s` host memory to accelerator. With the checkpoint in the page cache only
    `copy_s` and `start_s` remain.
    """

    storage: str
    basis: str
    read_s: float
    copy_s: float
    start_s: float

    @property
    def cold_s(self) -> float:
        """All of it, nothing cached."""
        return self.read_s + self.copy_s + self.start_s

    @property
    def cached_s(self) -> float:
        """The same with the checkpoint in every node's page cache."""
        return self.copy_s + self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class BillOfMaterials:
    """What each node needs, and what all nodes draw.

    `host_ram_minimum_bytes` lets an engine stream weights through and holds what is kept there for good;
    `host_ram_bytes` also keeps the checkpoint in the page cache, so that a restart does not read storage again.
    `documents_host_ram_bytes` is the rule of thumb of the source documents (1.5 × a 16-bit model, 1 × a quantized one)
    for comparison.
    """

    nodes: int
    node_name: str
    gpus_per_node: int
    host_ram_minimum_bytes: float
    host_ram_bytes: float
    documents_host_ram_bytes: float
    host_has_ram: bool
    host_ram_there_bytes: float
    cpu_cores: int
    host_has_cores: bool
    disk_bytes: float
    loads: tuple[LoadTime, ...]
    network: str
    power_w: float
    cooling_btu_per_h: float


def bill_of_materials(
    deployment: Deployment, *, checkpoint_bytes: float, rank_weight_bytes: float, storages: Sequence[StorageSpec]
) -> BillOfMaterials:
    """Return what the nodes of a deployment need beside accelerators.

    `checkpoint_bytes` is the size on disk; `rank_weight_bytes` what the fullest accelerator receives.
    """
    node, workers = deployment.cluster.node, deployment.workers_per_node
    minimum = SERVER_HOST_BYTES + workers * WORKER_HOST_BYTES + deployment.host_bytes
    roomy = minimum + checkpoint_bytes
    cores = CORES_BESIDE_WORKERS + workers
    power = deployment.cluster.power_w
    sixteen_bit = deployment.weight_format in ("bf16", "fp16") or (
        deployment.weight_format == "native" and deployment.model.weight_format in ("bf16", "fp16")
    )
    return BillOfMaterials(
        nodes=deployment.cluster.nodes,
        node_name=node.name,
        gpus_per_node=deployment.cluster.gpus_per_node,
        host_ram_minimum_bytes=minimum,
        host_ram_bytes=roomy,
        documents_host_ram_bytes=checkpoint_bytes * (1.5 if sixteen_bit else 1.0),
        host_has_ram=node.host.ram_bytes >= minimum,
        host_ram_there_bytes=node.host.ram_bytes,
        cpu_cores=cores,
        host_has_cores=node.host.cores >= cores,
        disk_bytes=(checkpoint_bytes + IMAGE_BYTES) / (1 - FREE_DISK_FRACTION),
        loads=tuple(load_time(deployment, checkpoint_bytes, rank_weight_bytes, kind) for kind in storages),
        network=_network(deployment),
        power_w=power,
        cooling_btu_per_h=power * BTU_PER_H_PER_W,
    )


def load_time(
    deployment: Deployment, checkpoint_bytes: float, rank_weight_bytes: float, storage: StorageSpec
) -> LoadTime:
    """Return how long a start takes from `storage`.

    Engines' default loaders read the whole checkpoint on every node and slice in memory; a shared file system divides
    its aggregate rate over the nodes that start together.
    """
    nodes = deployment.cluster.nodes
    rate = storage.read_bytes_per_s
    if storage.shared and storage.aggregate_read_bytes_per_s:
        rate = min(rate, storage.aggregate_read_bytes_per_s / nodes)
    gpu = deployment.cluster.gpu
    host_link = gpu.host_link_bytes_per_s or deployment.cluster.node.host.ram_bytes_per_s
    return LoadTime(
        storage=storage.key,
        basis=storage.basis,
        read_s=checkpoint_bytes / rate,
        copy_s=rank_weight_bytes / host_link,
        start_s=START_S,
    )


def _network(deployment: Deployment) -> str:
    cluster = deployment.cluster
    widest = max(pool.parallelism.gpus for pool in deployment.pools)
    together = cluster.together_gpus
    if widest <= together and len(deployment.pools) > 1:
        return "no replica crosses nodes, but the caches of prompts travel from pool to pool"
    if widest <= together:
        return "any: no replica crosses nodes, only requests and answers travel"
    link, ports = cluster.node.scale_out, cluster.node.scale_out_ports
    gbit = link.bytes_per_s * ports * 8 / 1e9
    spanned = ceil(widest / together)
    return f"{ports} × {link.name} ({gbit:.0f} Gbit/s a node): every replica spans {spanned} nodes"
