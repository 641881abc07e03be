"""What an engine tells on /metrics, and under which names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Meaning = Literal[
    "running", "waiting", "deferred", "kv_used_fraction", "kv_used_tokens", "kv_tokens", "preemptions", "retracted_now",
    "prompt_tokens", "generated_tokens", "prefix_queries", "prefix_hits", "cache_hit_fraction", "tokens_per_s",
    "finished", "requests", "ttft_s", "itl_s", "tpot_s", "e2e_s", "queue_s", "prefill_s", "decode_s", "inference_s",
    "request_prompt_tokens", "request_output_tokens", "request_most_tokens", "request_n", "request_preemptions",
    "step_tokens", "cache_settings", "prompt_s", "generation_s",
]  # fmt: skip
"""What a figure is, whatever an engine calls it: times in seconds, fractions 0 to 1."""
MetricKind = Literal["gauge", "counter", "histogram"]
Release = tuple[int, ...]
FOREVER: Release = (10**6,)
EMULATED_CLOCK = "sizewell_emulated_seconds"
"""Gauge of an emulated server: its own time, which may go faster than ours. Its rates are per second of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of an engine, from the first release that has it to the first that has not.

    `bounds` are the upper ends of a histogram's buckets; `labels` come beside the engine's own. What counts `at_end`
    moves when a request ends, by all of it.
    """

    name: str
    kind: MetricKind
    meaning: Meaning
    says: str
    since: Release = (0,)
    until: Release = FOREVER
    bounds: tuple[float, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    at_end: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The plain names it may have in a text: a counter's with and without the suffix the text format adds."""
        name = plain_name(self.name)
        return frozenset({name, name.removesuffix("_total")} if self.kind == "counter" else {name})


def plain_name(name: str) -> str:
    """Return a name as pipelines that allow no colon write it, and as it was before Ray Serve passed it on."""
    return name.replace(":", "_").removeprefix("ray_")


def metrics_in(table: Sequence[Metric], release: Release) -> tuple[Metric, ...]:
    """Return the metrics a release has; one of two parts stands for its last patch."""
    given = (*release, *(99,) * (3 - len(release)))
    return tuple(metric for metric in table if metric.since <= given and not metric.until <= given)
