"""A run, simulated or measured, as what was seen of its server: the middle of it, where neither start nor end shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizewell.advisor.observation import ClientFacts, Observation
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Floats
from sizewell.traffic.run import Run, Timeline
from sizewell.traffic.score import score

MIDDLE = (0.2, 0.8)
"""Part of a run that is looked at."""
PEAK = 0.25
"""Share of the time in which a cache is at its peak."""


def observed(run: Run, client: ClientFacts | None = None) -> Observation:
    """Return what a server did during the middle of a run; raises BadInputError where nothing was served."""
    if not run.served.any():
        raise BadInputError("the run served no request: there is nothing to diagnose")
    begin, end = _window(run)
    span = end - begin
    felt = score(run)
    first, last = run.first_token_s, run.last_token_s
    within = (last >= begin) & (last < end) & run.served
    prompts = (first >= begin) & (first < end)
    generating = _overlap(first, last, begin, end)
    share = np.divide(generating, last - first, out=prompts.astype(np.float64), where=last > first)
    state = _state(run.timeline, begin, end) if run.timeline is not None and len(run.timeline.time_s) else {}
    replicas = int(run.replica.max()) + 1 if (run.replica >= 0).any() else 1
    looked_for = float(run.input_tokens[prompts].sum())
    return Observation(
        window_s=span,
        engines=replicas,
        idle_engines=replicas - len(np.unique(run.replica[run.replica >= 0])),
        running=state.get("running", float(np.nansum(generating)) / span),
        waiting=state.get("waiting"),
        kv_used_fraction=state.get("kv_used_fraction"),
        kv_peak_fraction=state.get("kv_peak_fraction"),
        preemptions_per_s=state.get("preemptions_per_s", float(run.preemptions[within].sum()) / span),
        prompt_tokens_per_s=looked_for / span,
        generated_tokens_per_s=float(np.nansum(share * run.output_tokens)) / span,
        cached_fraction=float(run.cached_tokens[prompts].sum()) / looked_for if looked_for else None,
        finished_per_s=float(within.sum()) / span,
        ttft_s=felt.ttft.mean_s,
        itl_s=felt.itl.mean_s or felt.tpot_token_weighted_s,
        e2e_s=felt.e2e.mean_s,
        request_prompt_tokens=float(run.input_tokens[run.served].mean()),
        request_output_tokens=float(run.output_tokens[run.served].mean()),
        client=client or _late(run),
        missing=() if state else ("waiting", "kv_used_fraction"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run of which only means were kept; `preemptions` are of all its `requests` together."""

    requests_per_s: float
    output_tokens_per_s: float
    requests: int
    preemptions: int
    ttft_s: float
    itl_s: float | None
    e2e_s: float
    prompt_tokens: float
    output_tokens: float
    cached_fraction: float | None


def summarised(run: Summary, client: ClientFacts | None = None) -> Observation:
    """Return what means say of a server: sequences at work by Little's law; who waited and the cache are not known."""
    return Observation(
        running=run.requests_per_s * (run.e2e_s - run.ttft_s),
        preemptions_per_s=run.requests_per_s * run.preemptions / max(run.requests, 1),
        prompt_tokens_per_s=run.requests_per_s * run.prompt_tokens,
        generated_tokens_per_s=run.output_tokens_per_s,
        cached_fraction=run.cached_fraction,
        finished_per_s=run.requests_per_s,
        ttft_s=run.ttft_s,
        itl_s=run.itl_s,
        e2e_s=run.e2e_s,
        request_prompt_tokens=run.prompt_tokens,
        request_output_tokens=run.output_tokens,
        client=client,
        missing=("waiting", "kv_used_fraction"),
    )


def _window(run: Run) -> tuple[float, float]:
    begin, end = float(np.nanmin(run.sent_s)), float(np.nanmax(run.last_token_s))
    length = max(end - begin, 1e-9)
    return begin + MIDDLE[0] * length, begin + MIDDLE[1] * length


def _overlap(first: Floats, last: Floats, begin: float, end: float) -> Floats:
    """Return how long each request generated inside the window; NaN where it never began."""
    inside: Floats = np.clip(np.minimum(last, end) - np.maximum(first, begin), 0.0, None)
    return inside


def _state(timeline: Timeline, begin: float, end: float) -> dict[str, float]:
    """Return means over time of what the engine was sampled at, each sample holding until the next."""
    edges = np.clip(timeline.time_s, begin, end)
    weight = np.diff(edges, append=end)
    whole = float(weight.sum())
    if whole <= 0:
        return {}
    inside = (timeline.time_s >= begin) & (timeline.time_s < end)
    names = ("running", "waiting", "kv_used_fraction")
    means = {name: float((getattr(timeline, name) * weight).sum() / whole) for name in names}
    return {
        **means,
        "kv_peak_fraction": _peak(timeline.kv_used_fraction, np.where(timeline.waiting >= 1, weight, 0.0), weight),
        "preemptions_per_s": float(timeline.preemptions[inside].sum()) / (end - begin),
    }


def _peak(used: Floats, queued_s: Floats, all_s: Floats) -> float:
    """Return the use of the cache that it reaches a quarter of the time, of that in which requests wait if some do."""
    weight = queued_s if queued_s.sum() > 0 else all_s
    fullest = np.argsort(-used)
    at = int(np.searchsorted(np.cumsum(weight[fullest]), PEAK * weight.sum()))
    return float(used[fullest[min(at, len(used) - 1)]])


def _late(run: Run) -> ClientFacts | None:
    """Return how late requests went out, where a client measured them."""
    if run.origin != "measured":
        return None
    sent = np.isfinite(run.sent_s)
    return ClientFacts(delay_s=float(np.median(run.sent_s[sent] - run.scheduled_s[sent])))
