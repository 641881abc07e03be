"""What was started and how to find it again: the part of a deployment that outlives the command that started it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sizewell.deployer.log_file import News
from sizewell.specs.standing import HttpFacts, JobFacts

Where = Literal["local", "slurm", "kubernetes"]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One replica as it was started.

    `id` is the number of its process or task (`1234`, `17_0`), `born` what tells the process from a later one of the
    same number, `log` a file in the deployment's folder, `port` None where only the log says.
    """

    id: str
    born: str = ""
    log: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One deployment that was started, as its folder keeps it.

    `model` is what clients ask for; `file` the artefact's name; `commands` what starts each local replica; `parts` are
    empty until something runs. `stop_s` is how long running requests may take to end, `patience_s` how long a start
    may last. `source` is the model as it was named, with the facts `assumed` of it; `deployment` and `ledger` are
    what was priced, as JSON. Local replicas listen at `ports`, or from `port` on where none are said.
    """

    name: str
    where: Where
    made_at: str
    model: str
    host: str
    port: int
    replicas: int
    file: str
    stop_s: float
    patience_s: float
    commands: tuple[tuple[str, ...], ...] = ()
    ports: tuple[int, ...] = ()
    namespace: str = ""
    context: str = ""
    parts: tuple[Part, ...] = ()
    ready_at: str | None = None
    ended_at: str | None = None
    source: str = ""
    assumed: tuple[str, ...] = ()
    deployment: Document = field(default_factory=dict)
    ledger: Document = field(default_factory=dict)

    @property
    def pooled(self) -> bool:
        """Whether it is two pools whose engines are watched one by one, with the router before them as the last."""
        return len(self.deployment.get("pools", ())) > 1 and self.replicas > 1

    @property
    def names(self) -> tuple[str, ...]:
        """What its replicas are called: `replica 0`, or of two pools `prefill 0`, `decode 0` and `router`."""
        if not self.pooled:
            return tuple(f"replica {number}" for number in range(self.replicas))
        pools = self.deployment["pools"]
        return (*(f"{pool['role']} {number}" for pool in pools for number in range(pool["replicas"])), "router")

    def pool(self, number: int) -> int | None:
        """Return which pool a replica is of; None for a router, and for a job that holds several pools."""
        pools = self.deployment.get("pools", ())
        if len(pools) < 2:
            return 0
        each = [place for place, pool in enumerate(pools) for _ in range(pool["replicas"])]
        return each[number] if self.pooled and number < len(each) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """How a deployment ended: whether it had to be killed, what it left that was removed or kept, what still lives."""

    killed: bool = False
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()


Keep = Callable[[tuple[Part, ...]], None]
"""What is told of every replica before it can do anything, so that none is ever forgotten."""


class Runner(Protocol):
    """One started deployment at the system that runs it. Replicas are numbered from 0."""

    def start(self, keep: Keep) -> None:
        """Start it; raises BadInputError where the system refuses."""

    def facts(self) -> tuple[JobFacts, ...]:
        """Return what the system says of each replica; raises UnreachableError where it does not answer."""

    def lines(self, number: int) -> list[str]:
        """Return what a replica's log holds, a long one without its middle."""

    def news(self, number: int) -> News:
        """Return what a replica's log gained since it was last asked."""

    def reach(self, number: int) -> AbstractContextManager[str | HttpFacts]:
        """Give the address of a replica while the block lasts, or what is known where none leads there from here."""

    def stop(self) -> Stopped:
        """End it, first gently, and wait until it is gone."""
