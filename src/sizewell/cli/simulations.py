"""A deployment and the requests offered to it, played: facts from the catalogue, the run from the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import get_args

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.machine_code import CodeFolder
from sizewell.cli.questions import AS_USUAL, Setup, calibrated_by, stated_on
from sizewell.cli.traffic_flags import Offered
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.simulator.deployment import deployed
from sizewell.simulator.facts import Router, Scheduler
from sizewell.simulator.simulate import NetworkUse, Options, play
from sizewell.specs.deployment import Deployment, PoolRole
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec
from sizewell.traffic.overload import overload
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import Run
from sizewell.traffic.score import Score, score
from sizewell.traffic.workload import Slo

NO_LIMITS = Slo()
LENGTH_STEP_TOKENS = 1024
IN_STEP = (
    "users begin together and ask for the same, so they keep in step and wait for each other's prompts; "
    "--length-sigma 0.5 parts them, and plan and explain let them begin one after the other"
)
SETTLED = 5
"""Requests offered for each that is in flight from which on those that came while a server filled weigh little."""
LITTLE = 10_000
"""Work up to which compiling costs more than it saves; plain and compiled code give the same run."""

PROMPT_SHARE = 1 / 8
"""Work of a prompt token, whose blocks are keyed and looked up, for each token that is generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The same requests after a pool of role `pool` has lost a replica; None where there was only one."""

    pool: PoolRole
    replicas_left: int
    score: Score | None
    overload: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A simulated run and how it was. `run` and `score` are None where the deployment does not fit.

    `memories` are the ledgers of its pools; `network` is what was moved between them. `overload` says in words that
    the queue grew as long as requests came; empty where it did not. `losses` are filled in by `with_losses`.
    """

    deployment: Deployment
    memories: tuple[MemoryLedger, ...]
    offered: Offered
    slo: Slo
    router: Router
    run: Run | None = None
    score: Score | None = None
    overload: str = ""
    network: NetworkUse | None = None
    losses: tuple[Loss, ...] = ()
    calibrated_by: tuple[str, ...] = ()

    @property
    def memory(self) -> MemoryLedger:
        """The ledger that decides: the first that does not fit, else that of the pool that decodes."""
        return next((memory for memory in self.memories if not memory.fits), self.memories[-1])

    @property
    def measured(self) -> Score | None:
        """The score of what really happened to the same requests, where a trace says it."""
        return score(self.offered.measured, self.slo) if self.offered.measured is not None else None

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is played other than it would happen."""
        name, priority = self.deployment.engine.name, self.offered.requests.priority
        rules = () if name in get_args(Scheduler) else (f"{name} schedules by the rules of vllm, which are simulated",)
        if self.offered.requests.keep_step:
            rules = (*rules, IN_STEP)
        if filling := self._filling:
            rules = (*rules, filling)
        if any(pool.settings.by_priority for pool in self.deployment.pools) or (priority == priority[0]).all():
            return rules
        return (*rules, "the requests' priorities say nothing: without --by-priority who came first is served first")

    @property
    def _filling(self) -> str:
        """That many of the requests of an open loop met a server that was still filling, or nothing."""
        rate, count = self.offered.rate_per_s, len(self.offered.requests)
        felt = self.score.e2e.mean_s if self.score else None
        if not rate or not felt or self.overload or self.offered.source != "flags" or self.offered.until_s < inf:
            return ""
        at_once = rate * felt
        if count >= SETTLED * at_once:
            return ""
        return (
            f"{at_once:,.0f} requests are in flight at this rate and {count:,} were offered to a server that was still "
            f"filling: --requests {float(f'{2 * SETTLED * at_once:.1g}'):.0f} shows the load once it has settled"
        )

    @property
    def fits(self) -> bool:
        """Whether the engine starts there and takes at least one of the requests."""
        return self.memory.fits and (self.score is None or not 0 < self.score.rejected == self.score.offered)

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
    """Return what happens to the offered requests on a deployment, whoever built it; `watch` hears how many ended."""
    memories = tuple(ledger(deployment, pool) for pool in range(len(deployment.pools)))
    found = Simulation(deployment=deployment, memories=memories, offered=offered, slo=slo, router=router)
    if not found.memory.fits:
        return found
    efficiencies = read_efficiencies()
    served = deployed(deployment, memories, efficiencies, router, offered.seed or 0)
    requests = offered.requests
    options = Options(
        horizon_s=offered.until_s, compiled=worth_compiling(requests), store=CodeFolder.usual(), watch=watch
    )
    played = play(served, requests, options)
    run = played.run.due() if offered.until_s < inf else played.run
    return replace(
        found, run=run, score=score(run, slo), overload=overload(requests, played.run), network=played.network,
        calibrated_by=calibrated_by(deployment, efficiencies),
    )  # fmt: skip


def worth_compiling(requests: Requests) -> bool:
    """Return whether playing these takes longer as plain Python than its functions take to compile."""
    return float(requests.output_tokens.sum() + PROMPT_SHARE * requests.input_tokens.sum()) > LITTLE


def with_losses(found: Simulation) -> Simulation:
    """Return a simulation with what the same requests would get after one replica of each pool had died."""
    losses = [_loss(found, place) for place in range(len(found.deployment.pools))] if found.score else []
    return replace(found, losses=tuple(losses))


def _loss(found: Simulation, place: int) -> Loss:
    pools = found.deployment.pools
    left = pools[place].replicas - 1
    if not left:
        return Loss(pool=pools[place].role, replicas_left=0, score=None)
    fewer = (*pools[:place], replace(pools[place], replicas=left), *pools[place + 1 :])
    other = simulate_deployment(replace(found.deployment, pools=fewer), found.offered, found.slo, found.router)
    return Loss(pool=pools[place].role, replicas_left=left, score=other.score, overload=other.overload)


def _longest(requests: Requests) -> int:
    return int((requests.input_tokens + requests.output_tokens).max())
