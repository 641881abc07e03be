"""Offered load: how many users or requests per second, and how long their prompts and answers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizewell.specs.errors import BadInputError
from sizewell.traffic.bounds import require

SHORTEST_WITH_GAP = 2
"""Tokens of the shortest answer that has a time between tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests of one kind. Token counts are means per request; exactly one of `users` and `rate_per_s` is set.

    `think_tokens` are generated before the answer (reasoning models); `shared_prefix_tokens` of the input are the
    same for all requests; `growth` multiplies the load the plan must still hold.
    Raises BadInputError on values outside their range.
    """

    input_tokens: float
    answer_tokens: float
    think_tokens: float = 0.0
    users: float | None = None
    rate_per_s: float | None = None
    shared_prefix_tokens: float = 0.0
    growth: float = 1.0

    def __post_init__(self) -> None:
        if (self.users is None) == (self.rate_per_s is None):
            raise BadInputError("a workload needs either users or a request rate: give exactly one of the two")
        require("input tokens", self.input_tokens, low=1)
        require("answer tokens", self.answer_tokens, low=1)
        require("think tokens", self.think_tokens, low=0)
        require("shared prefix tokens", self.shared_prefix_tokens, low=0, high=self.input_tokens)
        require("growth", self.growth, low=0.01, high=1000)
        if self.users is not None:
            require("users", self.users, low=1, high=1e7)
        if self.rate_per_s is not None:
            require("request rate per s", self.rate_per_s, low=1e-6, high=1e6)

    @property
    def output_tokens(self) -> float:
        """Generated tokens per request: think and answer together."""
        return self.think_tokens + self.answer_tokens

    @property
    def context_tokens(self) -> float:
        """Tokens a sequence holds when it ends."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Limits on what users feel; None = no limit. `statistic` says which value of the distribution each limit binds.

    ttft: send to first generated token; ttfa: send to first answer token; tpot: (e2e − ttft) / (output − 1).
    """

    ttft_s: float | None = None
    ttfa_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    statistic: Literal["mean", "p50", "p90", "p95", "p99"] = "mean"

    def __post_init__(self) -> None:
        for name in ("ttft_s", "ttfa_s", "tpot_s", "e2e_s"):
            value = getattr(self, name)
            if value is not None:
                require(name, value, low=1e-6, high=1e6)

    @property
    def limits(self) -> dict[str, float]:
        """The limits that were stated, in seconds, by what they limit."""
        stated = {name: getattr(self, f"{name}_s") for name in ("ttft", "ttfa", "tpot", "e2e")}
        return {name: limit for name, limit in stated.items() if limit is not None}


def refuse_gapless(workload: Workload, tpot_s: float | None) -> None:
    """Raise BadInputError for a limit on the time between tokens where answers are one token long."""
    if tpot_s is not None and workload.output_tokens < SHORTEST_WITH_GAP:
        raise BadInputError(
            f"answers of {workload.output_tokens:g} token have no time between tokens: leave the TPOT limit out"
        )
