"""How fast a deployment works on a mix, and where the time between two tokens goes; every second is priced by `costs`.

With D sequences decoding on a replica, r prompt tokens computed for each token generated, and chunks of c of them in
the steps that carry any:

    s       = (mixed(D, c) − decode(D)) / c                 a prompt token, shared by the micro-batches under way
    token_s = max(decode(D) + (D − 1)·r·s, D·r·s)           between two tokens of one sequence
    cycle_s = decode(D) + D·r·s                             of the replica's time, for a token of each: D / cycle_s
                                                            tokens per second

A sequence waits for the prompts of others: its own is computed before its first token. The replica computes all of
them, and however few decode, prompts come through one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from sizewell.advisor.mix import Mix
from sizewell.costs.batch import Batch
from sizewell.costs.ledger import MemoryLedger
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import RankModel
from sizewell.costs.step import StepTime, price
from sizewell.costs.step_policy import StepPolicy, mean_accepted_tokens
from sizewell.costs.work import Work, total_work
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats, Pool

DECODE, MIXED = 0, 1
PROMPTS = "prefill compute"
ATTENTION_PARTS = ("attention-decode", "index-selection", "state")
OVERHEADS = ("launch", "host", "dispatch", "front end")
LINKS = ("link", "link latency")
HOST = ("host link", "host memory", "host compute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One replica at work, `sequences` decoding: seconds from one token of a sequence to its next, and what for.

    `causes` sum to `cycle_s`, the replica's own time for one token of each sequence, in which their prompts are
    computed too. `floor_s` is what no machine of the stated rates beats. `tokens_per_s` are of all replicas. MFU and
    MBU are the shares of stated arithmetic and memory rates in use at this pace.
    """

    sequences: float
    token_s: float
    cycle_s: float
    floor_s: float
    tokens_per_s: float
    causes: Mapping[str, float]
    waits: Mapping[str, float]
    mfu: float
    mbu: float

    def at(self, token_s: float) -> tuple[float, float]:
        """Return MFU and MBU where `token_s` lie between two tokens: by Little's law the replica's time for each."""
        return self.mfu * self.cycle_s / token_s, self.mbu * self.cycle_s / token_s

    @property
    def between(self) -> Mapping[str, float]:
        """The causes as far as a sequence that generates waits for them; they sum to `token_s`."""
        return {**self.causes, PROMPTS: self.causes[PROMPTS] - (self.cycle_s - self.token_s)}


def seats(deployment: Deployment) -> float:
    """Return how many sequences may run at once by setting."""
    pool = deployment.pools[-1]
    return pool.settings.max_num_seqs * pool.parallelism.dp * pool.replicas


def held(deployment: Deployment, memory: MemoryLedger, context_tokens: float) -> float:
    """Return how many sequences of a context the caches of all replicas hold."""
    pool = deployment.pools[-1]
    return memory.concurrency(ceil(max(context_tokens, 1.0))) * pool.parallelism.dp * pool.replicas


