"""A deployment played with as many requests in flight as now: what closed forms do not see of a change.

Prompts that hold up others, ranks that wait for one another, sequences that lose their cache and find part of it again,
pipelines whose batches fill unevenly: the gain of a change is the ratio of two plays, as the emulator would show it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizewell.advisor.mix import Mix
from sizewell.advisor.pace import Pace
from sizewell.advisor.played import observed
from sizewell.costs.ledger import MemoryLedger
from sizewell.simulator.compiled import CodeStore
from sizewell.simulator.deployment import deployed_facts
from sizewell.simulator.simulate import Options, simulate
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment
from sizewell.traffic.arrivals import Users
from sizewell.traffic.offer import offer, traffic_of
from sizewell.traffic.score import score
from sizewell.traffic.workload import Workload

ROUNDS = 6
"""Requests of each one in flight: the first come one after the other, the last find fewer and fewer others."""
FEWEST = 40
"""Requests played at least."""
MOST_TOKENS, MOST_REQUESTS = 3e7, 20_000
"""Tokens and requests of a play beyond which nothing is played: it would take longer than anybody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a play showed of all replicas: tokens per second, and seconds between two tokens of a sequence."""

    tokens_per_s: float
    token_s: float


def trial(
    deployment: Deployment, memory: MemoryLedger, mix: Mix, given: Pace, playing: tuple[Efficiencies, CodeStore | None]
) -> Trial | None:
    """Return what one replica makes of its even share of a mix, `given` what closed forms say of it.

    None where nothing can be said: too much to play, prompts that are found in the cache but shared by few, or
    requests too long for the deployment.
    """
    replicas, (efficiencies, code) = deployment.pools[0].replicas, playing
    users = max(1, round(mix.in_flight / replicas))
    count = max(users * ROUNDS, FEWEST)
    if not mix.in_common or count > MOST_REQUESTS or count * (mix.prompt_tokens + mix.output_tokens) > MOST_TOKENS:
        return None
    facts = deployed_facts(deployment, memory, efficiencies)
    e2e_s = given.cycle_s * mix.output_tokens
    requests = offer(replace(traffic_of(_load(mix, users)), arrivals=Users(users=users, start_over_s=e2e_s)), count)
    run = simulate(facts, requests, Options(store=code))
    if not run.served.all():
        return None
    rate, among_all = observed(run).generated_tokens_per_s, run.rows(users, count - users)
    token_s = score(among_all).tpot_token_weighted_s
    return Trial(tokens_per_s=rate * replicas, token_s=token_s) if rate and token_s else None


def _load(mix: Mix, users: int) -> Workload:
    prompt = max(round(mix.prompt_tokens), 1)
    return Workload(
        input_tokens=prompt,
        answer_tokens=max(round(mix.output_tokens), 1),
        users=users,
        shared_prefix_tokens=min(round(mix.cached_fraction * mix.prompt_tokens), prompt - 1),
    )
