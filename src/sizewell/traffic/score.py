"""How well requests were served. The only definitions of TTFT, TTFA, TPOT, ITL, E2E, goodput and attainment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.traffic.distribution import Distribution
from sizewell.traffic.requests import Floats
from sizewell.traffic.run import FAILED, REJECTED, UNFINISHED, Origin, Run
from sizewell.traffic.throughput import Throughput, steady_throughput, wall_throughput
from sizewell.traffic.workload import Slo

NO_LIMITS = Slo()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One limit of an SLO beside the value it binds; `held` is None where there was no such value."""

    name: str
    limit_s: float
    value_s: float | None
    held: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a run served what was offered. Latencies are of served requests; time zero is `scheduled_s`.

    ttft: to the first generated token; ttfa: to the first answer token (no value for an answer that never came);
    e2e: to the last token; tpot: (last − first) / (output − 1) of each request with more than one token;
    itl: each gap, pooled, so that long outputs weigh more. `tpot_token_weighted_s` is the mean gap of all
    requests together, the number that compares with the mean of itl.

    `good`: served, and every limit met by the request itself (None where nobody knows of each);
    `attainment_fraction`: good ÷ offered, so that a rejected, unfinished or failed request is a miss; `goodput_*`: of
    good requests, over wall time.
    `limits`: each limit against the statistic the SLO binds it to. `steady`: see `steady_throughput`; None, and
    `no_steady_because`, where there was no steady state. `cached_fraction`: of the served prompts' tokens.
    An empty sample has no mean and no percentile; nothing of it is zero.
    """

    origin: Origin
    offered: int
    ok: int
    rejected: int
    unfinished: int
    failed: int
    ttft: Distribution
    ttfa: Distribution
    tpot: Distribution
    itl: Distribution
    e2e: Distribution
    tpot_token_weighted_s: float | None
    wall: Throughput | None
    steady: Throughput | None
    no_steady_because: str
    good: int | None
    attainment_fraction: float | None
    goodput_requests_per_s: float | None
    goodput_output_tokens_per_s: float | None
    limits: tuple[Held, ...]
    cached_fraction: float | None
    preemptions: int


def score(run: Run, slo: Slo = NO_LIMITS) -> Score:
    """Return the score of a run, simulated or measured alike, against limits (none: being served is enough)."""
    times = _Times.of(run)
    felt = {name: Distribution.of(getattr(times, name)) for name in ("ttft", "ttfa", "tpot", "e2e")}
    good = times.good(slo)
    wall = wall_throughput(run)
    steady, no_steady = steady_throughput(run)
    output = int(run.output_tokens[run.served][good].sum())
    offered = len(run)
    return Score(
        origin=run.origin,
        offered=offered,
        ok=int(run.served.sum()),
        rejected=int((run.status == REJECTED).sum()),
        unfinished=int((run.status == UNFINISHED).sum()),
        failed=int((run.status == FAILED).sum()),
        **felt,
        itl=Distribution.counted(run.gaps.gap_s, run.gaps.count),
        tpot_token_weighted_s=times.token_weighted_tpot_s(),
        wall=wall,
        steady=steady,
        no_steady_because=no_steady,
        good=int(good.sum()),
        attainment_fraction=int(good.sum()) / offered if offered else None,
        goodput_requests_per_s=int(good.sum()) / wall.window_s if wall else None,
        goodput_output_tokens_per_s=output / wall.window_s if wall else None,
        limits=limits_held(felt, slo),
        cached_fraction=_share(run.cached_tokens[run.served].sum(), run.input_tokens[run.served].sum()),
        preemptions=int(run.preemptions.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Times:
    """Latencies of the served requests [m]; NaN where a request has none."""

    ttft: Floats
    ttfa: Floats
    tpot: Floats
    e2e: Floats
    gaps: Floats

    @classmethod
    def of(cls, run: Run) -> _Times:
        served = run.served
        due, first, last = run.scheduled_s[served], run.first_token_s[served], run.last_token_s[served]
        gaps = (run.output_tokens[served] - 1).astype(np.float64)
        tpot = np.divide(last - first, gaps, out=np.full(len(gaps), np.nan), where=gaps > 0)
        return cls(ttft=first - due, ttfa=run.first_answer_s[served] - due, tpot=tpot, e2e=last - due, gaps=gaps)

    def good(self, slo: Slo) -> NDArray[np.bool_]:
        """Return which served requests met every limit [m]; with one token there is no gap that could break TPOT."""
        good = np.ones(len(self.ttft), dtype=np.bool_)
        for name in ("ttft", "ttfa", "tpot", "e2e"):
            limit = getattr(slo, f"{name}_s")
            if limit is not None:
                values = getattr(self, name)
                good &= (values <= limit) | (np.isnan(values) & (name == "tpot"))
        return good

    def token_weighted_tpot_s(self) -> float | None:
        several = self.gaps > 0
        return _share((self.e2e - self.ttft)[several].sum(), self.gaps[several].sum())


def limits_held(felt: Mapping[str, Distribution], slo: Slo) -> tuple[Held, ...]:
    """Return each limit beside the statistic of what was felt that it binds."""
    held = []
    for name, distribution in felt.items():
        limit = getattr(slo, f"{name}_s")
        if limit is not None:
            value = getattr(distribution, f"{slo.statistic}_s")
            kept = None if value is None else value <= limit
            held.append(Held(name=f"{slo.statistic} {name}", limit_s=limit, value_s=value, held=kept))
    return tuple(held)


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole > 0 else None
