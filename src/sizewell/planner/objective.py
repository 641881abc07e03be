"""What plans are ordered by, of one plan or of many candidates side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from sizewell.costs.batch import Floats
from sizewell.planner.question import Limits, Objective

Number = TypeVar("Number", float, Floats)


def usd_per_million_tokens(usd_per_hour: Number, output_tokens_per_s: Number) -> Number:
    """Return the price of a million output tokens."""
    price: Number = usd_per_hour / (output_tokens_per_s * 3600) * 1e6
    return price


@dataclass(frozen=True, slots=True, kw_only=True)
class Merits(Generic[Number]):
    """What plans take and give: numbers of one plan, or arrays of one shape; a price nobody states is infinite.

    `purchase_usd` is the price of all its nodes, of plans that are bought.
    """

    gpus: Number
    usd_per_hour: Number
    purchase_usd: Number
    power_w: Number
    e2e_s: Number
    output_tokens_per_s: Number

    @property
    def usd_per_million_tokens(self) -> Number:
        """The price of a million output tokens."""
        return usd_per_million_tokens(self.usd_per_hour, self.output_tokens_per_s)

    def score(self, objective: Objective) -> Number:
        """Return how good they are under an objective, the least best, in the objective's own unit."""
        match objective:
            case "cheapest":
                return self.usd_per_hour
            case "cheapest-per-token":
                return self.usd_per_million_tokens
            case "fastest":
                return self.e2e_s
            case "fewest-gpus":
                return self.gpus
            case "greenest":
                joules: Number = self.power_w / self.output_tokens_per_s
                return joules

    def bounded(self, limits: Limits) -> tuple[tuple[Number, float | None], ...]:
        """Return what limits on price and power bound, each with its limit, None where there is none."""
        return (
            (self.usd_per_hour, limits.usd_per_hour),
            (self.usd_per_million_tokens, limits.usd_per_million_tokens),
            (self.purchase_usd, limits.purchase_usd),
            (self.power_w, limits.power_w),
        )