def pace(deployment: Deployment, mix: Mix, sequences: float, efficiencies: Efficiencies) -> Pace:
    """Return the pace while `sequences` of the whole deployment decode; replicas share them evenly."""
    pool = deployment.pools[-1]
    mine = max(sequences / pool.replicas, 1.0)
    policy = StepPolicy.of(pool.settings, deployment.engine)
    steps = _Steps.priced(deployment, pool, mix, mine, efficiencies)
    often = mine * mix.computed_tokens / steps.chunk / policy.under_way(pool.parallelism) if steps.chunk else 0.0
    accepted = _accepted(pool, policy.drafts, float(steps.reached.factors["acceptance"][0]))
    prompts_s = often * max(steps.seconds(MIXED) - steps.seconds(DECODE), 0.0)
    decode_s = steps.seconds(DECODE) / accepted
    cycle_s = decode_s + prompts_s
    causes = {name: seconds / accepted for name, seconds in _causes(steps.time).items()}
    mfu, mbu = _used(steps, often * accepted)
    scaled = decode_s / max(cycle_s, 1e-12)
    return Pace(
        sequences=mine,
        token_s=max(decode_s + prompts_s * (mine - 1) / mine, prompts_s),
        cycle_s=cycle_s,
        floor_s=float(steps.time.floor_s[0, DECODE]) / accepted,
        tokens_per_s=sequences / cycle_s,
        causes={**causes, PROMPTS: prompts_s},
        waits={name: float(seconds[0, DECODE]) / accepted for name, seconds in steps.time.limits.items()},
        mfu=mfu * scaled,
        mbu=mbu * scaled,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """A step that only decodes and one with a chunk of prompt beside, of one (micro-)batch."""

    time: StepTime
    work: Work
    chunk: float
    reached: Reached

    @classmethod
    def priced(
        cls, deployment: Deployment, pool: Pool, mix: Mix, sequences: float, efficiencies: Efficiencies
    ) -> _Steps:
        cut, policy = pool.parallelism, StepPolicy.of(pool.settings, deployment.engine)
        formats = Formats(weight=deployment.weight_format, kv=deployment.kv_format)
        micro = float(policy.batch_of(sequences, cut))
        chunk = _chunk(pool, policy, mix, sequences)
        fresh = max(mix.prompt_tokens * (1 - mix.cached_fraction), 1.0)
        prompts = max(chunk / min(fresh, policy.chunk_tokens), 1.0) if chunk else 1.0
        earlier = mix.prompt_tokens * mix.cached_fraction + max(fresh - chunk / prompts, 0.0) / 2
        context = np.full(2, mix.context_tokens)
        batch = Batch.mixed(micro, context, np.array([0.0, chunk]), earlier, prompts, query_tokens=1 + policy.drafts)
        operators = policy.operators(RankModel.of(deployment.model, formats, cut), batch)
        resident = (operator for operator in operators if operator.host is None)
        reached = Reached.of(Machines.of([deployment.cluster]), efficiencies, also=deployment.tags)
        time = price(operators, reached, policy.launch(deployment.model, cut, batch))
        return cls(time=time, work=total_work(resident), chunk=chunk, reached=reached)

    def seconds(self, step: int) -> float:
        return float(self.time.total_s[0, step])


def _chunk(pool: Pool, policy: StepPolicy, mix: Mix, sequences: float) -> float:
    """Return prompt tokens of a step that has any: what arrives meanwhile, a prompt at least, within the budget."""
    arriving = sequences * mix.computed_tokens
    if arriving <= 0:
        return 0.0
    fresh = max(mix.prompt_tokens * (1 - mix.cached_fraction), 1.0)
    return float(policy.prompt_tokens(arriving, fresh, sequences, pool.parallelism.dp))


def _accepted(pool: Pool, drafts: int, calibrated: float) -> float:
    stated = pool.settings.draft_acceptance
    return float(mean_accepted_tokens(np.array(calibrated if stated is None else stated), drafts))


def _causes(time: StepTime) -> dict[str, float]:
    """Return the seconds of a decode step by what a change could remove; they sum to the step."""
    waits = {name: float(seconds[0, DECODE]) for name, seconds in time.limits.items()}
    busy = waits["memory"] + waits["compute"]
    parts = (float(time.parts[name][0, DECODE]) for name in ATTENTION_PARTS if name in time.parts)
    attention = min(sum(parts), busy)
    # What is left are matrices: arithmetic as far as attention has not used it up, else reading them.
    computed = max(waits["compute"] - attention, 0.0)
    return {
        "weights bandwidth": busy - attention - computed,
        "offloaded weights": sum(waits.get(name, 0.0) for name in HOST),
        "decode compute": computed,
        "decode attention": attention,
        "interconnect": sum(waits.get(name, 0.0) for name in LINKS),
        "host/launch overhead": sum(waits.get(name, 0.0) for name in OVERHEADS),
        "pipeline bubble": waits.get("bubble", 0.0),
    }


def _used(steps: _Steps, often: float) -> tuple[float, float]:
    """Return MFU and MBU of a decode step with its share of prompts, at the pace of the decode step alone."""
    machines = steps.reached.machines
    busy_s = np.zeros(2)
    for compute, flops in steps.work.flops.items():
        rate = float(machines.flops_per_s[compute][0])
        rate = rate if rate > 0 else float(machines.flops_per_s["bf16"][0])
        busy_s = busy_s + (np.broadcast_to(flops, 2) / rate if rate > 0 else 0.0)
    read_s = np.broadcast_to(steps.work.hbm_bytes, 2) / float(machines.bytes_per_s[0])
    mean = [each[DECODE] + often * (each[MIXED] - each[DECODE]) for each in (busy_s, read_s)]
    return float(mean[0]) / steps.seconds(DECODE), float(mean[1]) / steps.seconds(DECODE)
