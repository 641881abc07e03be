"""What a plan asks of one of its nodes, and what the catalogue knows of machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from sizewell.planner.bill_of_materials import BillOfMaterials
from sizewell.specs.deployment import Deployment
from sizewell.specs.hardware import ClusterSpec, GpuSpec, HostSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a deployment needs of each node.

    `gpu_bytes` must be free on each accelerator; rendered jobs wait `patience_s` for a start. `cuda` is what the
    engine's release is built for (None: not known); `unknown_flags` returns the flags a version of the engine would
    refuse (None: nobody knows); `hub` asks where the weights come from and returns its complaint (None: nothing is
    downloaded).
    """

    deployment: Deployment
    materials: BillOfMaterials
    checkpoint_bytes: float
    gpu_bytes: float
    patience_s: float
    cuda: str | None
    unknown_flags: Callable[[str], Sequence[str] | None]
    hub: Callable[[], str] | None = None

    @property
    def cluster(self) -> ClusterSpec:
        """The machines."""
        return self.deployment.cluster

    @property
    def nodes(self) -> int:
        """Nodes that one replica spans."""
        widest = max(pool.parallelism.gpus for pool in self.deployment.pools)
        return ceil(widest / self.cluster.gpus_per_node)

    @property
    def gpus(self) -> int:
        """Accelerators in use on the fullest node."""
        return min(self.deployment.gpus, self.cluster.gpus_per_node)

    @property
    def together(self) -> int:
        """Accelerators of one replica on one node, which talk to each other."""
        return min(max(pool.parallelism.gpus for pool in self.deployment.pools), self.cluster.gpus_per_node)

    @property
    def servers(self) -> int:
        """Servers on one node, each with a port of its own."""
        return max(1, self.gpus // self.together)

    @property
    def slowest_start_s(self) -> float:
        """The start from the slowest storage that was predicted."""
        return max(load.cold_s for load in self.materials.loads)

    @property
    def start_beside_reading_s(self) -> float:
        """Seconds of a start with the checkpoint in the page cache."""
        return self.materials.loads[0].cached_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the engine is to run on this node: `model` is a checkpoint's folder or file, or where it will be put.

    `arrived` says whether the checkpoint should be there already.
    """

    model: Path
    arrived: bool
    host: str = "127.0.0.1"
    port: int = 8000
    interface: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the catalogue says: an accelerator by the name and bytes a driver reports, hosts, drivers by CUDA major."""

    gpu: Callable[[str, float | None], GpuSpec | None]
    hosts: Sequence[HostSpec]
    drivers: Mapping[int, str]
