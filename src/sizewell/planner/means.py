"""The means every answer states: what users feel on average, and how much is served."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.specs.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means over requests under one load, of the whole deployment."""

    ttft_s: Figure
    ttfa_s: Figure
    tpot_s: Figure
    e2e_s: Figure
    requests_per_s: Figure
    output_tokens_per_s: Figure


def usual_e2e_s(given: Means) -> float:
    """Return about what one request takes, without the wait of a queue that grows without end."""
    tokens = given.output_tokens_per_s.value / given.requests_per_s.value
    return min(given.e2e_s.value, 2 * tokens * given.tpot_s.value)
