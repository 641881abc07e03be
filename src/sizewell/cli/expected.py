"""What the plan of a started deployment expects its engine to say at start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sizewell.deployer.started import Started
    from sizewell.observer.startup import StartupLine
    from sizewell.specs.deployment import Deployment
    from sizewell.specs.standing import LogFacts


@dataclass(frozen=True)
class Expected:
    """The ledger behind a started deployment, counted again when the log has something to hold against it."""

    started: Started

    def lines(self, log: LogFacts, number: int) -> Sequence[StartupLine]:
        """Return each figure a replica's engine stated beside the plan's; none before it stated its cache.

        None either where the catalogue has changed since: what was priced then is not what it would count now; nor of
        several pools whose engines write one log, nor of a router.
        """
        pool = self.started.pool(number)
        if log.kv_cache_tokens is None or pool is None or self._deployment is None:
            return ()
        from sizewell.costs.ledger import ledger
        from sizewell.observer.startup import against_ledger

        return against_ledger(log, ledger(self._deployment, pool), self._deployment.engine)

    @cached_property
    def _deployment(self) -> Deployment | None:
        from sizewell.cli.documents import deployment_object
        from sizewell.cli.output import json_ready
        from sizewell.cli.plan_file import rebuilt
        from sizewell.specs.errors import SizewellError

        try:
            built = rebuilt(self.started.deployment, self.started.source, self.started.assumed)
        except SizewellError:
            return None
        return built if json_ready(deployment_object(built)) == self.started.deployment else None
