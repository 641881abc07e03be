"""A deployment played through its load before it exists: percentiles, the load at which it breaks, a replica lost.

One replica is simulated with its even share of the load, two pools with all of it, from a warm start: users come in
one after the other over the time one request takes, and what is scored begins after everybody's first request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal, TypeVar

import numpy as np

from sizewell.costs.ledger import ledger
from sizewell.planner.means import Means
from sizewell.planner.saturation import Bracket, saturation
from sizewell.simulator.compiled import CodeStore
from sizewell.simulator.deployment import deployed
from sizewell.simulator.facts import Disaggregated, Fleet, ReplicaFacts
from sizewell.simulator.simulate import Options, simulate
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment
from sizewell.specs.figure import Figure
from sizewell.traffic.arrivals import Users, Window, poisson
from sizewell.traffic.offer import Traffic, offer, traffic_of
from sizewell.traffic.requests import Requests
from sizewell.traffic.score import Score, score
from sizewell.traffic.workload import Slo, Workload

FEWEST, MOST = 300, 3000
"""Requests of one simulated replica: p99 of fewer is a guess, and more tell hardly more."""

ROUNDS = 4
"""Requests scored for each one in flight."""

WARM_UP_ROUNDS = 3
"""Requests let by for each one in flight before an open loop is scored: it fills up slowly."""

SURE = 0.98
"""Share of what a full replica serves above which a queue hardly ever empties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One replica under a share of the load, or two pools under all of it, once they are warm.

    `overloaded`: more comes than it can serve, or more users are there than it serves at once.
    """

    score: Score
    overloaded: bool

    @property
    def holds(self) -> bool:
        """Whether everybody was served, every limit was met by its statistic, and it could go on so."""
        served = self.score.ok == self.score.offered
        return served and not self.overloaded and all(limit.held for limit in self.score.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a simulation says of a deployment under the stated load.

    `stated`: under its load. `saturation`: the largest load (users, or requests per second, of the whole deployment)
    that holds. `without_one`: the same load on one replica fewer; None where there is only one.
    """

    load: float
    unit: Literal["users", "requests/s"]
    replicas: int
    stated: Outcome
    saturation: Bracket
    without_one: Outcome | None

    @property
    def headroom_fraction(self) -> float:
        """Share of the load it could take that the stated one leaves free."""
        return max(0.0, 1 - self.load / self.saturation.holds) if self.saturation.holds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Playing:
    """What playing needs besides a deployment and a load: how fast things are, and where compiled code is kept."""

    efficiencies: Efficiencies
    code: CodeStore | None = None


