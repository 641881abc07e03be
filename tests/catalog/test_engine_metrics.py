"""The list of metric names is consistent: one meaning at a time, histograms with rising buckets, no release without."""

from __future__ import annotations

from typing import get_args

import pytest

from sizewell.catalog.engine_metrics import ENGINES, read_engine_metrics
from sizewell.specs.engine_metrics import Meaning, MetricKind, metrics_in

NEEDED = {
    "running",
    "waiting",
    "kv_used_fraction",
    "preemptions",
    "prompt_tokens",
    "generated_tokens",
    "ttft_s",
    "itl_s",
}
RELEASES = {"vllm": [(0, minor) for minor in range(6, 34)], "sglang": [(0, 5), (0, 5, 23)]}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_metric_is_one(engine: str) -> None:
    for metric in read_engine_metrics(engine):
        assert metric.name.startswith(f"{engine.replace('.', '')}:")
        assert metric.meaning in get_args(Meaning) and metric.kind in get_args(MetricKind)
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert metric.since < metric.until and metric.says.endswith(".")
        assert metric.name.endswith("_total") or metric.kind != "counter"


@pytest.mark.parametrize("engine", RELEASES)
def test_every_release_tells_what_a_diagnosis_needs_once(engine: str) -> None:
    for release in RELEASES[engine]:
        there = metrics_in(read_engine_metrics(engine), release)
        names = [metric.name for metric in there]
        assert len(names) == len(set(names))
        assert {metric.meaning for metric in there} >= NEEDED
