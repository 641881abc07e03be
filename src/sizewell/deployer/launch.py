"""What is to be started: a deployment, the names and places of the site it runs at, and what its engine understands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from sizewell.planner.bill_of_materials import BillOfMaterials
from sizewell.specs.deployment import Deployment, Pool
from sizewell.specs.engine_flags import EngineFlags
from sizewell.specs.errors import BadInputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Style = Literal["none", "conda", "venv", "apptainer", "module"]
Launcher = Literal["mp", "ray"]
Live = Literal["port", "head", "rank", "rendezvous", "meeting", "dispatch"]
"""What only the running job knows: a free port, the first node's address, this node's number, the port ranks meet at,
that port with the address, and the port requests are handed on at."""
SLOWEST_LOADS = 3
"""How many times the predicted start a probe waits: storage is shared, and others read too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One word to the engine with its value and the reason it is said; no value makes it a switch.

    A `live` value is filled in where the engine starts.
    """

    name: str
    why: str
    value: str | None = None
    live: Live | None = None

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return self.value is not None or self.live is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable with the reason it is set."""

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """What a cluster's administrators want to hear."""

    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    time: str = "1-00:00:00"
    exclusive: bool = True
    style: Style = "none"
    environment: str | None = None
    launcher: Launcher = "mp"
    interface: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Names and places: none of them changes a limit.

    `model_path` is what the engine loads, `served_name` what clients ask for; `image` is the container image, and
    `reasoning_parser` splits thinking from answers (None: leave both in the text). `name` is what schedulers call it
    (empty: made from the served name).
    """

    model_path: str
    served_name: str
    host: str = "127.0.0.1"
    port: int = 8000
    image: str = ""
    reasoning_parser: str | None = None
    trust_remote_code: bool = False
    slurm: Slurm = field(default_factory=Slurm)
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A deployment to start at a site, with what its nodes need beside accelerators.

    Raises BadInputError for what no target can say: several pools, a replica that does not fill whole nodes, names
    an engine would take for flags.
    """

    deployment: Deployment
    site: Site
    flags: EngineFlags
    materials: BillOfMaterials

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        if len(self.deployment.pools) != 1:
            raise BadInputError("prefill and decode in separate pools are not rendered: render a plan of one pool")
        for what, name in (("model path", self.site.model_path), ("served name", self.site.served_name)):
            if not name.strip() or name.startswith("-") or "\0" in name:
                raise BadInputError(f"{what} {name!r}: an engine would take it for a flag or for nothing; name another")
        if self.nodes > 1 and self.pool.parallelism.gpus % self.nodes:
            cut, each = self.pool.parallelism, self.deployment.cluster.gpus_per_node
            raise BadInputError(f"{cut} does not fill whole nodes of {each} accelerators: choose another cut")

    @property
    def pool(self) -> Pool:
        """The only pool."""
        return self.deployment.pools[0]

    @property
    def nodes(self) -> int:
        """Nodes of one replica."""
        return ceil(self.pool.parallelism.gpus / self.deployment.cluster.gpus_per_node)

    @property
    def gpus_per_node(self) -> int:
        """Accelerators one replica takes on each of its nodes."""
        return self.pool.parallelism.gpus // self.nodes

    @property
    def replicas_per_node(self) -> int:
        """Replicas that share one node."""
        return min(self.deployment.cluster.gpus_per_node // self.gpus_per_node, self.pool.replicas)

    @property
    def cores(self) -> int:
        """CPU cores of one replica on one node: its share of what the node needs."""
        return ceil(self.materials.cpu_cores / self.replicas_per_node)

    @property
    def host_ram_bytes(self) -> float:
        """Host memory of one replica on one node, the same way."""
        return self.materials.host_ram_minimum_bytes / self.replicas_per_node

    @property
    def exposed(self) -> bool:
        """Whether the server listens beyond its own machine."""
        return self.site.host not in LOOPBACK

    @property
    def name(self) -> str:
        """A name that every scheduler accepts: lower case letters, digits and dashes, at most 40."""
        said = self.site.name or self.site.served_name.rpartition("/")[2]
        plain = re.sub(r"[^a-z0-9]+", "-", said.lower())
        return plain[:40].strip("-") or "model"

    @property
    def patience_s(self) -> int:
        """How long a start from the slowest storage may take before it counts as failed."""
        return ceil(SLOWEST_LOADS * max(load.cold_s for load in self.materials.loads) / 60) * 60
