"""Candidates with as few replicas as limits on size, price or power allow, though a closed form asks for more.

"Nothing holds" is said of what was played: a closed form that counts three replicas where two do would say it of a
budget for two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sizewell.planner.columns import Column, Mask
from sizewell.planner.steady_state import Rates

if TYPE_CHECKING:
    from sizewell.planner.evaluate import Trial

HOPE, ALMOST_SEATED = 4.0, 1.25
"""Means over their limits, and users over seats, up to which a closed form may be wrong about few replicas: pipelines
wait less than it says, another token budget leaves more cache."""


def tightened(trial: Trial, column: Column, steady: Rates, lost: Mask) -> Iterator[Column]:
    """Yield those of the candidates [M, K] on machines that were `lost` [M] to a limit that may hold within it."""
    if not lost.any():
        return
    count = trial.bounds.replicas(column)[:, 0]
    some = np.maximum(count, 1.0)
    users = np.maximum(column.most_users_per_replica[:, 0], (trial.demand.users or 0.0) / some)
    tight = trial.shared(column.variant, column.rows[:, 0], steady, (some[:, None], users))
    near = trial.demand.worst_ratio(tight.ttft_s, tight.tpot_s) <= HOPE
    seated = tight.users_per_replica <= ALMOST_SEATED * steady.most[:, None]
    within = trial.bounds.kept(tight, near & seated & (lost & (count >= 1))[:, None])
    if within.any():
        yield tight.where(within)
