"""A prediction moved to what its simulation showed."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TypeVar

from sizewell.planner.means import Means
from sizewell.planner.rehearsal import Rehearsal
from sizewell.specs.figure import Figure

Stated = TypeVar("Stated", bound=Means)


def with_simulated_means(given: Stated, found: Rehearsal) -> Stated:
    """Return a prediction with the means of its simulation, in intervals as wide as before.

    Users who send again at once make users / E2E requests per second; of an open loop all are served, or as many as
    full replicas can.
    """
    scored = found.stated.score
    faster = 1.0
    if found.unit == "users" and scored.e2e.mean_s:
        faster = found.load / scored.e2e.mean_s / given.requests_per_s.value
    elif found.unit == "requests/s":
        most = found.capacity_per_s * found.shares if found.stated.overloaded else inf
        faster = min(found.load, most) / given.requests_per_s.value
    return replace(
        given,
        ttft_s=moved(given.ttft_s, scored.ttft.mean_s),
        ttfa_s=moved(given.ttfa_s, scored.ttfa.mean_s),
        tpot_s=moved(given.tpot_s, scored.tpot.mean_s),
        e2e_s=moved(given.e2e_s, scored.e2e.mean_s),
        requests_per_s=moved(given.requests_per_s, given.requests_per_s.value * faster),
        output_tokens_per_s=moved(given.output_tokens_per_s, given.output_tokens_per_s.value * faster),
    )


def moved(figure: Figure, value: float | None) -> Figure:
    """Return a figure of another value in an interval of the same relative width; itself where there is no value."""
    if value is None or not figure.value:
        return figure
    ratio = value / figure.value
    return replace(figure, value=value, low=figure.low * ratio, high=figure.high * ratio)
