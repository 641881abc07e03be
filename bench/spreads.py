"""Interval widths from left-out errors: by kind of figure and of load, and how much not knowing widens them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from sizewell.calibrator.beliefs import Floats
from sizewell.calibrator.intervals import equal_shares, widening, width, widths
from sizewell.planner.certainty import load_tag
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_cases import PointCase
from sizewell.specs.calibration import Efficiencies, Factor
from sizewell.specs.engine import SPLIT_TAG

SPREADS = {
    "speed": "tpot_spread",
    "first": "ttft_spread",
    "prompt": "prefill_spread",
    "rate": "throughput_spread",
    "run": "e2e_spread",
}
BASIS = "shared/data/points-dev.csv, 2026-11"
SPREAD_SOURCE = f"error that 80 % of left-out published points stay within, data sets weighing the same: {BASIS}"
WIDER_SOURCE = f"how much further left-out published points lie where this was not known: {BASIS}"
TAIL_SOURCE = f"median over data sets of the measured statistic over the measured mean: {BASIS}"


@dataclass(frozen=True, slots=True)
class Residuals:
    """ln errors of N left-out values: with their group left out, with their accelerator, with their engine."""

    cases: tuple[PointCase, ...]
    kinds: np.ndarray
    group: Floats
    gpu: Floats
    engine: Floats

    def take(self, rows: np.ndarray) -> Residuals:
        """Return some of the values."""
        some = tuple(case for case, kept in zip(self.cases, rows, strict=True) if kept)
        return Residuals(some, self.kinds[rows], self.group[rows], self.gpu[rows], self.engine[rows])


def load_of(row: PointRow) -> str:
    """Return the tag of the kind of load of a row, of split pools apart; stages of different rates are open arrivals."""
    load = load_tag(row.load or "open_loop")
    return f"{load}+{SPLIT_TAG}" if row.disaggregated else load


def with_spreads(efficiencies: Efficiencies, left: Residuals) -> Efficiencies:
    """Return a calibration with spreads and widenings that hold 80 % of the left-out values."""
    factors = dict(efficiencies.factors)
    overrides = {tag: dict(table) for tag, table in efficiencies.overrides.items()}
    known = left.take(np.array([not case.assumed for case in left.cases]))
    for kind, name in SPREADS.items():
        some = known.take(known.kinds == kind)
        weights = equal_shares([case.row.dataset for case in some.cases])
        for load, size in widths(some.group, weights, [load_of(case.row) for case in some.cases]).items():
            factor = Factor(value=round(float(np.expm1(size)), 3), spread=0.0, source=SPREAD_SOURCE)
            if load:
                overrides.setdefault(load, {})[name] = factor
            else:
                factors[name] = factor
    factors["gpu_widening"] = _wider(known, lambda some: some.gpu)
    factors["engine_widening"] = _wider(known, lambda some: some.engine)
    factors["assumed_widening"] = _assumed(left, replace(efficiencies, factors=factors, overrides=overrides))
    measured = {tag for case in left.cases for tag in case.all_tags if tag.startswith(("gpu:", "engine:"))}
    return replace(efficiencies, factors=factors, overrides=overrides, measured=frozenset(measured))


def _wider(some: Residuals, without: Callable[[Residuals], Floats]) -> Factor:
    ratios = []
    for kind in SPREADS:
        mine = some.take(some.kinds == kind)
        if mine.cases:
            ratios.append(widening(mine.group, without(mine), equal_shares([case.row.dataset for case in mine.cases])))
    return Factor(value=round(float(np.mean(ratios)), 2), spread=0.0, source=WIDER_SOURCE)


def _assumed(left: Residuals, wide: Efficiencies) -> Factor:
    """Return how much wider than its kind and load say an interval is for each fact a row does not state."""
    lacking = np.array([len(case.assumed) for case in left.cases])
    some, lacking = left.take(lacking > 0), lacking[lacking > 0]
    tags = [(*case.all_tags, load_tag(case.row.load or "open_loop")) for case in some.cases]
    usual = np.log1p([wide.value(SPREADS[kind], each) for kind, each in zip(some.kinds, tags, strict=True)])
    shares = equal_shares([case.row.dataset for case in some.cases])
    times = width(some.group / usual, shares) ** (1 / float(np.mean(lacking)))
    return Factor(value=round(float(np.clip(times, 1.0, 2.0)), 2), spread=0.0, source=WIDER_SOURCE)


def with_tails(efficiencies: Efficiencies, ready: Sequence[PointCase]) -> Efficiencies:
    """Return a calibration whose statistics over means are those measured."""
    factors = dict(efficiencies.factors)
    for kind in ("ttft", "tpot"):
        tails = [f"{kind}_{statistic}_ratio" for statistic in ("median", "p90", "p95", "p99")]
        for name, statistic in zip(tails, ("median", "p90", "p95", "p99"), strict=True):
            ratio = _tail(ready, kind, statistic)
            if ratio:
                factors[name] = Factor(value=round(ratio, 2), spread=factors[name].spread, source=TAIL_SOURCE)
        # Few rows print some statistics: a higher percentile must not come out below a lower one.
        for name, value in zip(tails, sorted(factors[name].value for name in tails), strict=True):
            factors[name] = replace(factors[name], value=value)
    return replace(efficiencies, factors=factors)


def _tail(ready: Sequence[PointCase], kind: str, statistic: str) -> float | None:
    by_set: dict[str, list[float]] = defaultdict(list)
    for case in ready:
        mean, tail = (case.row.metrics.get(f"{kind}_{which}_s") for which in ("mean", statistic))
        if mean and tail:
            by_set[case.row.dataset].append(tail / mean)
    return median([median(values) for values in by_set.values()]) if by_set else None
