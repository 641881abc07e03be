"""The questions sizewell answers, as Python functions: facts from the catalogue, the answer from the core.

`import sizewell` offers them; the commands read words, call these and print what they return.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster, list_storage, nodes_for, read_gpu
from sizewell.catalog.models import read_model
from sizewell.cli.machine_text import parse_machine
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.costs.weights import rank_weight_bytes
from sizewell.planner.bill_of_materials import BillOfMaterials, bill_of_materials
from sizewell.planner.stated import Stated, stated_deployment
from sizewell.specs.deployment import Deployment, Formats, Parallelism
from sizewell.specs.hardware import ClusterSpec

STORAGES = ("nvme-gen4", "vast-nfs", "s3-stream")
"""Storages whose load times an explanation shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One deployment explained: its memory, and what its nodes need beside accelerators."""

    deployment: Deployment
    memory: MemoryLedger
    materials: BillOfMaterials


def machine(text: str, nodes: int | None = None) -> ClusterSpec:
    """Return the cluster a text such as `8xh200` names; a count no node holds is spread over several.

    Raises UnknownNameError for the accelerator, BadInputError for counts no node holds.
    """
    count, name = parse_machine(text)
    count = count or 1
    if nodes is None:
        nodes = _nodes_needed(name, count)
        count //= nodes
    return cluster(name, gpus_per_node=count, nodes=nodes)


def _nodes_needed(name: str, count: int) -> int:
    sizes = {size for node in nodes_for(read_gpu(name)) for size in node.gpu_counts}
    if not sizes or count <= max(sizes):
        return 1
    return next((count // size for size in sorted(sizes, reverse=True) if count % size == 0), 1)


def explain(
    model: str,
    on: ClusterSpec,
    *,
    engine: str = "vllm",
    formats: Formats = Formats(),  # noqa: B008
    stated: Stated = Stated(),  # noqa: B008
) -> Explanation:
    """Return what a stated deployment of a model holds and needs; `engine` may carry a version, `vllm@0.19`."""
    name, _, version = engine.partition("@")
    deployment = stated_deployment(read_model(model), on, read_engine(name, version or None), formats, stated)
    return explain_deployment(deployment)


def explain_deployment(deployment: Deployment) -> Explanation:
    """Return the explanation of a deployment, whoever built it."""
    memory = ledger(deployment)
    materials = bill_of_materials(
        deployment,
        checkpoint_bytes=rank_weight_bytes(deployment.model, deployment.weight_format, Parallelism())[0],
        rank_weight_bytes=memory.weight_bytes,
        storages=[storage for storage in list_storage() if storage.key in STORAGES],
    )
    return Explanation(deployment=deployment, memory=memory, materials=materials)
