"""Results of `vllm bench serve`, of its forerunner `benchmark_serving.py`, and of SGLang's copy of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from heapq import heapreplace
from itertools import accumulate
from math import isfinite
from typing import Any

from sizewell.driver.imported import MOST_ERROR_CHARACTERS, Imported, as_imported
from sizewell.driver.recording import Recording
from sizewell.driver.replies import Usage
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import FAILED, OK

MOST_OFF_FRACTION = 0.05
"""How far the length of a load may be from the one that start times which were worked out give."""


def from_vllm_bench(found: Mapping[str, Any]) -> tuple[Imported, ...]:
    """Return the load of `vllm bench serve --save-detailed`: its TTFT counts from when a request was sent.

    Under a rate, newer ones tell how long a request then waited for a place (`queue_times`): it was due before. Without
    one all are due at once, and a place that is free is what calls the next. Older ones, and SGLang's `bench_serving
    --output-details`, do not say when requests were sent: it is worked out where that is so.
    """
    if not {"ttfts", "itls"} <= set(found):
        raise BadInputError("holds no request's own times: measure again with vLLM's --save-detailed")
    rows, limit, rate = [], found.get("max_concurrency"), found.get("request_rate")
    told = "start_times" in found
    paced = told and isinstance(rate, int | float) and isfinite(rate)
    starts_s = found["start_times"] if told else _worked_out(found)
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


def _worked_out(found: Mapping[str, Any]) -> list[float]:
    """Return when requests were sent if each took, in their order, the place that was free first.

    Raises BadInputError where the load would then not have lasted as long as the file says: requests came at a rate.
    """
    took_s = [first + sum(gaps) for first, gaps in zip(found["ttfts"], found["itls"], strict=True)]
    free_s = [0.0] * min(found.get("max_concurrency") or len(took_s), len(took_s))
    starts_s = [heapreplace(free_s, free_s[0] + each) for each in took_s]
    if abs(max(free_s) - found["duration"]) > MOST_OFF_FRACTION * found["duration"]:
        raise BadInputError("does not say when requests were sent (older vLLM, SGLang), and they came at a rate")
    return starts_s
