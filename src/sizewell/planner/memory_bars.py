"""How far predicted start-up figures are from the logs, by engine and metric, and whether that meets the bars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from sizewell.planner.validate_memory import MemoryPrediction

CAPACITY_METRICS = ("kv_gib", "max_concurrency_x")
"""The stable capacity figures; printed tokens changed their meaning twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBar:
    """Errors of one group of figures as fractions; `within` counts errors up to 1, 3, 5 and 10 %.

    Of the `estimated` figures (those with an interval) `covered` lie inside it.
    """

    title: str
    figures: int
    answered: int
    median_fraction: float
    worst_fraction: float
    within: tuple[int, int, int, int]
    estimated: int
    covered: int


def memory_bars(answers: Iterable[MemoryPrediction]) -> tuple[MemoryBar, ...]:
    """Return a bar for each engine and metric, then KV capacity by how much of its settings the log states."""
    kept = tuple(answers)
    keys = sorted({(a.row.engine, a.metric) for a in kept})
    by_metric = tuple(
        _bar(f"{engine} {metric}", [a for a in kept if (a.row.engine, a.metric) == (engine, metric)])
        for engine, metric in keys
    )
    stated = _stated(kept)
    return (
        *by_metric,
        _bar("vllm capacity: from settings, stated or default", _capacity(kept)),
        _bar("vllm capacity: memory fraction stated", stated),
        _bar("vllm capacity: stated and not contradicted by the log", [a for a in stated if a.states_settings]),
    )


def diagnosis_bar(answers: Iterable[MemoryPrediction]) -> MemoryBar:
    """Return the bar of capacities counted beside the activation peak each log prints: what missing limits explain."""
    return _bar("no prediction: the same, beside the log's own peak", _stated(tuple(answers)))


def _capacity(answers: Iterable[MemoryPrediction]) -> list[MemoryPrediction]:
    return [a for a in answers if a.metric in CAPACITY_METRICS and a.row.engine == "vllm" and a.basis == "settings"]


def _stated(answers: Iterable[MemoryPrediction]) -> list[MemoryPrediction]:
    return [a for a in _capacity(answers) if a.row.memory_fraction is not None]


def _bar(title: str, answers: list[MemoryPrediction]) -> MemoryBar:
    errors = sorted(abs(a.error_fraction) for a in answers if a.error_fraction is not None)
    spans = [
        (a.low - a.rounding, a.measured, a.high + a.rounding)
        for a in answers if a.low is not None and a.high is not None and a.low < a.high
    ]  # fmt: skip
    one, three, five, ten = (sum(e <= limit for e in errors) for limit in (0.01, 0.03, 0.05, 0.10))
    return MemoryBar(
        title=title, figures=len(answers), answered=len(errors),
        median_fraction=median(errors) if errors else 0.0, worst_fraction=errors[-1] if errors else 0.0,
        within=(one, three, five, ten), estimated=len(spans), covered=sum(low <= m <= high for low, m, high in spans),
    )  # fmt: skip
