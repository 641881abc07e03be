"""Limits on size, price and power: what a candidate takes of each, and how many replicas they leave it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.planner.columns import Column, Mask
from sizewell.planner.objective import usd_per_million_tokens
from sizewell.planner.plan import Gate
from sizewell.planner.question import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a question bounds; requests have `output_tokens` on average."""

    limits: Limits
    output_tokens: float

    def of(self, column: Column) -> tuple[tuple[Gate, Floats, float, str], ...]:
        """Return for each limit that is stated its gate, what candidates take of it, what they may, and its unit."""
        limits = self.limits
        per_token = usd_per_million_tokens(column.usd_per_hour, column.requests_per_s * self.output_tokens)
        every: tuple[tuple[Gate, Floats, float | None, str], ...] = (
            ("size", column.gpus, limits.max_gpus, "GPUs"),
            ("size", column.nodes, limits.max_nodes, "nodes"),
            ("price", column.usd_per_hour, limits.usd_per_hour, "USD/h"),
            ("price", per_token, limits.usd_per_million_tokens, "USD/Mtok"),
            ("price", column.purchase_usd, limits.purchase_usd, "USD to buy"),
            ("power", column.watts, limits.power_w, "W"),
        )
        return tuple((gate, values, bound, unit) for gate, values, bound, unit in every if bound is not None)

    def kept(self, column: Column, alive: Mask) -> Mask:
        """Return which of the candidates `alive` keep every limit."""
        kept: Mask = np.logical_and.reduce([alive, *(values <= bound for _, values, bound, _ in self.of(column))])
        return kept

    def replicas(self, column: Column) -> Floats:
        """Return as many replicas as the limits leave candidates, were what they take to fall in step; none may be."""
        shares = [bound / values for _, values, bound, _ in self.of(column)]
        count: Floats = np.floor(column.replicas * np.minimum.reduce(shares) + 1e-9)
        return count
