"""A deployment played through its load before it exists: percentiles, the load at which it breaks, a replica lost.

One replica is simulated with its even share of the load, two pools with all of it, from a warm start: users come in
one after the other over the time one request takes, and what is scored begins after everybody's first request. Of
n replicas that take turns each gets every n-th of independent arrivals: its gaps are sums of n, more even than those.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, inf, nextafter
from typing import Literal

import numpy as np

from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.planner.means import Means, usual_e2e_s
from sizewell.planner.saturation import Bracket, common_blocks, held_while_decoding, saturation
from sizewell.simulator.compiled import CodeStore
from sizewell.simulator.deployment import deployed
from sizewell.simulator.facts import Disaggregated, Fleet, ReplicaFacts
from sizewell.simulator.simulate import Options, simulate
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment
from sizewell.traffic.arrivals import Gamma, Users, Window
from sizewell.traffic.offer import Traffic, offer, traffic_of
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import UNFINISHED, Run
from sizewell.traffic.score import Score, score
from sizewell.traffic.workload import Slo, Workload

FEWEST, MOST = 300, 3000
"""Requests of one simulated replica: p99 of fewer is a guess, and more tell hardly more."""

MOST_TOKENS, FEWEST_LONG = 3e7, 10
"""Tokens of all requests beyond which there are fewer of them, and how few: each block of their cache is followed."""

ROUNDS = 4
"""Requests scored for each one in flight."""

WARM_UP_ROUNDS = 3
"""Requests let by for each one in flight before an open loop is scored: it fills up slowly."""

SURE = 0.98
"""Share of what a full replica serves above which a queue hardly ever empties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One replica under a `share` of the load, or two pools under all of it, once they are warm.

    `overloaded`: more comes than it can serve, or more users are there than it serves at once.
    """

    share: float
    score: Score
    overloaded: bool

    @property
    def holds(self) -> bool:
        """Whether everybody was served, every limit was met by its statistic, and it could go on so."""
        return self.served and not self.overloaded and all(limit.held for limit in self.score.limits)

    @property
    def served(self) -> bool:
        """Whether everybody was served, however late."""
        return self.score.ok == self.score.offered

    @property
    def strain(self) -> float:
        """How much of its limits it takes: the largest value over its limit; at most 1 where it holds, else more."""
        taken = [limit.value_s / limit.limit_s for limit in self.score.limits if limit.value_s is not None]
        most = max(taken, default=0.0)
        if self.holds:
            return min(most, 1.0)
        return most if most > 1 else inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Playing:
    """What playing needs besides a deployment and a load: how fast things are, where compiled code is kept, and the
    memory of each pool's ranks where it is known already.
    """

    efficiencies: Efficiencies
    memories: tuple[MemoryLedger, ...] = ()
    code: CodeStore | None = None


def rehearse(deployment: Deployment, workload: Workload, given: Means, slo: Slo, playing: Playing) -> Rehearsal:
    """Return what happens to a deployment under a load whose means are about as `given`."""
    memories = playing.memories or [ledger(deployment, pool) for pool in range(len(deployment.pools))]
    whole = deployed(deployment, memories, playing.efficiencies)
    served, shares = (whole, 1) if isinstance(whole, Disaggregated) else (whole.replica, whole.replicas)
    return Rehearsal(
        served=served,
        options=Options(store=playing.code),
        shares=shares,
        workload=workload,
        e2e_s=usual_e2e_s(given),
        slo=slo,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """What a simulation says of replicas under their load; each thing is played when it is first asked for.

    `served` is one replica of `shares` that are alike, or two pools as one; `e2e_s` is about what one request takes.
    """

    served: ReplicaFacts | Disaggregated
    options: Options
    shares: int
    workload: Workload
    e2e_s: float
    slo: Slo
    seed: int = 0
    known: dict[float, Outcome] = field(default_factory=dict)

    @property
    def load(self) -> float:
        """The stated load of the whole deployment: users, or requests per second; growth included."""
        workload = self.workload
        return (workload.users or workload.rate_per_s or 0.0) * workload.growth

    @property
    def unit(self) -> Literal["users", "requests/s"]:
        """What the load is counted in."""
        return "requests/s" if self.workload.users is None else "users"

    @property
    def replicas(self) -> int:
        """Replicas of all pools."""
        if isinstance(self.served, Disaggregated):
            return self.served.prefill.replicas + self.served.decode.replicas
        return self.shares

    @property
    def fewest(self) -> int:
        """Requests scored at least."""
        return int(np.clip(MOST_TOKENS / self.workload.context_tokens, FEWEST_LONG, FEWEST))

    @property
    def stated(self) -> Outcome:
        """What happens under the stated load."""
        return self.outcome(self.share)

    @property
    def share(self) -> float:
        """The stated load of one replica as it is played, or of two pools."""
        return self._offered(self.load / self.shares)

    @cached_property
    def holds(self) -> bool:
        """Whether the stated load holds; it is played no longer than until it cannot any more."""
        share = self.share
        if share not in self.known:
            if self.overloads:
                return False
            run = self._run(share, refutable=True)
            if (run.status == UNFINISHED).any():
                return False
            self.known[share] = self._scored(share, run)
        return self.known[share].holds

    @property
    def overloads(self) -> bool:
        """Whether more comes under the stated load than can be served, whatever its limits."""
        return self.share > self.most

    @cached_property
    def without_one(self) -> Outcome | None:
        """What is left of the service when the replica dies whose loss is felt most; None: nothing is."""
        if isinstance(self.served, Disaggregated):
            return self._without_one_of(self.served)
        if self.shares == 1:
            return None
        left, capacity = replace(self, shares=self.shares - 1, known={}), self.__dict__.get("capacity_per_s")
        if capacity is not None:
            left.__dict__["capacity_per_s"] = capacity  # a replica's, however many there are
        return left.stated

    def _without_one_of(self, pools: Disaggregated) -> Outcome | None:
        front, back = pools.prefill, pools.decode
        if min(front.replicas, back.replicas) == 1:
            return None
        left = (
            replace(pools, prefill=replace(front, replicas=front.replicas - 1)),
            replace(pools, decode=replace(back, replicas=back.replicas - 1)),
        )
        found = [replace(self, served=fewer, known={}).outcome(self.load) for fewer in left]
        return max(found, key=lambda outcome: (not outcome.holds, outcome.score.e2e.mean_s or 0.0))

    @cached_property
    def saturation(self) -> Bracket:
        """The largest load (users, or requests per second, of the whole deployment) that holds: the edge between the
        stated load and the most that can be served at all.

        Without limits nothing is played: requests are all alike, and what is served at one load is served at any.
        """
        whole, most = self.unit == "users", self.most
        played = [self.stated]
        if self.shares > 1 and self.without_one:
            played.append(self.without_one)
        known = {outcome.share: outcome.strain for outcome in played}
        known[nextafter(most, inf)] = inf
        unlimited = self.stated.served and not self.stated.score.limits
        found = saturation((lambda _: 0.0) if unlimited else self._strain, most, whole=whole, known=known)
        # A bracket is as wide as its tolerance: what was seen to hold does, wherever in it that lies.
        holds = max(found.holds, self.share) if self.stated.holds else found.holds
        return replace(found, holds=holds * self.shares, breaks=found.breaks * self.shares)

    @property
    def headroom_fraction(self) -> float:
        """Share of the load it could take that the stated one leaves free."""
        return max(0.0, 1 - self.load / self.saturation.holds) if self.saturation.holds else 0.0

    def outcome(self, share: float) -> Outcome:
        """Return what one replica makes of `share` of the load."""
        share = self._offered(share)
        if share not in self.known:
            self.known[share] = self._scored(share, self._run(share))
        return self.known[share]

    def _offered(self, share: float) -> float:
        """Return a share as it is played: nobody is part of a user."""
        return float(ceil(share)) if self.unit == "users" else share

    @property
    def most_at_once(self) -> int:
        """Requests that can be decoded at once, by setting and by cache; more only wait."""
        return self.most_within(self._decoding.replica.max_num_seqs)

    def most_within(self, sequences: int) -> int:
        """Return the same under another limit on the sequences of a rank, in a cache of the same size."""
        facts = self._decoding.replica
        context = self.workload.context_tokens
        prefix = min(self.workload.shared_prefix_tokens, self.workload.input_tokens - 1) * facts.prefix_caching
        shared = common_blocks(facts.groups, facts.block_tokens, prefix)
        own = held_while_decoding(facts.groups, facts.block_tokens, context) - shared
        blocks = facts.pool_tokens / facts.block_tokens if facts.pool_tokens else facts.blocks
        held = max(blocks - shared, 0) / own
        return ceil(min(sequences, held)) * facts.ranks * self._decoding.replicas

    @property
    def _decoding(self) -> Fleet:
        return self.served.decode if isinstance(self.served, Disaggregated) else Fleet(replica=self.served)

    @cached_property
    def burst_ttft_s(self) -> float | None:
        """The mean time to first token where everybody of the stated load sends at once to an idle service."""
        count = int(np.clip(self.share if self.unit == "users" else self.share * self.e2e_s, 1, MOST))
        at_once = offer(replace(traffic_of(self.workload), arrivals=Window(concurrency=count)), count, self.seed)
        return score(simulate(self.served, at_once, self.options)).ttft.mean_s

    @cached_property
    def capacity_per_s(self) -> float:
        """Requests per second of one replica that always has more to do."""
        full = self.most_at_once
        count = int(np.clip(full * 6, self.fewest, MOST))
        traffic = replace(traffic_of(self.workload), arrivals=Window(concurrency=min(2 * full, count // 3)))
        steady = score(simulate(self.served, offer(traffic, count, self.seed), self.options)).steady
        return steady.requests_per_s if steady else inf

    @property
    def most(self) -> float:
        """The load from which on a replica cannot keep up."""
        return float(self.most_at_once) if self.unit == "users" else SURE * self.capacity_per_s

    def _strain(self, share: float) -> float:
        return self.outcome(share).strain

    def _run(self, share: float, *, refutable: bool = False) -> Run:
        """Return the play of a share, if `refutable` only until a limit is missed whatever comes."""
        start, stop, count = self._span(share)
        options = self.options
        if refutable:
            options = replace(options, settled=lambda so_far: so_far.rows(start, stop).misses(self.slo))
        return simulate(self.served, self._requests(share, count), options)

    def _scored(self, share: float, run: Run) -> Outcome:
        start, stop, _ = self._span(share)
        return Outcome(share=share, score=score(run.rows(start, stop), self.slo), overloaded=share > self.most)

    def _span(self, share: float) -> tuple[int, int, int]:
        """Return the first request scored, the first one after them, and how many are offered."""
        whole = self.unit == "users"
        edge = min(ceil(share if whole else share * self.e2e_s), MOST)
        before = edge if whole else edge * WARM_UP_ROUNDS
        count = int(np.clip(edge * ROUNDS, self.fewest, MOST))
        return before, before + count, before + count + edge

    def _requests(self, share: float, count: int) -> Requests:
        traffic: Traffic = traffic_of(self.workload)
        if self.unit == "users":
            return offer(replace(traffic, arrivals=Users(users=int(share), start_over_s=self.e2e_s)), count, self.seed)
        taking_turns = Gamma(rate_per_s=share, burstiness=float(self.shares))
        return offer(replace(traffic, arrivals=taking_turns), count, self.seed)
