"""What a rendered artefact says, once read back: compared with the deployment, it shows that nothing was changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from sizewell.deployer.launch import Launch, OnHost
from sizewell.specs.deployment import EngineSettings, Parallelism, PoolRole
from sizewell.specs.errors import BadInputError
from sizewell.specs.kv_format import parse_kv_format

Words = Mapping[str, str | None]
"""Flag → its value; None for a switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What no flag says: the checkpoint, and the hardware it was priced on.

    `kv_network` is what was named to carry caches between pools; None: nothing was.
    """

    model: str
    weight_format: str
    engine: str
    gpu: str
    node: str
    gpus_per_node: int
    nodes: int
    kv_network: str | None = None

    @classmethod
    def of(cls, launch: Launch) -> Priced:
        """Return it for a launch."""
        deployment, cluster = launch.deployment, launch.deployment.cluster
        return cls(
            model=deployment.model.name,
            weight_format=deployment.weight_format,
            engine=f"{deployment.engine.name}@{deployment.engine.version}",
            gpu=cluster.gpu.key,
            node=cluster.node.key,
            gpus_per_node=cluster.gpus_per_node,
            nodes=cluster.nodes,
            kv_network=deployment.kv_network.key if deployment.kv_network else None,
        )

    @property
    def text(self) -> str:
        """One line of ASCII, the same every time."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def read(cls, text: str) -> Priced:
        """Return what a line says; raises BadInputError for one that was not rendered."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise BadInputError(f"not a rendered artefact: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the engine is told; blocks whose weights lie `on_host`, by group, where it is told those and no bytes."""

    model_path: str
    served_name: str
    kv_format: str
    parallelism: Parallelism
    settings: EngineSettings
    role: PoolRole = "both"
    on_host: OnHost = field(default_factory=dict)

    @classmethod
    def of(cls, launch: Launch) -> Terms:
        """Return what a launch has to tell."""
        return cls(
            model_path=launch.site.model_path,
            served_name=launch.site.served_name,
            kv_format=parse_kv_format(launch.deployment.kv_format),
            parallelism=launch.pool.parallelism,
            settings=replace(launch.pool.settings, offload_bytes=0.0) if launch.on_host else launch.pool.settings,
            role=launch.pool.role,
            on_host=launch.on_host,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A rendered deployment read back: `replicas`, each over `nodes` with `gpus_per_node` of their accelerators.

    Where these only compute prompts, `partner` is the pool that answers.
    """

    priced: Priced
    terms: Terms
    replicas: int
    nodes: int
    gpus_per_node: int
    partner: Artefact | None = None

    @classmethod
    def of(cls, launch: Launch) -> Artefact:
        """Return what an artefact of a launch must say."""
        return paired([cls._of_pool(part) for part in launch.parts])

    @classmethod
    def _of_pool(cls, launch: Launch) -> Artefact:
        return cls(
            priced=Priced.of(launch), terms=Terms.of(launch), replicas=launch.pool.replicas, nodes=launch.nodes,
            gpus_per_node=launch.gpus_per_node,
        )  # fmt: skip


def paired(pools: Sequence[Artefact]) -> Artefact:
    """Return the pools of one deployment as one: the first, with the second beside it."""
    first, *others = pools
    return replace(first, partner=others[0]) if others else first


def spoken(words: Sequence[str]) -> Words:
    """Return flags with their values; a word after a flag is its value unless it is a flag too."""
    said: dict[str, str | None] = {}
    place = 0
    while place < len(words):
        word, after = words[place], words[place + 1] if place + 1 < len(words) else "--"
        valued = word.startswith("--") and not after.startswith("--")
        if word.startswith("--"):
            said[word] = after if valued else None
        place += 2 if valued else 1
    return said