def rehearse(deployment: Deployment, workload: Workload, given: Means, slo: Slo, playing: Playing) -> Rehearsal:
    """Return what happens to a deployment under a load whose means are about as `given`."""
    memories = [ledger(deployment, pool) for pool in range(len(deployment.pools))]
    whole = deployed(deployment, memories, playing.efficiencies)
    served, replicas = (whole, 1) if isinstance(whole, Disaggregated) else (whole.replica, whole.replicas)
    stage = Stage(
        served=served,
        options=Options(store=playing.code),
        replicas=replicas,
        workload=workload,
        e2e_s=usual_e2e_s(given),
        slo=slo,
    )
    return stage.rehearsal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Replicas, or two pools as one, ready to be rehearsed under loads of one kind; `e2e_s` is about what one request
    takes."""

    served: ReplicaFacts | Disaggregated
    options: Options
    replicas: int
    workload: Workload
    e2e_s: float
    slo: Slo
    seed: int = 0
    known: dict[float, Outcome] = field(default_factory=dict)
    capacity: dict[float, float] = field(default_factory=dict)

    @property
    def load(self) -> float:
        """The stated load of the whole deployment: users, or requests per second; growth included."""
        workload = self.workload
        return (workload.users or workload.rate_per_s or 0.0) * workload.growth

    def rehearsal(self) -> Rehearsal:
        """Return what happens at the stated load, at which load it breaks, and when a replica dies."""
        pools = (self.served.prefill, self.served.decode) if isinstance(self.served, Disaggregated) else ()
        return Rehearsal(
            load=self.load,
            unit="requests/s" if self.workload.users is None else "users",
            replicas=sum(pool.replicas for pool in pools) or self.replicas,
            stated=self.outcome(self.load / self.replicas),
            saturation=self._saturation(),
            without_one=self._without_one(),
        )

    def _without_one(self) -> Outcome | None:
        """Return what is left of the service when the replica dies whose loss is felt most; None: nothing is."""
        fewer = self.replicas - 1
        if not isinstance(self.served, Disaggregated):
            return self.outcome(self.load / fewer) if fewer else None
        front, back = self.served.prefill, self.served.decode
        if min(front.replicas, back.replicas) == 1:
            return None
        left = (
            replace(self.served, prefill=replace(front, replicas=front.replicas - 1)),
            replace(self.served, decode=replace(back, replicas=back.replicas - 1)),
        )
        found = [replace(self, served=pools, known={}, capacity={}).outcome(self.load) for pools in left]
        return max(found, key=lambda outcome: (not outcome.holds, outcome.score.e2e.mean_s or 0.0))

    def outcome(self, share: float) -> Outcome:
        """Return what one replica makes of `share` of the load."""
        share = float(ceil(share)) if self.workload.users is not None else share
        if share not in self.known:
            self.known[share] = self._played(share)
        return self.known[share]

    @property
    def most_at_once(self) -> int:
        """Requests that can be decoded at once, by setting and by cache; more only wait."""
        decoding = self.served.decode if isinstance(self.served, Disaggregated) else Fleet(replica=self.served)
        facts = decoding.replica
        held = facts.blocks * facts.block_tokens / self.workload.context_tokens
        return ceil(min(facts.max_num_seqs, held)) * facts.ranks * decoding.replicas

    @property
    def capacity_per_s(self) -> float:
        """Requests per second of one replica that always has more to do."""
        if 0.0 not in self.capacity:
            full = self.most_at_once
            count = int(np.clip(full * 6, FEWEST, MOST))
            traffic = replace(traffic_of(self.workload), arrivals=Window(concurrency=min(2 * full, count // 3)))
            steady = score(simulate(self.served, offer(traffic, count, self.seed), self.options)).steady
            self.capacity[0.0] = steady.requests_per_s if steady else float("inf")
        return self.capacity[0.0]

    def _saturation(self) -> Bracket:
        """Look for the edge between the stated load and the most that can be served at all."""
        whole = self.workload.users is not None
        most = float(self.most_at_once) if whole else SURE * self.capacity_per_s
        found = saturation(self._holds, most, whole=whole)
        return replace(found, holds=found.holds * self.replicas, breaks=found.breaks * self.replicas)

    def _holds(self, share: float) -> bool:
        return not self._overloaded(share) and self.outcome(share).holds

    def _played(self, share: float) -> Outcome:
        in_flight = share if self.workload.users is not None else share * self.e2e_s
        edge = min(ceil(in_flight), MOST)
        before = edge if self.workload.users is not None else edge * WARM_UP_ROUNDS
        count = int(np.clip(edge * ROUNDS, FEWEST, MOST))
        run = simulate(self.served, self._requests(share, before + count + edge), self.options)
        scored = score(run.rows(before, before + count), self.slo)
        return Outcome(score=scored, overloaded=self._overloaded(share))

    def _overloaded(self, share: float) -> bool:
        if self.workload.users is not None:
            return share > self.most_at_once
        return share > SURE * self.capacity_per_s

    def _requests(self, share: float, count: int) -> Requests:
        traffic: Traffic = traffic_of(self.workload)
        if self.workload.users is not None:
            return offer(replace(traffic, arrivals=Users(users=int(share), start_over_s=self.e2e_s)), count, self.seed)
        return offer(replace(traffic, arrivals=poisson(share)), count, self.seed)


def usual_e2e_s(given: Means) -> float:
    """Return about what one request takes, without the wait of a queue that grows without end."""
    tokens = given.output_tokens_per_s.value / given.requests_per_s.value
    return min(given.e2e_s.value, 2 * tokens * given.tpot_s.value)


Stated = TypeVar("Stated", bound=Means)


def with_simulated_means(given: Stated, found: Rehearsal) -> Stated:
    """Return a prediction with the means of its simulation, in intervals as wide as before.

    Users who send again at once make users / E2E requests per second; of an open loop all are served.
    """
    scored = found.stated.score
    faster = 1.0
    if found.unit == "users" and scored.e2e.mean_s:
        faster = found.load / scored.e2e.mean_s / given.requests_per_s.value
    return replace(
        given,
        ttft_s=_moved(given.ttft_s, scored.ttft.mean_s),
        ttfa_s=_moved(given.ttfa_s, scored.ttfa.mean_s),
        tpot_s=_moved(given.tpot_s, scored.tpot.mean_s),
        e2e_s=_moved(given.e2e_s, scored.e2e.mean_s),
        requests_per_s=_moved(given.requests_per_s, given.requests_per_s.value * faster),
        output_tokens_per_s=_moved(given.output_tokens_per_s, given.output_tokens_per_s.value * faster),
    )


def _moved(figure: Figure, value: float | None) -> Figure:
    """Return a figure of another value in an interval of the same relative width; itself where there is no value."""
    if value is None or not figure.value:
        return figure
    ratio = value / figure.value
    return replace(figure, value=value, low=figure.low * ratio, high=figure.high * ratio)
