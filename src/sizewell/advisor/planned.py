"""A plan read as a server is: its bottleneck, and one of its requests followed through time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sizewell.advisor.advice import Adviser, Change
from sizewell.advisor.case import Case, Finding
from sizewell.advisor.changes import Before
from sizewell.advisor.diagnosis import expected, twice
from sizewell.advisor.findings import findings
from sizewell.advisor.mix import Mix
from sizewell.advisor.observation import Observation
from sizewell.advisor.pace import Pace, held
from sizewell.costs.ledger import MemoryLedger
from sizewell.specs.deployment import Deployment
from sizewell.traffic.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A deployment under a workload with what was predicted: means of a request, and how many sequences decode.

    `sequences` are of the whole deployment and may be no more than `most`; `prefill_s` is a prompt's own pass.
    """

    deployment: Deployment
    memory: MemoryLedger
    workload: Workload
    sequences: float
    most: float
    ttft_s: float
    tpot_s: float
    prefill_s: float

    @property
    def mix(self) -> Mix:
        """The mix of work with everybody who waits; a pool that decodes computes no prompts."""
        pool = self.deployment.pools[-1]
        caching = pool.settings.prefix_caching
        mix = Mix.of_workload(self.workload, self.sequences + self.waiting, prefix_caching=caching)
        return replace(mix, cached_fraction=1.0) if pool.role == "decode" else mix

    @property
    def waiting(self) -> float:
        """Users who wait because no more sequences decode at once."""
        users = (self.workload.users or 0.0) * self.workload.growth
        return max(users - self.most, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of a request's life: seconds, tokens it adds, cache it holds on each accelerator when it ends.

    `causes` are the seconds by what they wait for, the most first; empty where it waits for others.
    """

    name: str
    seconds: float
    tokens: float
    kv_bytes: float
    causes: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What binds a plan, and a request followed through it; at its end it holds `kv_share` of one replica's cache."""

    findings: tuple[Finding, ...]
    phases: tuple[Phase, ...]
    kv_share: float


def read_plan(planned: Planned, adviser: Adviser) -> Reading:
    """Return what binds a plan and where the time of one of its requests goes."""
    deployment, mix = planned.deployment, planned.mix
    alone, eager_s = expected(deployment, mix, planned.sequences, adviser.efficiencies)
    # A pipeline computes prompts while others decode, which only a play knows: what is said is of the stated TPOT.
    predicted = alone.lasting(planned.tpot_s) if planned.tpot_s > 0 else alone
    case = Case(
        seen=_seen(planned), deployment=deployment, memory=planned.memory, mix=mix, pace=predicted,
        eager_s=eager_s * predicted.token_s / alone.token_s,
        more_at_once=twice(deployment, mix, alone, adviser.efficiencies),
    )  # fmt: skip
    whole = planned.workload.input_tokens + planned.workload.output_tokens
    kept = held(deployment, planned.memory, whole) / deployment.pools[-1].replicas
    return Reading(
        findings=findings(case), phases=_phases(planned, predicted), kv_share=1 / kept if kept > 0 else float("inf")
    )


def advise_plan(planned: Planned, adviser: Adviser, top: int) -> tuple[Change, ...]:
    """Return the changes that would serve the plan's load better, the one to make first at the head."""
    before = Before(deployment=planned.deployment, memory=planned.memory, mix=planned.mix)
    return adviser.advise(before, top)


def _seen(planned: Planned) -> Observation:
    """Return what a server would tell that does what is planned; one sequence at work is not idle in a plan."""
    tokens = planned.memory.kv_tokens * planned.deployment.pools[-1].parallelism.dp
    tokens *= planned.deployment.pools[-1].replicas
    used = planned.sequences * planned.mix.context_tokens / tokens if tokens > 0 else 1.0
    return Observation(
        running=max(planned.sequences, 1.0),
        waiting=planned.waiting,
        kv_used_fraction=min(used, 1.0),
        kv_tokens=float(tokens),
        request_prompt_tokens=planned.workload.input_tokens,
        request_output_tokens=planned.workload.output_tokens,
        cached_fraction=planned.mix.cached_fraction,
    )


def _phases(planned: Planned, predicted: Pace) -> tuple[Phase, ...]:
    load, each = planned.workload, planned.memory.kv_bytes_per_token
    prefill_s = min(planned.prefill_s, planned.ttft_s)
    generated = (("think", load.think_tokens), ("answer", load.answer_tokens))
    phases = [
        Phase(name="queue", seconds=planned.ttft_s - prefill_s, tokens=0.0, kv_bytes=0.0, causes={}),
        Phase(
            name="prefill", seconds=prefill_s, tokens=load.input_tokens, kv_bytes=load.input_tokens * each,
            causes={"prefill compute": prefill_s},
        ),
    ]  # fmt: skip
    there, before = load.input_tokens, 1.0  # the first token is there when the prompt is computed
    for name, tokens in generated:
        if tokens:
            there += tokens
            seconds = (tokens - before) * planned.tpot_s
            phases.append(_generated(name, tokens, there * each, seconds, predicted))
            before = 0.0
    return tuple(phases)


def _generated(name: str, tokens: float, kv_bytes: float, seconds: float, predicted: Pace) -> Phase:
    shares = sorted(predicted.between.items(), key=lambda cause: -cause[1])
    causes = {cause: spent / predicted.token_s * seconds for cause, spent in shares if spent > 0}
    return Phase(name=name, seconds=seconds, tokens=tokens, kv_bytes=kv_bytes, causes=causes)
