"""Results of `vllm bench serve`, of its forerunner `benchmark_serving.py`, and of SGLang's copy of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from heapq import heapreplace
from itertools import accumulate
from math import isfinite
from typing import Any

import numpy as np

from sizewell.driver.imported import MOST_ERROR_CHARACTERS, Imported, as_imported
from sizewell.driver.recording import Recording
from sizewell.driver.replies import Usage
from sizewell.driver.summaries import from_vllm_summary, vllm_figures
from sizewell.traffic.distribution import Distribution
from sizewell.traffic.run import FAILED, OK
from sizewell.traffic.stated import Stated

MOST_OFF_FRACTION = 0.05
"""How far the length of a load may be from the one that start times which were worked out give."""


def from_vllm_bench(found: Mapping[str, Any]) -> tuple[Imported, ...]:
    """Return the load of `vllm bench serve --save-detailed`: its TTFT counts from when a request was sent.

    Under a rate, newer ones tell how long a request then waited for a place (`queue_times`): it was due before. Without
    one all are due at once, and a place that is free is what calls the next. Older ones, and SGLang's `bench_serving
    --output-details`, do not say when requests were sent: it is worked out where that is so. Without details the file
    holds figures only.
    """
    if not {"ttfts", "itls"} <= set(found):
        return (from_vllm_summary(found, vllm_figures(found)),)
    rows, limit, rate = [], found.get("max_concurrency"), found.get("request_rate")
    told = "start_times" in found
    paced = told and isinstance(rate, int | float) and isfinite(rate)
    starts_s = found["start_times"] if told else _worked_out(found)
    if starts_s is None:
        return (from_vllm_summary(found, _without_starts(found)),)
    waited_s = found.get("queue_times") if paced else None
    for row, start_s in enumerate(starts_s):
        tokens = int(found["output_lens"][row])
        error = str(found["errors"][row] or ("" if tokens else "no token came"))
        times = list(accumulate([start_s + found["ttfts"][row], *found["itls"][row]]))
        due_s = start_s - (waited_s[row] if waited_s else 0.0)
        rows.append(Recording(
            row=row, scheduled_s=due_s, sent_s=start_s, asked_tokens=max(1, tokens), token_s=[] if error else times,
            usage=Usage(input_tokens=int(found["input_lens"][row]), output_tokens=tokens),
            status=FAILED if error else OK, error=error[:MOST_ERROR_CHARACTERS],
        ))  # fmt: skip
    label = str(limit) if limit and not paced else f"{rate or '?'}/s"
    tool = "vllm bench" if told else "vllm bench, start times worked out"
    return (replace(as_imported(tool, label, rows), concurrency=None if paced else limit),)


def _worked_out(found: Mapping[str, Any]) -> list[float] | None:
    """Return when requests were sent if each took, in their order, the place that was free first.

    None where the load would then not have lasted as long as the file says: requests came at a rate. What it lasted
    longer is spread over the starts: a client takes a moment for each.
    """
    took_s = [first + sum(gaps) for first, gaps in zip(found["ttfts"], found["itls"], strict=True)]
    free_s = [0.0] * min(found.get("max_concurrency") or len(took_s), len(took_s))
    starts_s = [heapreplace(free_s, free_s[0] + each) for each in took_s]
    if abs(max(free_s) - found["duration"]) > MOST_OFF_FRACTION * found["duration"]:
        return None
    last_s = max(start for start, took in zip(starts_s, took_s, strict=True) if start + took >= max(free_s))
    longer = 1.0 + (found["duration"] - max(free_s)) / last_s if last_s > 0 else 1.0
    return [start_s * longer for start_s in starts_s]


def _without_starts(found: Mapping[str, Any]) -> Stated:
    """Return the figures of a load under a rate that does not say when requests were sent."""
    rows = [
        (first, gaps, tokens)
        for first, gaps, tokens, error in zip(
            found["ttfts"], found["itls"], found["output_lens"], found["errors"], strict=True
        )
        if tokens and not error
    ]
    firsts, ends = [first for first, _, _ in rows], [first + sum(gaps) for first, gaps, _ in rows]
    felt = {
        "ttft": firsts, "e2e": ends, "itl": [gap for _, gaps, _ in rows for gap in gaps],
        "tpot": [sum(gaps) / (tokens - 1) for _, gaps, tokens in rows if tokens > 1],
    }  # fmt: skip
    return replace(
        vllm_figures(found), ok=len(rows), failed=len(found["ttfts"]) - len(rows),
        felt={name: Distribution.of(np.array(values, dtype=np.float64)) for name, values in felt.items()},
    )  # fmt: skip
