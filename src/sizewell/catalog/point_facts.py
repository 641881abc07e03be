"""What the catalogue knows of a measured point: its model, its machines, the memory rules of its engine."""

from __future__ import annotations

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster, nodes_for, read_gpu
from sizewell.catalog.models import read_model
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_cases import PointFacts, engine_family
from sizewell.specs.engine import EngineSpec
from sizewell.specs.errors import SizewellError
from sizewell.specs.hardware import ClusterSpec

FULL_NODE = 8
"""Accelerators a node is taken to hold where a row does not state its nodes."""


def point_facts(row: PointRow) -> PointFacts:
    """Return the facts of a row; raise UnknownNameError for a model or accelerator the catalogue lacks."""
    return PointFacts(model=read_model(row.model), cluster=row_cluster(row), engine=row_engine(row))


def row_cluster(row: PointRow) -> ClusterSpec:
    """Return the machines of a row: as many full nodes as its accelerators need where it states none.

    Pools of a few accelerators share full nodes, so that the last node may be partly idle. Sources that count a rack
    as one node get as many as hold its accelerators.
    """
    held = max((node.max_gpus for node in nodes_for(read_gpu(row.gpu))), default=FULL_NODE)
    full = min(held, FULL_NODE)
    if row.num_nodes is None and row.num_gpus > full:
        return cluster(row.gpu, gpus_per_node=full, nodes=-(-row.num_gpus // full))
    nodes = max(row.num_nodes or 1, -(-row.num_gpus // held))
    return cluster(row.gpu, gpus_per_node=max(1, row.num_gpus // nodes), nodes=nodes)


def row_engine(row: PointRow) -> EngineSpec:
    """Return the memory rules of a row's engine version; engines without rules of their own are taken for vLLM."""
    family = engine_family(row.engine)
    if family not in {"vllm", "sglang", "llama.cpp"}:
        return read_engine("vllm")
    try:
        return read_engine(family, row.engine_version or row.date or None)
    except SizewellError:
        return read_engine(family)
