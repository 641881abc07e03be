"""A deployment and the requests offered to it, played: facts from the catalogue, the run from the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import get_args

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.machine_code import CodeFolder
from sizewell.cli.questions import AS_USUAL, Setup, stated_on
from sizewell.cli.traffic_flags import Offered
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.simulator.deployment import deployed_facts
from sizewell.simulator.facts import Fleet, Router, Scheduler
from sizewell.simulator.simulate import Options
from sizewell.simulator.simulate import simulate as play
from sizewell.specs.deployment import Deployment
from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec
from sizewell.traffic.overload import overload
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import Run
from sizewell.traffic.score import Score, score
from sizewell.traffic.workload import Slo

NO_LIMITS = Slo()
LENGTH_STEP_TOKENS = 1024
FEW_TOKENS = 10_000
"""Output tokens up to which compiling costs more than it saves; plain and compiled code give the same run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A simulated run and how it was. `run` and `score` are None where the deployment does not fit.

    `overload` says in words that the queue grew as long as requests came; empty where it did not.
    """

    deployment: Deployment
    memory: MemoryLedger
    offered: Offered
    slo: Slo
    router: Router
    run: Run | None = None
    score: Score | None = None
    overload: str = ""

    @property
    def measured(self) -> Score | None:
        """The score of what really happened to the same requests, where a trace says it."""
        return score(self.offered.measured, self.slo) if self.offered.measured is not None else None

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is played other than it would happen."""
        name = self.deployment.engine.name
        return () if name in get_args(Scheduler) else (f"{name} schedules by the rules of vllm, which are simulated",)

    @property
    def missed(self) -> tuple[str, ...]:
        """What a strict reader objects to: limits that did not hold, requests that were not served."""
        if self.score is None:
            return ()
        unserved = (("rejected", self.score.rejected), ("unfinished", self.score.unfinished))
        return (
            *(f"{held.name} is above its limit" for held in self.score.limits if held.held is False),
            *(f"there is no {held.name}" for held in self.score.limits if held.held is None),
            *(f"{count} of {self.score.offered} requests {word}" for word, count in unserved if count),
        )


def simulate(
    model: str | ModelSpec,
    on: str | ClusterSpec,
    requests: Requests | Offered,
    setup: Setup = AS_USUAL,
    slo: Slo = NO_LIMITS,
) -> Simulation:
    """Return what happens to requests on a stated deployment of a model on `8xh200` or a cluster."""
    offered = requests if isinstance(requests, Offered) else Offered(requests=requests)
    return simulate_deployment(stated_for(model, on, offered, setup), offered, slo, setup.router)


def stated_for(model: str | ModelSpec, on: str | ClusterSpec, offered: Offered, setup: Setup = AS_USUAL) -> Deployment:
    """Return the deployment, its context long enough for the longest request where none is stated."""
    longest = ceil(_longest(offered.requests) / LENGTH_STEP_TOKENS) * LENGTH_STEP_TOKENS
    return stated_on(model, on, offered.workload, setup, least_context_tokens=longest)


def simulate_deployment(
    deployment: Deployment,
    offered: Offered,
    slo: Slo = NO_LIMITS,
    router: Router = "round-robin",
    watch: Callable[[int], None] | None = None,
) -> Simulation:
    """Return what happens to the offered requests on a deployment, whoever built it; `watch` hears how many ended.

    Raises BadInputError for several pools.
    """
    if len(deployment.pools) > 1:
        raise BadInputError(f"{len(deployment.pools)} pools: simulate a deployment of one")
    memory = ledger(deployment)
    found = Simulation(deployment=deployment, memory=memory, offered=offered, slo=slo, router=router)
    if not memory.fits:
        return found
    facts = deployed_facts(deployment, memory, read_efficiencies(), seed=offered.seed or 0)
    requests = offered.requests
    many = int(requests.output_tokens.sum()) > FEW_TOKENS
    options = Options(horizon_s=offered.until_s, compiled=many, store=CodeFolder.usual(), watch=watch)
    fleet = Fleet(replica=facts, replicas=deployment.pools[0].replicas, router=router)
    run = play(fleet, requests, options)
    return replace(found, run=run, score=score(run, slo), overload=overload(requests, run))


def _longest(requests: Requests) -> int:
    return int((requests.input_tokens + requests.output_tokens).max())
