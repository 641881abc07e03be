"""What a measured load gets from its deployment in closed form, under one belief about its machine or many at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.costs.machines import Reached
from sizewell.planner.disaggregation import PrefillPool, disaggregated_rates, handover_s
from sizewell.planner.drain import drained
from sizewell.planner.harnesses import TUNED_TPOT_S
from sizewell.planner.point_cases import PointCase, PoolCase
from sizewell.planner.steady_state import Limits, Overheads, Point, Rates, interpolate, rates
from sizewell.planner.step_table import StepTable, step_table

NEARLY_FULL = 0.95
TUNED = 0.96
"""Share of capacity at which a load runs that was raised until a limit broke: beyond it first tokens wait too long."""
CAPACITY_SIGMA = 0.1
OVERLOAD = 1.5
NOMINAL_REQUESTS = 300.0
"""Length of a run that states none, where a load exceeds what can be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Means of a whole deployment under the load of a row, one for each of M machines or beliefs about one: [M]."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats
    requests_per_s: Floats
    capacity_per_s: Floats
    prefill_tokens_per_s: Floats
    decode_s: Floats

    def where(self, better: NDArray[np.bool_], other: Served) -> Served:
        """Return these means where `better` [M] says so, else those of `other`."""
        chosen = {f.name: np.where(better, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Served(**chosen)


def served(case: PointCase, reached: Reached) -> Served | None:
    """Return the means under the row's load, of the best layout where several are possible; None without a load."""
    known = [answer for answer in _answers(case, reached) if answer is not None]
    if not known:
        return None
    best, *others = known
    for other in others:
        best = best.where(_is_better(best, other, case), other)
    return best


def likely_choice(case: PointCase, reached: Reached) -> int:
    """Return the layout, by its place among the choices, that the first machine's answer comes from."""
    answers = _answers(case, reached)
    best = next((at for at, answer in enumerate(answers) if answer is not None), 0)
    for at, answer in enumerate(answers):
        one = answers[best]
        if answer is not None and one is not None and not _is_better(one, answer, case)[0]:
            best = at
    return best


def sent_per_s(case: PointCase, pool: PoolCase, reached: Reached) -> float:
    """Return the open arrivals one replica is believed to be sent: as far below its capacity as `served` puts them."""
    rate_per_s = (case.rate_per_s or 0.0) / pool.layout.replicas
    limits = Limits(max_sequences=case.max_sequences * pool.layout.cut.dp, kv_tokens=max(pool.kv_tokens, 1.0))
    settled = rates(step_table(pool.work, reached), limits)
    calm = settled.calm or settled
    capacity = calm.at_sequences(calm.most).requests_per_s
    return rate_per_s if rate_per_s > OVERLOAD * capacity[0] else float(capacity[0] * _busy(rate_per_s, capacity)[0])


def _is_better(one: Served, other: Served, case: PointCase) -> NDArray[np.bool_]:
    """Return where one layout would have been chosen: for the soonest answer, the most throughput or, where a load was
    raised until a limit broke, the most capacity.
    """
    better: NDArray[np.bool_]
    if case.row.load in {"single", "closed_loop"}:
        better = one.e2e_s <= other.e2e_s
    elif case.tuned and case.rate_per_s is not None:
        better = one.capacity_per_s >= other.capacity_per_s
    else:
        tied = one.requests_per_s == other.requests_per_s
        better = np.where(tied, one.ttft_s <= other.ttft_s, one.requests_per_s > other.requests_per_s)
    return better


def _answers(case: PointCase, reached: Reached) -> list[Served | None]:
    """Return the means of each layout that has room for a cache, or of all where none has: what was measured ran."""
    roomy = [all(pool.kv_tokens > 0 for pool in pools) for pools in case.choices]
    return [
        _served(case, pools, reached) if fits or not any(roomy) else None
        for pools, fits in zip(case.choices, roomy, strict=True)
    ]


def _served(case: PointCase, pools: tuple[PoolCase, ...], reached: Reached) -> Served | None:
    tables = [step_table(pool.work, reached) for pool in pools]
    if len(pools) == 2:
        return _disaggregated(case, pools, tables, reached)
    return _aggregated(case, pools[0], tables[0], reached)


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
    elif pool.together is not None:
        point = settled.static(users, pool.together.time(reached).total_s.sum(axis=1))
    elif row.load == "offline":
        requests = (row.num_requests or 20 * replicas * settled.most) / replicas
        point = drained(settled, requests) if case.varied else settled.all_at_once(requests)
    elif case.rate_per_s is not None:
        point = _arriving(case, settled, replicas)
    else:
        return None
    calm = settled.calm or settled
    capacity = calm.at_sequences(calm.most).requests_per_s if case.rate_per_s is not None else point.requests_per_s
    return replace(_whole(case, point, replicas, table), capacity_per_s=capacity * replicas)


def _arriving(case: PointCase, settled: Rates, replicas: int) -> Point:
    """Open arrivals: capacity is known to CAPACITY_SIGMA only, and a load that was offered was most likely served.

    So utilisation is the median over the capacities above the load; a load tuned to a limit is near capacity whatever
    that is, any other far beyond it overloads the run.
    """
    rate_per_s = (case.rate_per_s or 0.0) / replicas
    calm = settled.calm or settled
    capacity = calm.at_sequences(calm.most).requests_per_s
    point = calm.at_rate(_tuned(calm, capacity) if case.tuned else capacity * _busy(rate_per_s, capacity))
    point = replace(point, requests_per_s=np.full_like(point.requests_per_s, rate_per_s))
    over = (rate_per_s > OVERLOAD * capacity) & (not case.tuned)
    if not over.any():
        return point
    beyond = _overloaded(settled, rate_per_s, (case.row.num_requests or NOMINAL_REQUESTS) / replicas)
    return Point(
        ttft_s=np.where(over, beyond.ttft_s, point.ttft_s),
        tpot_s=np.where(over, beyond.tpot_s, point.tpot_s),
        requests_per_s=np.where(over, beyond.requests_per_s, point.requests_per_s),
        gaps=point.gaps,
        saturated=over | point.saturated,
    )


def _tuned(calm: Rates, capacity: Floats) -> Floats:
    """Return the rate just before a limit breaks: seats run out, or every token takes too long."""
    slowed = interpolate(np.full_like(capacity, TUNED_TPOT_S), calm.tpot_s, calm.requests_per_s)
    return TUNED * np.minimum(capacity, slowed)


def _busy(rate_per_s: float, capacity: Floats) -> Floats:
    """Return the median utilisation over the capacities that lie above the load."""
    normal = NormalDist(sigma=CAPACITY_SIGMA)
    above = np.array([max(normal.inv_cdf((1 + normal.cdf(x)) / 2), 0.0) for x in _logs(rate_per_s, capacity)])
    busy: Floats = rate_per_s / capacity / np.exp(above)
    return busy


def _logs(rate_per_s: float, capacity: Floats) -> Floats:
    """Return ln(load / capacity), no higher than a load that counts as an overload."""
    return np.minimum(np.log(rate_per_s / capacity), np.log(OVERLOAD))


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
            handover_s=handover_s(tables[decode], reached, front.cut.gpus / back.cut.gpus),
        ),
        tables[decode],
        Limits(max_sequences=case.max_sequences * back.cut.dp, kv_tokens=max(pools[decode].kv_tokens, 1.0)),
    )
    point = settled.at_users((case.row.concurrency or 1.0) / back.replicas)
    return _whole(case, point, back.replicas, tables[decode])


def _whole(case: PointCase, point: Point, replicas: int, table: StepTable) -> Served:
    return Served(
        ttft_s=point.ttft_s,
        tpot_s=point.tpot_s,
        e2e_s=point.e2e_s,
        requests_per_s=point.requests_per_s * replicas,
        capacity_per_s=point.requests_per_s * replicas,
        prefill_tokens_per_s=case.lengths.prompt_tokens / table.alone_s,
        decode_s=table.decode_s[:, 0],
    )
