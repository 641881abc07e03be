"""Tokens and requests per second: over the whole run, and while it was in steady state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizewell.traffic.requests import Floats
from sizewell.traffic.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What served requests brought per second of a window: output tokens, input and output together, requests."""

    window_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    requests_per_s: float


def wall_throughput(run: Run) -> Throughput | None:
    """Return throughput from the first scheduled request to the last event of any; None where no time passed."""
    ends = np.concatenate((run.last_token_s, run.sent_s, run.first_token_s))
    ends = ends[np.isfinite(ends)]
    if len(ends) == 0:
        return None
    window_s = float(ends.max() - run.scheduled_s.min())
    if window_s <= 0:
        return None
    served = run.served
    output = float(run.output_tokens[served].sum())
    return Throughput(
        window_s=window_s,
        output_tokens_per_s=output / window_s,
        total_tokens_per_s=(output + float(run.input_tokens[served].sum())) / window_s,
        requests_per_s=float(served.sum()) / window_s,
    )


def steady_throughput(run: Run) -> tuple[Throughput | None, str]:
    """Return throughput between the first completion and the last start, or None and why there is none.

    Of people in a loop it is the last start before the first of them has nothing more to ask, and they are fewer.
    Outside this window the engine fills up or drains; one shorter than a request takes shows where single requests
    happened to stand, and counts as none. A request's first token counts when it came; its other tokens are taken as
    evenly spread between first and last. Requests and their prompts count by the share of their tokens in the window:
    of users in step a whole wave ends at an edge, and counted by their ends the three rates contradict each other.
    """
    served = run.served
    if not served.any():
        return None, "no request was served"
    first, last = run.first_token_s[served], run.last_token_s[served]
    starts = run.sent_s[np.isfinite(run.sent_s)]
    begin, end = float(last.min()), min(float(starts.max()), run.whole_until_s) if len(starts) else float("-inf")
    if end <= begin:
        return None, "the last request started before the first one ended"
    window_s = end - begin
    if window_s < float(np.median(last - run.scheduled_s[served])):
        return None, "between the first completion and the last start lies less than one request takes"
    began = _inside(first, begin, end)
    span = last - first
    overlap = np.clip(np.minimum(last, end) - np.maximum(first, begin), 0.0, None)
    share = np.divide(overlap, span, out=began.copy(), where=span > 0)
    tokens = began + (run.output_tokens[served] - 1) * share
    requests = np.divide(tokens, run.output_tokens[served], out=began.copy(), where=run.output_tokens[served] > 0)
    output = float(tokens.sum())
    total = output + float((run.input_tokens[served] * requests).sum())
    if output == 0:
        return None, "no token came between the first completion and the last start"
    return Throughput(
        window_s=window_s,
        output_tokens_per_s=output / window_s,
        total_tokens_per_s=total / window_s,
        requests_per_s=float(requests.sum()) / window_s,
    ), ""


def _inside(times: Floats, begin: float, end: float) -> Floats:
    """Return 1.0 where a time lies after `begin` and up to `end`, else 0.0: neighbouring windows share no event."""
    inside: Floats = ((times > begin) & (times <= end)).astype(np.float64)
    return inside
