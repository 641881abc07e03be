"""What is to be started: a deployment, the names and places of the site it runs at, and what its engine understands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal
from unicodedata import combining, normalize

from sizewell.costs.host_layers import Group, host_layers
from sizewell.costs.stages import stage_bounds
from sizewell.planner.bill_of_materials import BillOfMaterials
from sizewell.specs.deployment import Deployment, Pool
from sizewell.specs.engine_flags import EngineFlags
from sizewell.specs.errors import BadInputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEVICES = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "HIP_VISIBLE_DEVICES"}
"""What hides accelerators from a process, by their maker."""
OWN_ADDRESS = {"vllm": "VLLM_HOST_IP", "sglang": "SGLANG_HOST_IP"}
"""Where an engine over several nodes is told the address of its own."""
Style = Literal["none", "conda", "venv", "apptainer", "module"]
Launcher = Literal["mp", "ray"]
Live = Literal["port", "head", "rank", "rendezvous", "meeting", "dispatch", "address", "handover", "metrics"]
"""What only the running job knows: a free port, the first node's address, this node's number, the port ranks meet at,
that port with the address, the port requests are handed on at, this machine's address, the port two pools agree at
before a cache travels, and the port of a router's metrics."""
OnHost = Mapping[Group, tuple[int, ...]]
"""Groups of weights in host memory, and the blocks they are of."""
SLOWEST_LOADS = 3
"""How many times the predicted start a probe waits: storage is shared, and others read too."""
MOST_NAME = 40
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,30}", re.ASCII)
"""What systemd takes for a user: a name or a number."""


def plain_name(text: str) -> str:
    """Return a text as a name every scheduler accepts: accents fall, all else but letters and digits is a dash.

    Kubernetes' services begin with a letter; what is left of no Latin text is `model`.
    """
    latin = "".join(mark for mark in normalize("NFKD", text.casefold()) if not combining(mark))
    plain = re.sub(r"[^a-z0-9]+", "-", latin).strip("-")
    begun = plain if plain[:1].isalpha() else f"model-{plain}"
    return begun[:MOST_NAME].strip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One word to the engine with its value and the reason it is said; no value makes it a switch.

    A `live` value is filled in where the engine starts; `beside` is a second value.
    """

    name: str
    why: str
    value: str | None = None
    live: Live | None = None
    beside: str | None = None

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return self.value is not None or self.live is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable with the reason it is set; a `live` value is filled in where the engine starts."""

    name: str
    why: str
    value: str = ""
    live: Live | None = None


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

    `model_path` is what the engine loads, `served_name` what clients ask for; `image` is the container image,
    `router_image` that of the router before several pools, and `reasoning_parser` splits thinking from answers (None:
    leave both in the text). `name` is what schedulers call it (empty: made from the served name), `user` who systemd
    runs it as (empty: root).
    """

    model_path: str
    served_name: str
    host: str = "127.0.0.1"
    port: int = 8000
    image: str = ""
    router_image: str = ""
    reasoning_parser: str | None = None
    trust_remote_code: bool = False
    slurm: Slurm = field(default_factory=Slurm)
    name: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A deployment to start at a site, with what its nodes need beside accelerators.

    Of several pools it speaks of the one numbered `part`; `parts` has them all. Before them stands a program whose
    flags are `router`. Raises BadInputError for what no target can say: pools without a router, a replica that does
    not fill whole nodes, names an engine would take for flags.
    """

    deployment: Deployment
    site: Site
    flags: EngineFlags
    materials: BillOfMaterials
    router: EngineFlags | None = None
    part: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        if self.split and self.router is None:
            raise BadInputError(f"{self.flags.engine} hands no cache from pool to pool: say --engine vllm or sglang")
        if self.site.name and self.site.name != (usable := plain_name(self.site.name)):
            raise BadInputError(
                f"--name {self.site.name[:80]!r}: begin with a letter a to z, go on with such letters, digits and "
                f"single dashes, at most {MOST_NAME} in all, e.g. {usable}"
            )
        if self.site.user and not USER.fullmatch(self.site.user):
            raise BadInputError(f"--user {self.site.user[:80]!r} is no name of a user: letters, digits, _ and -")
        for what, name in (("model path", self.site.model_path), ("served name", self.site.served_name)):
            if not name.strip() or name.startswith("-") or "\0" in name:
                raise BadInputError(f"{what} {name!r}: an engine would take it for a flag or for nothing; name another")
        each = self.deployment.cluster.gpus_per_node
        for cut in (pool.parallelism for pool in self.deployment.pools):
            if cut.gpus > each and cut.gpus % ceil(cut.gpus / each):
                raise BadInputError(f"{cut} does not fill whole nodes of {each} accelerators: choose another cut")

    @property
    def pool(self) -> Pool:
        """The pool it speaks of: the only one, or the one numbered `part`."""
        return self.deployment.pools[self.part]

    @property
    def split(self) -> bool:
        """Whether prompts are computed in another pool than answers."""
        return len(self.deployment.pools) > 1

    @property
    def parts(self) -> tuple[Launch, ...]:
        """The same launch, speaking of each pool in turn."""
        return tuple(replace(self, part=part) for part in range(len(self.deployment.pools)))

    @property
    def nodes(self) -> int:
        """Nodes of one replica."""
        return ceil(self.pool.parallelism.gpus / self.deployment.cluster.gpus_per_node)

    @property
    def on_host(self) -> OnHost:
        """Blocks whose weights lie in host memory to be computed with there, by group; none where bytes are said.

        Of each pipeline stage those are all blocks up to the last one that moved.
        """
        deployment, cut, size = self.deployment, self.pool.parallelism, self.pool.settings.offload_bytes
        if deployment.engine.offload == "streams" or not size:
            return {}
        layers = len(deployment.model.layers)
        starts = [first for first, _ in stage_bounds(layers, cut.pp, deployment.engine.pp_remainder)]
        return {
            each.group: tuple(
                block for start in starts for block in range(start, start + each.blocks[-1] + 1) if block < layers
            )
            for each in host_layers(deployment.model, deployment.weight_format, cut, size)
        }

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
    def listens(self) -> Flag:
        """Where an engine listens: clients reach it, or behind a router only the router does."""
        if self.split:
            return Flag(name="--host", live="address", why="where the router and the other pool reach it")
        return Flag(name="--host", value=self.site.host, why="where it listens")

    @property
    def name(self) -> str:
        """A name that every scheduler accepts: a letter, then letters, digits and dashes, lower case, at most 40."""
        return self.site.name or plain_name(self.site.served_name.rpartition("/")[2])

    @property
    def patience_s(self) -> int:
        """How long a start from the slowest storage may take before it counts as failed."""
        return ceil(SLOWEST_LOADS * max(load.cold_s for load in self.materials.loads) / 60) * 60
