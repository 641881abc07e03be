"""Where the seconds of a step go: the parts of a decode step, what each asks of the machine, and what binds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.work import Operator, total_work
from sizewell.planner.prediction import Prediction
from sizewell.planner.step_table import GRID, Lengths, StepTable, step_table, step_work
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats
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


def deployment_steps(
    deployment: Deployment, lengths: Lengths, efficiencies: Efficiencies, grid: Sequence[float] = GRID
) -> StepTable:
    """Return the step times of one replica of a deployment's decoding pool on its own cluster."""
    pool = deployment.pools[-1]
    reached = Reached.of(Machines.of([deployment.cluster]), efficiencies, also=deployment.tags)
    formats = Formats(weight=deployment.weight_format, kv=deployment.kv_format)
    policy = StepPolicy.of(pool.settings, deployment.engine)
    return step_table(step_work(deployment.model, formats, pool.parallelism, lengths, policy, grid), reached)


def missed(slo: Slo, workload: Workload, given: Prediction) -> tuple[str, ...]:
    """Return each limit a load misses, in words: limits bind means here, and a rate must be kept up with."""
    pairs = (
        ("TTFT", given.ttft_s, slo.ttft_s),
        ("TTFA", given.ttfa_s, slo.ttfa_s),
        ("TPOT", given.tpot_s, slo.tpot_s),
        ("E2E", given.e2e_s, slo.e2e_s),
    )
    offered = (workload.rate_per_s or 0.0) * workload.growth
    behind = (
        (f"{offered:.4g} requests/s are offered, {given.requests_per_s.value:.4g} are served: the queue never ends",)
        if workload.rate_per_s is not None and given.saturated
        else ()
    )
    return behind + tuple(
        f"{name} {figure.value:.4g} s is over the limit of {limit:g} s"
        for name, figure, limit in pairs
        if limit is not None and figure.value > limit
    )


def step_account(deployment: Deployment, lengths: Lengths, sequences: float, efficiencies: Efficiencies) -> StepAccount:
    """Return where the time of a decode step goes with `sequences` decoding on one replica."""
    table = deployment_steps(deployment, lengths, efficiencies, (sequences,))
    operators, time = table.work.steps.operators, table.decode
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
        flops=float(work.total_flops[0]),
        hbm_bytes=float(work.hbm_bytes[0]),
        link_bytes=float(work.link_bytes[0]),
    )
