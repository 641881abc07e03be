"""What the cost model says about measured points, metric by metric, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.machines import Reached
from sizewell.planner.certainty import Certainty, load_tag
from sizewell.planner.point_cases import PointCase
from sizewell.planner.served import Served, served
from sizewell.specs.calibration import Curves, Efficiencies
from sizewell.specs.figure import Figure, Provenance

CHUNKED = "the engine streams several tokens a chunk: gaps between chunks are not token gaps"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPrediction:
    """One metric of one row; `predicted` is None where `reason` says why."""

    point_id: str
    metric: str
    measured: float
    predicted: Figure | None
    reason: str = ""


class Plays(Protocol):
    """Plays a measured point through a simulation."""

    def play(self, case: PointCase, reached: Reached) -> Mapping[str, float] | None:
        """Return metrics by column name; None for a load or layout that is not played."""


def predict_point(
    case: PointCase, efficiencies: Efficiencies, player: Plays | None = None
) -> tuple[PointPrediction, ...]:
    """Return a prediction, or the reason for none, for every metric the row reports.

    With a `player` the row's own load is simulated; loads that are not played are answered in closed form.
    """
    reached = Reached.of(case.machines, efficiencies, also=case.tags)
    means = served(case, reached)
    if means is None:
        return tuple(
            PointPrediction(point_id=case.row.point_id, metric=m, measured=v, predicted=None, reason="load not stated")
            for m, v in case.row.metrics.items()
        )
    played = (player.play(case, reached) if player else None) or {}
    return tuple(_predictions(case, _spanned(case, means, reached, efficiencies), played, efficiencies))


def _spanned(case: PointCase, means: Served, reached: Reached, efficiencies: Efficiencies) -> tuple[Served, ...]:
    """Return the answer and, near saturation, where a little more load changes everything, those around it.

    The interval spans the loads capacity may be wrong by.
    """
    if case.rate_per_s is None:
        return (means,)
    margin = 1 + efficiencies.value("throughput_spread") / 2
    around = (served(replace(case, rate_per_s=case.rate_per_s * m), reached) for m in (1 / margin, margin))
    return (means, *(s for s in around if s is not None))


def _predictions(
    case: PointCase, answers: Sequence[Served], played: Mapping[str, float], efficiencies: Efficiencies
) -> Iterator[PointPrediction]:
    """Yield every metric: the first answer is the value unless it was played, all of them span the interval."""
    provenance: Provenance = "assumed" if case.assumed else "derived"
    tags = (*case.all_tags, load_tag(case.row.load or "open_loop"))
    certainty = Certainty(efficiencies=efficiencies, tags=tags)
    factors = {name: np.array([value]) for name, value in efficiencies.values(tags).items()}
    for metric, measured in case.row.metrics.items():
        if not is_comparable(metric, case):
            yield PointPrediction(
                point_id=case.row.point_id, metric=metric, measured=measured, predicted=None, reason=CHUNKED
            )
            continue
        values = [float(value(metric, case, means, factors)[0]) for means in answers]
        likely = played_value(metric, case, played) or values[0]
        half = likely / values[0] * (1 + certainty.spread(metric, len(case.assumed)))
        low = likely / values[0] * min(values) / (1 + certainty.spread(metric, len(case.assumed)))
        high = max(values) * half
        figure = Figure(value=likely, low=min(low, likely), high=max(high, likely), provenance=provenance)
        yield PointPrediction(point_id=case.row.point_id, metric=metric, measured=measured, predicted=figure)


def played_value(metric: str, case: PointCase, played: Mapping[str, float]) -> float | None:
    """Return one metric of a row from what was played; None where it was not."""
    found = played.get(metric.removesuffix("_per_gpu"))
    return found / _counted_gpus(metric, case) if found and metric.endswith("_per_gpu") else found


def is_comparable(metric: str, case: PointCase) -> bool:
    """Return whether a metric of a row means what is predicted under its name."""
    return not (metric.startswith("itl") and case.row.dataset.startswith("inferencex"))


def log_values(case: PointCase, metrics: Sequence[str], curves: Curves, factors: Mapping[str, Floats]) -> Floats | None:
    """Return ln of some metrics of a row under M sets of factors, shape [K, M]; None where its load is not stated."""
    count = len(next(iter(factors.values())))
    machines = case.machines.take(np.zeros(count, dtype=np.intp))
    means = served(case, Reached(machines=machines, factors=factors, shapes=curves, tags=case.all_tags))
    if means is None:
        return None
    return np.log([value(metric, case, means, factors) for metric in metrics])


def value(metric: str, case: PointCase, means: Served, factors: Mapping[str, Floats]) -> Floats:
    """Return one metric of a row from the means under its load, shape [M]."""
    lengths = case.lengths
    prompt = lengths.prompt_tokens + lengths.cached_tokens
    whole: Mapping[str, Floats] = {
        "requests_per_s": means.requests_per_s,
        "output_tokens_per_s": means.requests_per_s * lengths.output_tokens,
        "total_tokens_per_s": means.requests_per_s * (lengths.output_tokens + prompt),
        "decode_tokens_per_s": 1 / means.decode_s,
        "prefill_tokens_per_s": means.prefill_tokens_per_s,
    }
    base = metric.removesuffix("_per_gpu")
    if base in whole:
        return whole[base] / (_counted_gpus(metric, case) if metric.endswith("_per_gpu") else 1)
    kind, statistic = metric.removesuffix("_s").split("_", 1)
    seconds = {"ttft": means.ttft_s, "tpot": means.tpot_s, "itl": means.tpot_s, "e2e": means.e2e_s}[kind]
    tail = "ttft" if kind == "ttft" else "tpot"
    return seconds * (factors[f"{tail}_{statistic}_ratio"] if statistic != "mean" else 1.0)


def _counted_gpus(metric: str, case: PointCase) -> int:
    """Accelerators a figure per GPU is divided by: output of disaggregated runs is given per decoding one."""
    decoding = sum(p.layout.replicas * p.layout.cut.gpus for p in case.choices[0] if p.layout.role == "decode")
    return decoding if decoding and metric.startswith("output") else case.row.num_gpus
