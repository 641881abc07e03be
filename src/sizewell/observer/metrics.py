"""What an engine says of itself over a window, by meaning, whatever its release calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from statistics import fmean

from sizewell.advisor.observation import ClientFacts, Observation
from sizewell.observer.exposition import STAMP, Page, Series
from sizewell.specs.engine_metrics import Meaning, Metric, plain_name

NEEDED: tuple[Meaning, ...] = (
    "running", "waiting", "kv_used_fraction", "preemptions", "prompt_tokens", "generated_tokens", "finished", "ttft_s",
    "itl_s", "e2e_s", "queue_s", "request_prompt_tokens", "request_output_tokens",
)  # fmt: skip
"""What is named as missing where it is not told; the rest only sharpens."""
ENGINE_LABELS = ("engine", "dp_rank", "engine_id", "instance", "pod", "server", "WorkerId")
"""Labels that tell the engines behind one page apart."""
RANK_LABELS = ("tp_rank", "pp_rank", "moe_ep_rank")
"""Labels of the parts of one engine, each of which tells of all its requests (SGLang, `scheduler_metrics_mixin.py`)."""
FULLEST = 4
"""One reading of so many may be taken for the peak: fewer would be an accident."""


def engine_of(pages: Sequence[Page], tables: Sequence[Sequence[Metric]]) -> int | None:
    """Return which table names what the pages hold; None where none does."""
    names = {plain_name(name) for page in pages for name, _ in page.figures}
    counts = [sum(bool(_spellings(metric) & names) for metric in table) for table in tables]
    best = max(range(len(tables)), key=lambda at: counts[at])
    return best if counts[best] else None


MOST_AT_ONCE = 16
"""Tokens of a step and sequence beyond which not every gap can have been counted."""
MODEL_LABEL = "model_name"


def models_on(pages: Sequence[Page]) -> tuple[str, ...]:
    """Return the names of the models that pages tell of."""
    found = {dict(labels).get(MODEL_LABEL, "") for page in pages for _, labels in page.figures}
    return tuple(sorted(found - {""}))


def of_model(pages: Sequence[Page], name: str) -> tuple[Page, ...]:
    """Return pages with the figures of one model, and those of none."""
    return tuple(
        replace(
            page,
            figures={
                each: value for each, value in page.figures.items() if dict(each[1]).get(MODEL_LABEL, name) == name
            },
        )
        for page in pages
    )


def observe(pages: Sequence[Page], metrics: Sequence[Metric], client: ClientFacts | None = None) -> Observation:
    """Return what a server did between the first page and the last; one page alone has means but no rates.

    A counter that fell was set back by a restart: what it shows then was counted since.
    """
    return _Window(pages, metrics).observation(client)


@dataclass(frozen=True, slots=True)
class _Window:
    pages: Sequence[Page]
    metrics: Sequence[Metric]

    def observation(self, client: ClientFacts | None) -> Observation:
        engines = {self._engine(series) for metric in self._of("running") for series in self._series(metric)}
        finished = self._rate("finished") if self._of("finished") else self._rate("requests")
        return Observation(
            window_s=self.seconds,
            engines=max(len(engines), 1),
            idle_engines=self._idle(),
            running=self._level("running", sum),
            running_peak=max(self._at_once("running", self._queued), default=None),
            waiting=self._level("waiting", sum),
            kv_used_fraction=self._level("kv_used_fraction", fmean),
            kv_peak_fraction=self._kv_peak(),
            kv_tokens=self._kv_tokens(),
            preemptions_per_s=self._rate("preemptions"),
            prompt_tokens_per_s=self._rate("prompt_tokens"),
            generated_tokens_per_s=self._per_s(self._tokens()),
            cached_fraction=self._cached(),
            finished_per_s=finished,
            **{name: self._mean(name) for name in TIMES},
            itl_s=self._between_tokens(),
            request_prompt_tokens=self._mean("request_prompt_tokens") or self._ratio("prompt_tokens", finished),
            request_output_tokens=self._mean("request_output_tokens") or self._ratio("generated_tokens", finished),
            steps_per_s=self._steps(),
            settings=self._settings(),
            client=client,
            missing=tuple(self._missing()),
            restarts=self._restarts(),
        )

    @property
    def seconds(self) -> float | None:
        first, last = self.pages[0].time_s, self.pages[-1].time_s
        return last - first if first is not None and last is not None and last > first else None

    def _of(self, meaning: Meaning) -> list[Metric]:
        """Return the metric that tells a meaning here, as its release does: the newest name that is there."""
        last = self.pages[-1].figures
        names = {plain_name(name) for name, _ in last}
        there = [each for each in self.metrics if each.meaning == meaning and _spellings(each) & names]
        plain = [each for each in there if not each.labels]
        return (plain or there)[-1:]

    def _series(self, metric: Metric, suffix: str = "") -> list[Series]:
        wanted = {f"{name}{suffix}" for name in metric.names}
        found = {series for page in self.pages for series in page.figures if plain_name(series[0]) in wanted}
        by_engine: dict[Series, Series] = {}
        for name, labels in sorted(found):
            by_engine.setdefault((name, tuple(one for one in labels if one[0] not in RANK_LABELS)), (name, labels))
        return list(by_engine.values())

    def _engine(self, series: Series) -> tuple[str, ...]:
        labels = dict(series[1])
        return tuple(labels.get(name, "") for name in ENGINE_LABELS)

    def _levels(self, meaning: Meaning) -> dict[Series, list[float]]:
        """Return the values of a gauge, page by page, by series; what engines call unknown (below 0) is left out.

        So is a share above 1, which some feeds tell in percent: which of the two 1 would be, nobody can say.
        """
        return self._levels_on(self.pages, meaning)

    def _levels_on(self, pages: Sequence[Page], meaning: Meaning) -> dict[Series, list[float]]:
        most = 1.0 if meaning.endswith("_fraction") else inf
        return {
            series: values
            for metric in self._of(meaning)
            for series in self._series(metric)
            if (values := [v for page in pages if (v := page.figures.get(series)) is not None and 0 <= v <= most])
        }

    def _level(self, meaning: Meaning, over_engines: object) -> float | None:
        means = [fmean(values) for values in self._levels(meaning).values()]
        return float(over_engines(means)) if means else None  # type: ignore[operator]

    def _at_once(self, meaning: Meaning, pages: Sequence[Page]) -> list[float]:
        """Return the sum of a gauge over engines, reading by reading."""
        series = [each for metric in self._of(meaning) for each in self._series(metric)]
        return [sum(page.figures.get(each, 0.0) for each in series) for page in pages] if series else []

    @property
    def _queued(self) -> Sequence[Page]:
        """The readings at which requests wait, all where they never do: the others say nothing of what holds them up.

        Sequences end and begin in waves: between two of them a cache is emptier, though it is what holds them up, and
        when nobody waits any more it may be full of those who did.
        """
        waiting = self._at_once("waiting", self.pages)
        return [page for page, there in zip(self.pages, waiting, strict=False) if there >= 1] or self.pages

    def _kv_peak(self) -> float | None:
        """Return how full the caches are in the fullest quarter of the readings at which requests wait."""
        levels = self._levels_on(self._queued, "kv_used_fraction").values()
        reached = [sorted(values, reverse=True)[(len(values) - 1) // FULLEST] for values in levels]
        return fmean(reached) if reached else None

    def _idle(self) -> int:
        """Return how many engines never had a request on any page, where there are several."""
        busy = [sum(values) for values in self._levels("running").values()]
        return sum(value == 0 for value in busy) if len(busy) > 1 and any(busy) else 0

    def _grown(self, meaning: Meaning, suffix: str = "") -> float | None:
        """Return how far counters grew over the pages, all series together; since their start for a single page."""
        series = [each for metric in self._of(meaning) for each in self._series(metric, suffix)]
        if not series:
            return None
        return sum(_growth([page.figures.get(each) for page in self.pages]) for each in series)

    def _rate(self, meaning: Meaning) -> float | None:
        return self._per_s(self._grown(meaning))

    def _per_s(self, grown: float | None) -> float | None:
        return grown / self.seconds if grown is not None and self.seconds else None

    def _tokens(self) -> float | None:
        """Return the tokens that came: gaps and first ones where the engine counts them when a request has ended."""
        counted, gaps = self._grown("generated_tokens"), self._grown("itl_s", "_count")
        at_end = any(metric.at_end for metric in self._of("generated_tokens"))
        return gaps + (self._grown("ttft_s", "_count") or 0.0) if at_end and gaps is not None else counted

    def _mean(self, meaning: Meaning) -> float | None:
        total, count = self._grown(meaning, "_sum"), self._grown(meaning, "_count")
        return total / count if total is not None and count else None

    def _between_tokens(self) -> float | None:
        """Return the mean gap between tokens, those that a step brings together included.

        vLLM counts one gap for each step of a sequence (v1/metrics/stats.py), however many drafts it accepted.
        """
        total, count, tokens = (
            self._grown("itl_s", "_sum"), self._grown("itl_s", "_count"), self._tokens(),
        )  # fmt: skip
        if total is None or not count:
            spent = self._grown("generation_s")
            return spent / tokens if spent and tokens else None
        gaps = (tokens or 0.0) - (self._grown("ttft_s", "_count") or 0.0)
        return total / (gaps if count < gaps < MOST_AT_ONCE * count else count)

    def _ratio(self, meaning: Meaning, finished: float | None) -> float | None:
        rate = self._rate(meaning)
        return rate / finished if rate is not None and finished else None

    def _steps(self) -> float | None:
        count = self._grown("step_tokens", "_count")
        return count / self.seconds if count and self.seconds else None

    def _cached(self) -> float | None:
        # SGLang looks for all of a prompt and counts only what it found.
        looked_for: Meaning = "prefix_queries" if self._of("prefix_queries") else "prompt_tokens"
        queries, hits = self._grown(looked_for), self._grown("prefix_hits")
        if queries and hits is not None:
            return hits / queries
        return self._level("cache_hit_fraction", fmean) if hits is None else None

    def _settings(self) -> dict[str, str]:
        series = [each for metric in self._of("cache_settings") for each in self._series(metric)]
        return dict(series[0][1]) if series else {}

    def _kv_tokens(self) -> float | None:
        told = self._level("kv_tokens", sum)
        series = [dict(each[1]) for metric in self._of("cache_settings") for each in self._series(metric)]
        sizes = [_size(labels) for labels in series]
        return told or (sum(sizes) if sizes and all(sizes) else None)

    def _missing(self) -> list[str]:
        if self.seconds is None:
            return [f"rates: they need two readings, each after a line '{STAMP}SECONDS'"]
        names = {metric.meaning: metric.name for metric in self.metrics}
        absent = [each for each in NEEDED if not self._of(each) and not self._stands_in(each)]
        return [names.get(meaning, meaning) for meaning in absent]

    def _stands_in(self, meaning: Meaning) -> bool:
        """Return whether others say the same together: the count of requests, or time spent on tokens."""
        if meaning == "itl_s":
            return bool(self._of("generation_s"))
        counted = ("finished", "request_prompt_tokens", "request_output_tokens")
        return meaning in counted and bool(self._of("requests"))

    def _restarts(self) -> int:
        """Return how many times a counter of tokens fell."""
        fell = 0
        for metric in self._of("generated_tokens"):
            for series in self._series(metric):
                values = [value for page in self.pages if (value := page.figures.get(series)) is not None]
                fell += sum(later < earlier for earlier, later in pairwise(values))
        return fell


TIMES: tuple[Meaning, ...] = ("ttft_s", "e2e_s", "queue_s", "prefill_s", "decode_s")


def _growth(values: Sequence[float | None]) -> float:
    """Return how far one counter grew; a value below the one before counts from zero."""
    known = [value for value in values if value is not None]
    if len(values) == 1:
        return known[0] if known else 0.0
    # A series that was not there on the first page began at zero.
    before = 0.0 if values[0] is None else known.pop(0)
    grown = 0.0
    for value in known:
        grown += value - before if value >= before else value
        before = value
    return grown


def _size(labels: dict[str, str]) -> float:
    """Return the tokens vLLM says its cache holds, in blocks of its size where it does not say them."""
    try:
        if labels.get("kv_cache_size_tokens"):
            return float(labels["kv_cache_size_tokens"])
        return (float(labels["num_gpu_blocks"]) - 1) * float(labels["block_size"])
    except (KeyError, ValueError):
        return 0.0


def _spellings(metric: Metric) -> set[str]:
    """Return the names by which one sees that a metric is there."""
    return {f"{name}_count" for name in metric.names} if metric.kind == "histogram" else set(metric.names)
