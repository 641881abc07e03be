"""The question in numbers a search can compare with: lengths, load, and each limit turned into one on the mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.planner.question import Question
from sizewell.planner.steady_state import Rates
from sizewell.planner.step_table import Lengths

LEAST_OVER_MEAN = {
    "mean": {"ttft": 1.0, "tpot": 1.0, "e2e": 1.0},
    "p50": {"ttft": 0.9, "tpot": 0.98, "e2e": 0.95},
    "p90": {"ttft": 1.0, "tpot": 1.0, "e2e": 1.0},
    "p95": {"ttft": 1.0, "tpot": 1.0, "e2e": 1.0},
    "p99": {"ttft": 1.3, "tpot": 1.03, "e2e": 1.05},
}
"""The least a statistic is over its mean at steady load (provenance: assumed): what a search by means lets pass, a
simulation decides."""

INF = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What each request is, how many there are, and what they may feel on average; no limit is infinity.

    Exactly one of `users` and `rate_per_s` is set; both already contain growth.
    """

    lengths: Lengths
    think_tokens: float
    context_tokens: float
    users: float | None
    rate_per_s: float | None
    ttft_s: float
    ttfa_s: float
    tpot_s: float
    e2e_s: float

    @classmethod
    def of(cls, question: Question) -> Demand:
        """Return the demand a question makes."""
        work, limits = question.workload, question.limits
        over = LEAST_OVER_MEAN[limits.slo.statistic]
        return cls(
            lengths=Lengths.of(work, prefix_caching=not question.model.is_recurrent),
            think_tokens=work.think_tokens,
            context_tokens=work.context_tokens,
            users=None if work.users is None else work.users * work.growth,
            rate_per_s=None if work.rate_per_s is None else work.rate_per_s * work.growth,
            ttft_s=(limits.slo.ttft_s or INF) / over["ttft"],
            ttfa_s=(limits.slo.ttfa_s or INF) / over["ttft"],
            tpot_s=(limits.tpot_s or INF) / over["tpot"],
            e2e_s=(limits.slo.e2e_s or INF) / over["e2e"],
        )

    def ttfa_of(self, ttft_s: Floats, tpot_s: Floats) -> Floats:
        """Return the time to the first answer token: all thinking comes first."""
        return ttft_s + self.think_tokens * tpot_s

    def last_within(self, rates: Rates) -> Floats:
        """Return how far along the grid of sequences every limit holds, as a fractional position [M]; −1 = nowhere."""
        e2e = rates.ttft_s + rates.gaps * rates.tpot_s
        pairs = (
            (rates.ttft_s, self.ttft_s), (rates.tpot_s, self.tpot_s), (e2e, self.e2e_s),
            (self.ttfa_of(rates.ttft_s, rates.tpot_s), self.ttfa_s),
        )  # fmt: skip
        bounded = [_crossing(values, np.full(len(values), bound)) for values, bound in pairs if bound < INF]
        by_size = _crossing(np.broadcast_to(rates.table.sequences, e2e.shape), rates.most)
        last: Floats = np.minimum.reduce([*bounded, by_size])
        return last

    def met(self, ttft_s: Floats, tpot_s: Floats) -> NDArray[np.bool_]:
        """Return where means keep every limit."""
        met: NDArray[np.bool_] = self.worst_ratio(ttft_s, tpot_s) <= 1 + 1e-9
        return met

    def worst_ratio(self, ttft_s: Floats, tpot_s: Floats) -> Floats:
        """Return the largest ratio of a mean to its limit; at most 1 = all are kept.

        Who waits without end keeps no limit, not even one nobody stated.
        """
        e2e = ttft_s + self.lengths.gaps * tpot_s
        ttfa = self.ttfa_of(ttft_s, tpot_s)
        pairs = ((ttft_s, self.ttft_s), (tpot_s, self.tpot_s), (e2e, self.e2e_s), (ttfa, self.ttfa_s))
        endless = np.where(np.isinf(e2e), INF, 0.0)
        worst: Floats = np.maximum.reduce([endless, *(mean / bound for mean, bound in pairs if bound < INF)])
        return worst


def value_at(position: Floats, values: Floats) -> Floats:
    """Return values [M, B] at fractional grid positions [M] or [M, K]."""
    machine = np.arange(len(values)).reshape(-1, *([1] * (position.ndim - 1)))
    low = np.minimum(position.astype(np.int64), values.shape[1] - 2)
    below = values[machine, low]
    found: Floats = below + (position - low) * (values[machine, low + 1] - below)
    return found


def position_of(wanted: Floats, known: Floats) -> Floats:
    """Return the fractional grid positions [M, K] where rising `known` [M, B] is `wanted` [M, K], clipped."""
    machine = np.arange(len(known))[:, None]
    low = np.clip((known[:, None, :] < wanted[:, :, None]).sum(axis=2) - 1, 0, known.shape[1] - 2)
    below, above = known[machine, low], known[machine, low + 1]
    share = (wanted - below) / np.where(above > below, above - below, 1.0)
    found: Floats = low + np.minimum(np.maximum(share, 0.0), 1.0)
    return found


def _crossing(values: Floats, bound: Floats) -> Floats:
    """Return the fractional position up to which rising `values` [M, B] stay within `bound` [M]; −1 where none does."""
    beyond = values > bound[:, None]
    last = values.shape[1] - 1
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), last + 1)
    left = np.minimum(np.maximum(first - 1, 0), last - 1)
    machine = np.arange(len(values))
    low, high = values[machine, left], values[machine, left + 1]
    share = np.minimum(np.maximum((bound - low) / np.where(high > low, high - low, 1.0), 0.0), 1.0)
    inside = np.where(first > last, float(last), left + share)
    return np.where(first == 0, -1.0, inside)
