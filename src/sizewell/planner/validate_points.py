"""What the cost model says about measured points, metric by metric, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import NormalDist

import numpy as np

from sizewell.costs.machines import Reached
from sizewell.planner.disaggregation import PrefillPool, disaggregated_rates, handover_s
from sizewell.planner.drain import drained
from sizewell.planner.point_cases import PointCase, PoolCase
from sizewell.planner.steady_state import Limits, Overheads, Point, Rates, rates
from sizewell.planner.step_table import StepTable, step_table
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.figure import Figure, Provenance

NEARLY_FULL = 0.95
TUNED = 0.98
"""Share of capacity at which a load runs that was raised until a limit broke, from the MLPerf rows of points-dev."""
CAPACITY_SIGMA = 0.1
OVERLOAD = 1.5
CHUNKED = "the engine streams several tokens a chunk: gaps between chunks are not token gaps"
NOMINAL_REQUESTS = 300.0
"""Length of a run that states none, where a load exceeds what can be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPrediction:
    """One metric of one row; `predicted` is None where `reason` says why."""

    point_id: str
    metric: str
    measured: float
    predicted: Figure | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Means of a whole deployment under the load of a row."""

    ttft_s: float
    tpot_s: float
    e2e_s: float
    requests_per_s: float
    prefill_tokens_per_s: float
    decode_s: float


def predict_point(case: PointCase, efficiencies: Efficiencies) -> tuple[PointPrediction, ...]:
    """Return a prediction, or the reason for none, for every metric the row reports."""
    reached = Reached.of(case.machines, efficiencies, case.engine)
    served = _best(case, reached)
    if served is None:
        return tuple(
            PointPrediction(point_id=case.row.point_id, metric=m, measured=v, predicted=None, reason="load not stated")
            for m, v in case.row.metrics.items()
        )
    if case.rate_per_s is None:
        return tuple(_predictions(case, (served,), efficiencies))
    # Near saturation a little more load changes everything: the interval spans the loads capacity may be wrong by.
    margin = 1 + efficiencies.value("throughput_spread") / 2
    around = (_best(replace(case, rate_per_s=case.rate_per_s * m), reached) for m in (1 / margin, margin))
    return tuple(_predictions(case, (served, *(s for s in around if s is not None)), efficiencies))


def _best(case: PointCase, reached: Reached) -> Served | None:
    answers = [_served(case, pools, reached) for pools in case.choices]
    known = [answer for answer in answers if answer is not None]
    if not known:
        return None
    if case.row.load in {"single", "closed_loop"}:
        return min(known, key=lambda served: served.e2e_s)
    return max(known, key=lambda served: (served.requests_per_s, -served.ttft_s))


def _served(case: PointCase, pools: tuple[PoolCase, ...], reached: Reached) -> Served | None:
    tables = [step_table(pool.work, reached) for pool in pools]
    if len(pools) == 2:
        return _disaggregated(case, pools, tables, reached)
    pool, table = pools[0], tables[0]
    if pool.kv_tokens <= 0 and len(case.choices) > 1:
        return None
    return _aggregated(case, pool, table, reached)


def _aggregated(case: PointCase, pool: PoolCase, table: StepTable, reached: Reached) -> Served | None:
    row, replicas = case.row, pool.layout.replicas
    limits = Limits(max_sequences=case.max_sequences * pool.layout.cut.dp, kv_tokens=max(pool.kv_tokens, 1.0))
    settled = rates(table, limits, Overheads() if row.load in {"single", "static_batch"} else None)
    users = (row.concurrency or 1.0) / replicas
    point: Point
    if row.load == "single" or (row.load == "closed_loop" and users <= 1):
        point = settled.at_users(1.0)
    elif row.load == "closed_loop" and "all at once" in row.notes:
        point = drained(settled, users)
    elif row.load == "closed_loop":
        point = settled.at_users(users)
    elif row.load == "static_batch":
        point = settled.static(users)
    elif row.load == "offline":
        requests = (row.num_requests or 20 * replicas * float(settled.most[0])) / replicas
        point = drained(settled, requests) if case.varied else settled.all_at_once(requests)
    elif case.rate_per_s is not None:
        point = _arriving(case, settled, replicas)
    else:
        return None
    return _whole(case, point, replicas, table)


def _arriving(case: PointCase, settled: Rates, replicas: int) -> Point:
    """Open arrivals: capacity is known to CAPACITY_SIGMA only, and a load that was offered was most likely served.

    So utilisation is the median over the capacities above the load; a load tuned to a limit is near capacity, one far
    beyond it overloads the run.
    """
    rate_per_s = (case.rate_per_s or 0.0) / replicas
    calm = settled.calm or settled
    capacity = float(calm.at_sequences(calm.most).requests_per_s[0])
    if rate_per_s > OVERLOAD * capacity:
        return _overloaded(settled, rate_per_s, (case.row.num_requests or NOMINAL_REQUESTS) / replicas)
    normal = NormalDist(sigma=CAPACITY_SIGMA)
    least = normal.cdf(log(rate_per_s / capacity))
    busy = rate_per_s / capacity / max(exp(normal.inv_cdf((1 + least) / 2)), 1.0)
    point = calm.at_rate(capacity * (max(busy, TUNED) if case.tuned else busy))
    return replace(point, requests_per_s=np.full_like(point.requests_per_s, rate_per_s))


def _overloaded(settled: Rates, rate_per_s: float, requests: float) -> Point:
    """More requests come than are served: the mean one of a run of `requests` waits for half of the backlog."""
    settled = settled.calm or settled
    full = settled.at_sequences(settled.most)
    busy = settled.at_rate(NEARLY_FULL * full.requests_per_s)
    backlog_s = requests / 2 * (1 / full.requests_per_s - 1 / rate_per_s)
    return Point(
        ttft_s=busy.ttft_s + np.maximum(backlog_s, 0.0),
        tpot_s=full.tpot_s,
        requests_per_s=full.requests_per_s,
        gaps=full.gaps,
        saturated=np.ones_like(full.saturated),
    )


def _disaggregated(case: PointCase, pools: tuple[PoolCase, ...], tables: list[StepTable], reached: Reached) -> Served:
    prefill, decode = (0, 1) if pools[0].layout.role == "prefill" else (1, 0)
    front, back = pools[prefill].layout, pools[decode].layout
    settled = disaggregated_rates(
        PrefillPool(
            table=tables[prefill],
            per_decode_replica=front.replicas / back.replicas,
            handover_s=handover_s(tables[decode], reached, front.cut.gpus),
        ),
        tables[decode],
        Limits(max_sequences=case.max_sequences * back.cut.dp, kv_tokens=max(pools[decode].kv_tokens, 1.0)),
    )
    point = settled.at_users((case.row.concurrency or 1.0) / back.replicas)
    return _whole(case, point, back.replicas, tables[decode])


def _whole(case: PointCase, point: Point, replicas: int, table: StepTable) -> Served:
    return Served(
        ttft_s=float(point.ttft_s[0]),
        tpot_s=float(point.tpot_s[0]),
        e2e_s=float(point.e2e_s[0]),
        requests_per_s=float(point.requests_per_s[0]) * replicas,
        prefill_tokens_per_s=case.lengths.prompt_tokens / float(table.alone_s[0]),
        decode_s=float(table.decode_s[0, 0]),
    )


def _predictions(case: PointCase, answers: Sequence[Served], efficiencies: Efficiencies) -> Iterator[PointPrediction]:
    """Yield every metric: the first answer is the value, all of them span the interval."""
    provenance: Provenance = "assumed" if case.assumed else "derived"
    for metric, measured in case.row.metrics.items():
        if metric.startswith("itl") and case.row.dataset.startswith("inferencex"):
            yield PointPrediction(
                point_id=case.row.point_id, metric=metric, measured=measured, predicted=None, reason=CHUNKED
            )
            continue
        values = [_value(metric, case, served, efficiencies) for served in answers]
        spread = _spread(metric, case, efficiencies)
        figure = Figure(
            value=values[0], low=min(values) / (1 + spread), high=max(values) * (1 + spread), provenance=provenance
        )
        yield PointPrediction(point_id=case.row.point_id, metric=metric, measured=measured, predicted=figure)


def _spread(metric: str, case: PointCase, efficiencies: Efficiencies) -> float:
    """Return the half width of an interval; every fact the row does not state widens it by half."""
    kind = metric.split("_", 1)[0]
    name = {"ttft": "ttft_spread", "tpot": "tpot_spread", "itl": "tpot_spread", "e2e": "tpot_spread"}
    return (1 + efficiencies.value(name.get(kind, "throughput_spread"))) * (1 + 0.5 * len(case.assumed)) - 1


def _value(metric: str, case: PointCase, served: Served, efficiencies: Efficiencies) -> float:
    lengths = case.lengths
    prompt = lengths.prompt_tokens + lengths.cached_tokens
    whole: Mapping[str, float] = {
        "requests_per_s": served.requests_per_s,
        "output_tokens_per_s": served.requests_per_s * lengths.output_tokens,
        "total_tokens_per_s": served.requests_per_s * (lengths.output_tokens + prompt),
        "decode_tokens_per_s": 1 / served.decode_s,
        "prefill_tokens_per_s": served.prefill_tokens_per_s,
    }
    base = metric.removesuffix("_per_gpu")
    if base in whole:
        return whole[base] / (_counted_gpus(metric, case) if metric.endswith("_per_gpu") else 1)
    kind, statistic = metric.removesuffix("_s").split("_", 1)
    means = {"ttft": served.ttft_s, "tpot": served.tpot_s, "itl": served.tpot_s, "e2e": served.e2e_s}
    tail = "ttft" if kind == "ttft" else "tpot"
    return means[kind] * (efficiencies.value(f"{tail}_{statistic}_ratio") if statistic != "mean" else 1.0)


def _counted_gpus(metric: str, case: PointCase) -> int:
    """Accelerators a figure per GPU is divided by: output of disaggregated runs is given per decoding one."""
    decoding = sum(p.layout.replicas * p.layout.cut.gpus for p in case.choices[0] if p.layout.role == "decode")
    return decoding if decoding and metric.startswith("output") else case.row.num_gpus
