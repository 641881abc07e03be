"""A load of which only figures are known, as other tools sum theirs up: a score, less what needs each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sizewell.traffic.distribution import Distribution
from sizewell.traffic.score import Score, limits_held
from sizewell.traffic.throughput import Throughput
from sizewell.traffic.workload import Slo

NO_REQUESTS = "only figures are known, not each request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a summary says: requests served, failed, and cut off at its end; tokens of the served; seconds it lasted.

    `felt`: distributions under our names `ttft`, `tpot`, `itl` and `e2e`, whatever the tool calls them.
    """

    ok: int
    failed: int
    input_tokens: float
    output_tokens: float
    window_s: float
    felt: Mapping[str, Distribution]
    unfinished: int = 0

    @property
    def offered(self) -> int:
        """Requests that were due, as far as the summary counts them."""
        return self.ok + self.failed + self.unfinished


def stated_score(found: Stated, slo: Slo) -> Score:
    """Return the score of a summary; which requests met every limit is not known where there are limits."""
    nothing = Distribution(n=0, refused=NO_REQUESTS)
    felt = {name: found.felt.get(name, nothing) for name in ("ttft", "ttfa", "tpot", "e2e")}
    good = None if slo.limits else found.ok
    wall = Throughput(
        window_s=found.window_s,
        output_tokens_per_s=found.output_tokens / found.window_s,
        total_tokens_per_s=(found.input_tokens + found.output_tokens) / found.window_s,
        requests_per_s=found.ok / found.window_s,
    )
    offered = found.offered
    return Score(
        origin="measured", offered=offered, ok=found.ok, rejected=0, unfinished=found.unfinished, failed=found.failed,
        **felt, itl=found.felt.get("itl", nothing), tpot_token_weighted_s=None, wall=wall, steady=None,
        no_steady_because=NO_REQUESTS, good=good,
        attainment_fraction=None if good is None or not offered else good / offered,
        goodput_requests_per_s=None if good is None else wall.requests_per_s,
        goodput_output_tokens_per_s=None if good is None else wall.output_tokens_per_s,
        limits=limits_held(felt, slo), cached_fraction=None, preemptions=0,
    )  # fmt: skip
