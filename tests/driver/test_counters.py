"""The counters that gate a measurement are found under the names of every release, each once."""

from __future__ import annotations

import pytest

from sizewell.catalog.engine_metrics import ENGINES, read_engine_metrics
from sizewell.driver.counters import Counters, counters_of
from sizewell.emulator.metrics import Metrics
from sizewell.specs.engine_metrics import Release, metrics_in

NAMES = tuple(metric for engine in ENGINES for metric in read_engine_metrics(engine))
RELEASES: list[tuple[str, Release]] = [
    ("vllm", (0, 8, 5)), ("vllm", (0, 10, 2)), ("vllm", (0, 11, 0)), ("vllm", (0, 33)), ("sglang", (0, 5, 23)),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "release"), RELEASES)
@pytest.mark.parametrize("colon", [":", "_"])
def test_two_engines_of_any_release_are_summed(engine: str, release: Release, colon: str) -> None:
    figures = Metrics(metrics_in(read_engine_metrics(engine), release), "m", 2, {})
    for each in figures.engines:
        each.numbers = {"prefix_queries": 100.0, "prompt_tokens": 100.0, "prefix_hits": 25.0, "preemptions": 3.0}
    text = figures.text().replace(f"{engine}:", f"{engine}{colon}")
    assert counters_of(text, NAMES) == Counters(queried=200.0, hits=50.0, preemptions=6.0)


def test_what_nobody_tells_is_not_zero() -> None:
    assert counters_of("other_total 3\nvllm:prompt_tokens_total x\n", NAMES) == Counters()
    gauge = "sglang:num_retracted_reqs 2\nsglang:prompt_tokens_total 7\n"
    assert counters_of(gauge, NAMES) == Counters(queried=7.0), "a gauge counts nothing"
