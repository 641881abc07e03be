"""Where the seconds of a step go: the parts of a decode step, what each asks of the machine, and what binds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sizewell.costs.ledger import MemoryLedger
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.work import Operator, total_work
from sizewell.planner.steady_state import Limits, rates
from sizewell.planner.step_table import GRID, Lengths, StepPolicy, StepTable, step_table, step_work
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, EngineSettings, Formats
from sizewell.specs.engine import EngineSpec
from sizewell.traffic.workload import Slo, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPart:
    """One line of a step: its seconds, and for computed parts the work of one accelerator."""

    name: str
    seconds: float
    flops: float = 0.0
    hbm_bytes: float = 0.0
    link_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAccount:
    """A decode step of one replica with `sequences` decoding at `context_tokens` each, and a prompt's own prefill.

    `total_s` is the sum of `parts`; `waits` splits the same seconds by what is waited for, the longest first.
    `floor_s` is what no machine of these stated rates can beat.
    """

    sequences: float
    context_tokens: float
    total_s: float
    floor_s: float
    parts: tuple[StepPart, ...]
    waits: tuple[tuple[str, float], ...]
    prefill_tokens: float
    prefill_s: float

    @property
    def bound_by(self) -> str:
        """What most of the step is spent waiting for."""
        return self.waits[0][0]


def lengths_of(workload: Workload) -> Lengths:
    """Return the request's token counts as a step sees them: the shared prefix is found in the cache."""
    return Lengths(
        prompt_tokens=max(workload.input_tokens - workload.shared_prefix_tokens, 1.0),
        cached_tokens=workload.shared_prefix_tokens,
        output_tokens=workload.output_tokens,
    )


def policy_of(settings: EngineSettings, engine: EngineSpec) -> StepPolicy:
    """Return how the engine forms steps under some settings."""
    return StepPolicy(
        chunk_tokens=settings.max_num_batched_tokens,
        eager=settings.enforce_eager or engine.launch == "eager",
        drafts=settings.speculative_tokens,
        offload_bytes=settings.offload_bytes,
    )


def deployment_steps(
    deployment: Deployment, lengths: Lengths, efficiencies: Efficiencies, grid: Sequence[float] = GRID
) -> StepTable:
    """Return the step times of one replica of a deployment's first pool on its own cluster."""
    pool = deployment.pools[0]
    reached = Reached.of(Machines.of([deployment.cluster]), efficiencies, deployment.engine.name)
    formats = Formats(weight=deployment.weight_format, kv=deployment.kv_format)
    policy = policy_of(pool.settings, deployment.engine)
    return step_table(step_work(deployment.model, formats, pool.parallelism, lengths, policy, grid), reached)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one replica gives at its share of a load, means over requests; `sequences` decode at any time."""

    users: float
    sequences: float
    most_sequences: float
    ttft_s: float
    ttfa_s: float
    tpot_s: float
    e2e_s: float
    requests_per_s: float
    output_tokens_per_s: float
    saturated: bool


def served(deployment: Deployment, workload: Workload, memory: MemoryLedger, efficiencies: Efficiencies) -> Served:
    """Return what a replica of a deployment that fits gives at its share of a load, growth included.

    Limits of the engine and of the cache hold per data-parallel rank, so a replica has `dp` times as much.
    """
    pool = deployment.pools[0]
    ranks, lengths = pool.parallelism.dp, lengths_of(workload)
    limits = Limits(max_sequences=pool.settings.max_num_seqs * ranks, kv_tokens=memory.kv_tokens * ranks)
    found = rates(deployment_steps(deployment, lengths, efficiencies), limits)
    share = workload.growth / pool.replicas
    if workload.users is not None:
        point = found.at_users(workload.users * share)
    else:
        point = found.at_rate((workload.rate_per_s or 0.0) * share)
    rate, tpot, ttft = float(point.requests_per_s[0]), float(point.tpot_s[0]), float(point.ttft_s[0])
    return Served(
        users=float(point.users[0]),
        sequences=rate * point.gaps * tpot,
        most_sequences=float(found.most[0]),
        ttft_s=ttft,
        ttfa_s=ttft + workload.think_tokens * tpot,
        tpot_s=tpot,
        e2e_s=float(point.e2e_s[0]),
        requests_per_s=rate,
        output_tokens_per_s=rate * workload.output_tokens,
        saturated=bool(point.saturated[0]),
    )


def missed(slo: Slo, given: Served) -> tuple[str, ...]:
    """Return each limit a load misses, in words; limits bind means here."""
    pairs = (
        ("TTFT", given.ttft_s, slo.ttft_s),
        ("TTFA", given.ttfa_s, slo.ttfa_s),
        ("TPOT", given.tpot_s, slo.tpot_s),
        ("E2E", given.e2e_s, slo.e2e_s),
    )
    return tuple(
        f"{name} {value:.4g} s is over the limit of {limit:g} s"
        for name, value, limit in pairs
        if limit is not None and value > limit
    )


def step_account(deployment: Deployment, lengths: Lengths, sequences: float, efficiencies: Efficiencies) -> StepAccount:
    """Return where the time of a decode step goes with `sequences` decoding on one replica."""
    table = deployment_steps(deployment, lengths, efficiencies, (sequences,))
    operators, time = table.work.decode.operators, table.decode
    parts = [
        _part(name, float(seconds[0, 0]), [o for o in operators if o.part == name])
        for name, seconds in time.parts.items()
    ]
    waits = sorted(((name, float(seconds[0, 0])) for name, seconds in time.limits.items()), key=lambda wait: -wait[1])
    return StepAccount(
        sequences=sequences,
        context_tokens=lengths.decode_context_tokens,
        total_s=float(time.total_s[0, 0]),
        floor_s=float(time.floor_s[0, 0]),
        parts=tuple(sorted(parts, key=lambda part: -part.seconds)),
        waits=tuple(waits),
        prefill_tokens=lengths.prompt_tokens,
        prefill_s=float(table.alone_s[0]),
    )


def _part(name: str, seconds: float, operators: Sequence[Operator]) -> StepPart:
    if not operators:
        return StepPart(name=name, seconds=seconds)
    work = total_work(operators)
    return StepPart(
        name=name,
        seconds=seconds,
        flops=float(np.sum(work.total_flops)),
        hbm_bytes=float(np.sum(work.hbm_bytes)),
        link_bytes=float(np.sum(work.link_bytes)),
    )
