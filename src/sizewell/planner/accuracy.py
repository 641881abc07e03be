"""How far predictions lie from what was measured, group by group: one pooled number hides everything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from sizewell.specs.figure import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measured figure beside its prediction, None with a `reason` where there is none; both in the metric's unit.

    `group` are the labels it is reported under; `scored` is false where its source asks not to be counted. `rounding`
    is half of the last digit the source gives: an exact prediction covers what rounds to the figure.
    """

    point_id: str
    metric: str
    group: tuple[str, ...]
    measured: float
    predicted: float | None
    low: float | None = None
    high: float | None = None
    provenance: Provenance = "derived"
    reason: str = ""
    scored: bool = True
    rounding: float = 0.0

    @property
    def error_fraction(self) -> float | None:
        """(predicted − measured) / measured; None without a prediction or with nothing measured."""
        if self.predicted is None or not self.measured:
            return None
        return (self.predicted - self.measured) / abs(self.measured)

    @property
    def covered(self) -> bool | None:
        """Whether the predicted interval holds a value that rounds to the measured one; None without one."""
        if self.low is None or self.high is None:
            return None
        return self.low - self.rounding <= self.measured <= self.high + self.rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Errors of one metric in one group. Errors are fractions of the measured value; None where nothing was predicted.

    `bias` is the median signed error, `covered_fraction` the share inside the interval, `within_*` the shares with an
    error of at most so much, `unanswered` how many figures got no prediction.
    """

    metric: str
    group: tuple[str, ...]
    count: int
    unanswered: int
    median_error_fraction: float | None
    mean_error_fraction: float | None
    worst_error_fraction: float | None
    bias_fraction: float | None
    covered_fraction: float | None
    within_1_percent_fraction: float | None
    within_5_percent_fraction: float | None
    within_10_percent_fraction: float | None


def by_group(comparisons: Iterable[Comparison]) -> tuple[Accuracy, ...]:
    """Return the accuracy of every metric in every group, in order of first appearance of the metric, then group."""
    groups: dict[tuple[str, tuple[str, ...]], list[Comparison]] = defaultdict(list)
    for one in comparisons:
        if one.scored:
            groups[one.metric, one.group].append(one)
    return tuple(_accuracy(metric, group, members) for (metric, group), members in sorted(groups.items()))


def by_metric(comparisons: Iterable[Comparison]) -> tuple[Accuracy, ...]:
    """Return the accuracy of every metric over all groups, each figure counted once."""
    groups: dict[str, list[Comparison]] = defaultdict(list)
    for one in comparisons:
        if one.scored:
            groups[one.metric].append(one)
    return tuple(_accuracy(metric, (), members) for metric, members in sorted(groups.items()))


def balanced(comparisons: Iterable[Comparison]) -> tuple[Accuracy, ...]:
    """Return for every metric the plain mean over first labels (data sets): a large one weighs no more than a small.

    `worst_error_fraction` and the counts are over all.
    """
    sets: dict[str, dict[tuple[str, ...], list[Comparison]]] = defaultdict(lambda: defaultdict(list))
    for one in comparisons:
        if one.scored:
            sets[one.metric][one.group[:1]].append(one)
    return tuple(_mean(metric, groups) for metric, groups in sorted(sets.items()))


def _mean(metric: str, groups: Mapping[tuple[str, ...], Sequence[Comparison]]) -> Accuracy:
    each = [_accuracy(metric, group, members) for group, members in groups.items()]
    everyone = _accuracy(metric, (), [one for members in groups.values() for one in members])
    return replace(
        everyone,
        median_error_fraction=_plain_mean(one.median_error_fraction for one in each),
        mean_error_fraction=_plain_mean(one.mean_error_fraction for one in each),
        bias_fraction=_plain_mean(one.bias_fraction for one in each),
        covered_fraction=_plain_mean(one.covered_fraction for one in each),
        within_1_percent_fraction=_plain_mean(one.within_1_percent_fraction for one in each),
        within_5_percent_fraction=_plain_mean(one.within_5_percent_fraction for one in each),
        within_10_percent_fraction=_plain_mean(one.within_10_percent_fraction for one in each),
    )


def _plain_mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _accuracy(metric: str, group: tuple[str, ...], members: Sequence[Comparison]) -> Accuracy:
    errors = [one.error_fraction for one in members if one.error_fraction is not None]
    sizes = sorted(abs(error) for error in errors)
    inside = [one.covered for one in members if one.covered is not None and one.predicted is not None]
    return Accuracy(
        metric=metric,
        group=group,
        count=len(sizes),
        unanswered=sum(one.predicted is None for one in members),
        median_error_fraction=median(sizes) if sizes else None,
        mean_error_fraction=fmean(sizes) if sizes else None,
        worst_error_fraction=sizes[-1] if sizes else None,
        bias_fraction=median(errors) if errors else None,
        covered_fraction=sum(inside) / len(inside) if inside else None,
        within_1_percent_fraction=_within(sizes, 0.01),
        within_5_percent_fraction=_within(sizes, 0.05),
        within_10_percent_fraction=_within(sizes, 0.10),
    )


def _within(sizes: Sequence[float], bound: float) -> float | None:
    return sum(size <= bound for size in sizes) / len(sizes) if sizes else None
