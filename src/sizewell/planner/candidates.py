"""The space that is searched: machines × cuts × formats × engine settings × replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.planner.bill_of_materials import SERVER_HOST_BYTES, WORKER_HOST_BYTES
from sizewell.planner.support import parts_a_block
from sizewell.specs.deployment import Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.hardware import ClusterSpec, GpuSpec, NodeSpec
from sizewell.specs.model import ModelSpec

TENSOR_SIZES = (1, 2, 4, 8, 16)
PIPELINE_SIZES = (1, 2, 4, 8)
DATA_SIZES = (1, 2, 4, 8, 16, 32)
REPLICA_GRID = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
"""Replicas tried, as multiples of the fewest that hold: more replicas buy speed per user."""
MAX_GPUS_PER_REPLICA = 32
MOST_GPUS = 64
"""Accelerators of a replica tried when no limit is given."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One way to house an accelerator: a node kind holding `gpus_per_node` of them."""

    gpu: GpuSpec
    node: NodeSpec
    gpus_per_node: int

    @property
    def host_bytes_per_gpu(self) -> float:
        """Host memory beside each accelerator that engines and the system leave; none where both are one memory."""
        if self.gpu.kind != "gpu":
            return 0.0
        left = (self.node.host.ram_bytes - SERVER_HOST_BYTES) / self.gpus_per_node - WORKER_HOST_BYTES
        return max(0.0, left)

    def cluster_for(self, cut: Parallelism, replicas: int = 1, offload_bytes: float = 0.0) -> ClusterSpec:
        """Return the nodes that `replicas` replicas of a cut occupy; a replica within a node never straddles two.

        Each accelerator leaves `offload_bytes` to its host.
        """
        return self.cluster_of(self.nodes_for(cut, replicas), cut.gpus * replicas, offload_bytes)

    def cluster_for_two(self, cuts: tuple[Parallelism, Parallelism], replicas: tuple[int, int]) -> ClusterSpec:
        """Return the nodes that two pools occupy together."""
        gpus, counts = (cuts[0].gpus, cuts[1].gpus), (np.array(replicas[0], float), np.array(replicas[1], float))
        nodes = nodes_of_two(counts, gpus, np.array(self.gpus_per_node, float))
        return self.cluster_of(int(nodes), gpus[0] * replicas[0] + gpus[1] * replicas[1])

    def cluster_of(self, nodes: int, needed: int, offload_bytes: float = 0.0) -> ClusterSpec:
        """Return so many nodes; a single one holds no more accelerators than are needed, or than are built around a
        host that takes the `offload_bytes` of each.
        """
        taken = offload_bytes and SERVER_HOST_BYTES + needed * (WORKER_HOST_BYTES + offload_bytes)
        fitting = [
            count for count in self.node.gpu_counts
            if needed <= count <= self.gpus_per_node and self.node.holding(count).host.ram_bytes >= taken
        ]  # fmt: skip
        held = min(fitting) if nodes == 1 and fitting else self.gpus_per_node
        return ClusterSpec(gpu=self.gpu, node=self.node.holding(held), gpus_per_node=held, nodes=nodes)

    def nodes_for(self, cut: Parallelism, replicas: int = 1) -> int:
        """Return how many nodes `replicas` replicas of a cut occupy."""
        return int(nodes_of(np.array(replicas, float), cut, np.array(self.gpus_per_node, float)))


def nodes_of(replicas: Floats, cut: Parallelism, gpus_per_node: Floats) -> Floats:
    """Return the nodes that replicas occupy; a replica within a node never straddles two."""
    across = replicas * np.ceil(cut.gpus / gpus_per_node)
    within = np.ceil(replicas / np.maximum(gpus_per_node // cut.gpus, 1))
    return np.where(cut.gpus > gpus_per_node, across, within)


def nodes_of_two(replicas: tuple[Floats, Floats], gpus: tuple[int, int], gpus_per_node: Floats) -> Floats:
    """Return the nodes that two pools of replicas of so many accelerators occupy; small ones fill what is left.

    Replicas within a node never straddle two, those over several have them to themselves.
    """
    (many, few), (large, small) = (replicas, gpus) if gpus[0] >= gpus[1] else (replicas[::-1], gpus[::-1])
    seats = np.maximum(gpus_per_node // large, 1)
    nodes = np.ceil(many / seats) * np.ceil(large / gpus_per_node)
    last = many - (np.ceil(many / seats) - 1) * seats
    left = [np.maximum(gpus_per_node - taken * large, 0) // small for taken in (seats, last)]
    free = np.where(large > gpus_per_node, 0, (nodes - 1) * left[0] + left[1])
    beyond = np.maximum(few - free, 0)
    added: Floats = np.ceil(beyond / np.maximum(gpus_per_node // small, 1)) * np.ceil(small / gpus_per_node)
    return nodes + added


def cuts(model: ModelSpec, max_gpus: int, engine: EngineSpec, weight_format: str) -> tuple[Parallelism, ...]:
    """Return every legal way to cut one replica over at most `max_gpus` accelerators.

    Data parallel attention is for models that route to experts (others use replicas); it excludes pipelines.
    llama.cpp gives each accelerator its own layers.
    """
    limit = min(max_gpus, MAX_GPUS_PER_REPLICA)
    possible = (Parallelism(pp=pp) for pp in PIPELINE_SIZES) if engine.name == "llama.cpp" else _all_cuts(model)
    return tuple(
        cut
        for cut in possible
        if cut.gpus <= limit and len(model.layers) >= cut.pp and not parts_a_block(model, weight_format, engine, cut)
    )


def _all_cuts(model: ModelSpec) -> Iterator[Parallelism]:
    for tp in (size for size in TENSOR_SIZES if model.legal_tp(size)):
        yield from (Parallelism(tp=tp, pp=pp) for pp in PIPELINE_SIZES)
        if not model.is_moe:
            continue
        if tp > 1:
            yield Parallelism(tp=tp, ep=tp)
        yield from (Parallelism(tp=tp, dp=dp, ep=tp * dp) for dp in DATA_SIZES if dp > 1)


def machines(
    nodes_by_gpu: Sequence[tuple[GpuSpec, Sequence[NodeSpec]]],
    *, bought: bool = False, every_count: bool = False, every_host: bool = False,
) -> tuple[Machine, ...]:  # fmt: skip
    """Return each accelerator in each node kind, without machines that differ in name alone.

    With `every_count` also nodes that are not full, as those that are `bought`: they cost by what is in them, rented
    ones do not. With `every_host` also nodes that differ only in the machine around their accelerators.
    """
    found: dict[tuple[object, ...], Machine] = {}
    for gpu, nodes in nodes_by_gpu:
        for node in map(_as_sold, nodes) if bought else nodes:
            for count in node.gpu_counts if bought or every_count else (node.max_gpus,):
                held = node.holding(count)
                wiring = (
                    gpu.key, count, node.scale_up.key, node.topology, node.scale_up_domain, node.scale_out.key,
                    node.scale_out_ports, held.host.key if every_host else None,
                )  # fmt: skip
                found.setdefault(wiring, Machine(gpu, held, count))
    return tuple(found.values())


def _as_sold(node: NodeSpec) -> NodeSpec:
    """Return a node as it can be bought: a part of a board is rented or shared, not sold."""
    return replace(node, gpu_counts=(node.max_gpus,)) if node.on_one_board else node
