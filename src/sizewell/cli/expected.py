"""What the plan of a started deployment expects its engine to say at start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sizewell.deployer.started import Started
    from sizewell.observer.startup import StartupLine
    from sizewell.specs.deployment import Deployment
    from sizewell.specs.standing import LogFacts


@dataclass(frozen=True)
class Expected:
    """The ledger behind a started deployment, counted again when the log has something to hold against it."""

    started: Started

    def lines(self, log: LogFacts) -> Sequence[StartupLine]:
        """Return each figure the engine stated beside the plan's; none before it stated its cache.

        None either where the catalogue has changed since: what was priced then is not what it would count now.
        """
        if log.kv_cache_tokens is None or self._deployment is None:
            return ()
        from sizewell.costs.ledger import ledger
        from sizewell.observer.startup import against_ledger

        return against_ledger(log, ledger(self._deployment), self._deployment.engine)

    @cached_property
    def _deployment(self) -> Deployment | None:
        from sizewell.cli.documents import deployment_object
        from sizewell.cli.output import json_ready
        from sizewell.specs.errors import SizewellError

        try:
            built = rebuilt(self.started.deployment, self.started.source, self.started.assumed)
        except SizewellError:
            return None
        return built if json_ready(deployment_object(built)) == self.started.deployment else None


def rebuilt(document: Mapping[str, Any], model: str, assumed: tuple[str, ...]) -> Deployment:
    """Return the deployment a document of one pool states, of a model as it was named."""
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.planner.stated import Stated
    from sizewell.specs.deployment import Formats
    from sizewell.traffic.workload import Workload

    (pool,) = document["pools"]
    cut, settings, engine = pool["parallelism"], dict(pool["settings"]), document["engine"]
    settings.pop("prefix_caching")
    settings.pop("chunked_prefill")
    return questions.stated_on(
        read_model(model, assume=assumed),
        questions.machine(
            f"{document['gpus_per_node']}x{document['gpu']}", document["nodes"], document["node"], pool["replicas"]
        ),
        Workload(input_tokens=1.0, answer_tokens=1.0, users=1.0),
        questions.Setup(
            engine=f"{engine['name']}@{engine['version']}",
            formats=Formats(weight=document["weight_format"], kv=document["kv_format"]),
            stated=Stated(**cut, replicas=pool["replicas"], **settings),
        ),
    )
