"""What the engine counts, in the text Prometheus reads, under the names its version has."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from sizewell.specs.engine_metrics import Meaning, Metric
from sizewell.traffic.requests import Floats

UNKNOWN = frozenset({"step_tokens", "retracted_now"})
"""What an emulated engine does not know of itself."""


class Histogram:
    """Observations counted in buckets; the last one has no bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = np.array(bounds)
        self.counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Floats) -> None:
        """Count many values."""
        places = np.searchsorted(self.bounds, values, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.total += float(values.sum())

    def lines(self, name: str, labels: Mapping[str, str]) -> Iterable[str]:
        """Return the lines of the text format: cumulative buckets, sum and count."""
        bounds = [*(_number(bound) for bound in self.bounds.tolist()), "+Inf"]
        for bound, count in zip(bounds, accumulate(self.counts.tolist()), strict=True):
            yield f"{name}_bucket{_braces({**labels, 'le': bound})} {count}"
        yield f"{name}_sum{_braces(labels)} {_number(self.total)}"
        yield f"{name}_count{_braces(labels)} {int(self.counts.sum())}"


@dataclass(slots=True)
class EngineFigures:
    """What one engine has counted: numbers by meaning, requests by how they ended, and histograms."""

    numbers: dict[Meaning, float] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    histograms: dict[Meaning, Histogram] = field(default_factory=dict)

    def add(self, meaning: Meaning, value: float) -> None:
        """Count on."""
        self.numbers[meaning] = self.numbers.get(meaning, 0.0) + value


class Metrics:
    """The figures of all engines of a deployment, told as `metrics` of one version; `settings` are its cache's."""

    def __init__(self, metrics: Sequence[Metric], model: str, engines: int, settings: Mapping[str, str]) -> None:
        self.metrics = [metric for metric in metrics if metric.meaning not in UNKNOWN]
        self.engines = [EngineFigures() for _ in range(engines)]
        self._speaker = metrics[0].name.partition(":")[0] if metrics else ""
        self._model, self._settings = model, settings
        for figures in self.engines:
            for metric in self.metrics:
                if metric.bounds:
                    figures.histograms.setdefault(metric.meaning, Histogram(metric.bounds))

    def observe(self, engine: int, meaning: Meaning, value: float) -> None:
        """Count one value of an engine, where its version tells such values."""
        histogram = self.engines[engine].histograms.get(meaning)
        if histogram is not None:
            histogram.observe(value)

    def observe_all(self, engine: int, meaning: Meaning, values: Floats) -> None:
        """Count many values of an engine."""
        histogram = self.engines[engine].histograms.get(meaning)
        if histogram is not None and len(values):
            histogram.observe_all(values)

    def text(self) -> str:
        """Return everything in the Prometheus text format."""
        lines: list[str] = []
        for metric in self.metrics:
            lines += [f"# HELP {metric.name} {metric.says}", f"# TYPE {metric.name} {metric.kind}"]
            for number, figures in enumerate(self.engines):
                lines += self._lines(metric, figures, self._labels(number))
        return "\n".join(lines) + "\n"

    def _labels(self, engine: int) -> dict[str, str]:
        if self._speaker == "llamacpp":  # it names neither: who collects from several tells them apart
            return {"instance": str(engine)} if len(self.engines) > 1 else {}
        numbered = {"engine": str(engine)} if self._speaker == "vllm" else {"dp_rank": str(engine)}
        return {"model_name": self._model, **(numbered if self._speaker == "vllm" or len(self.engines) > 1 else {})}

    def _lines(self, metric: Metric, figures: EngineFigures, labels: dict[str, str]) -> Iterable[str]:
        if metric.meaning == "finished":
            for reason, count in figures.finished.items():
                yield f"{metric.name}{_braces({**labels, 'finished_reason': reason})} {count}"
        elif metric.meaning == "cache_settings":
            yield f"{metric.name}{_braces({**labels, **self._settings})} 1.0"
        elif metric.bounds:
            yield from figures.histograms[metric.meaning].lines(metric.name, labels)
        else:
            extra = dict(metric.labels)
            yield f"{metric.name}{_braces({**labels, **extra})} {_number(figures.numbers.get(metric.meaning, 0.0))}"


def _braces(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(float(value))
