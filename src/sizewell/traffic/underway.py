"""Requests some of which have not ended yet, and which limits they will miss whatever comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.traffic.requests import Floats, Ints
from sizewell.traffic.workload import Slo

ROUNDED = 1e-9
"""Relative room for how sums are rounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Underway:
    """What has happened to some requests [n] by `now_s`, NaN where it has not yet; `output_tokens` are asked for."""

    now_s: float
    ended: NDArray[np.bool_]
    scheduled_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    output_tokens: Ints

    def rows(self, start: int, stop: int) -> Underway:
        """Return some of the requests."""
        return Underway(
            now_s=self.now_s, ended=self.ended[start:stop], scheduled_s=self.scheduled_s[start:stop],
            first_token_s=self.first_token_s[start:stop], last_token_s=self.last_token_s[start:stop],
            output_tokens=self.output_tokens[start:stop],
        )  # fmt: skip

    def misses(self, slo: Slo) -> bool:
        """Return whether a limit on TTFT, TPOT or E2E will be missed once all are served, whatever comes.

        Means and percentiles grow with each value, and none will be smaller than if all that is under way ended now.
        """
        due = np.where(np.isnan(self.scheduled_s), self.now_s, self.scheduled_s)
        first = np.where(np.isnan(self.first_token_s), self.now_s, self.first_token_s)
        last = np.where(self.ended, self.last_token_s, self.now_s)
        several = self.output_tokens > 1
        bounds = (
            (slo.ttft_s, first - due),
            (slo.tpot_s, (last - first)[several] / (self.output_tokens[several] - 1)),
            (slo.e2e_s, last - due),
        )
        return any(
            limit is not None and len(least) > 0 and _statistic(least, slo) > limit * (1 + ROUNDED)
            for limit, least in bounds
        )


def _statistic(values: Floats, slo: Slo) -> float:
    if slo.statistic == "mean":
        return float(values.mean())
    return float(np.percentile(values, float(slo.statistic.removeprefix("p"))))
