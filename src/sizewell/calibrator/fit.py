"""The most probable multipliers given measurements: robust least squares with a normal belief about each.

    minimise  Σ wᵢ·ρ(eᵢ + Jᵢ·δ) / σ²  +  Σ ((θₖ + δₖ) / spreadₖ)²

over steps δ, where e is ln(predicted / measured) at multipliers exp(θ), J its slopes, and ρ grows like a square up to
BEND and like a straight line beyond: a few wild points must not move what the rest agree on. One step is a linear
system, so leaving a group out costs one small solve more and no new prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.calibrator.beliefs import Belief, Floats

NOISE = 0.12
"""Spread of repeated measurements, ln: reruns of one configuration differ by 9 %, versions by 12 %."""
BEND = 0.08
WILD = 1.2
"""Beyond this ln error a point is taken for another configuration than the one it states, and counts a third."""
WILD_SHARE = 0.3
PASSES = 8
FEW_PASSES = 3
"""Enough where all but a group has settled already."""
MOST = 1.5
"""No multiplier leaves exp(±MOST)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Measurements as a fit sees them: N errors ln(predicted / measured) at some multipliers, slopes [N, P], weights.

    `group` [N] numbers what is left out together.
    """

    errors: Floats
    slopes: Floats
    weights: Floats
    group: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> Evidence:
        """Return some of the measurements."""
        return Evidence(
            errors=self.errors[rows], slopes=self.slopes[rows], weights=self.weights[rows], group=self.group[rows]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Logarithms of the multipliers and what remains unknown of each, both [P]."""

    logs: Floats
    spreads: Floats


def step(evidence: Evidence, beliefs: Sequence[Belief], logs: Floats, passes: int = PASSES) -> Fitted:
    """Return better multipliers than `logs`, where the evidence was taken; exact where predictions are log-linear."""
    prior: Floats = np.array([belief.spread for belief in beliefs]) ** -2.0
    change: Floats = np.zeros(len(logs))
    curved: Floats = prior * np.eye(len(prior))
    for _ in range(passes):
        pull = _pull(evidence.errors + evidence.slopes @ change) * evidence.weights / NOISE**2
        weighted = evidence.slopes * pull[:, None]
        curved = weighted.T @ evidence.slopes + prior * np.eye(len(prior))
        change = np.asarray(-np.linalg.solve(curved, weighted.T @ evidence.errors + prior * logs), dtype=np.float64)
    return Fitted(logs=np.clip(logs + change, -MOST, MOST), spreads=np.sqrt(np.diag(np.linalg.inv(curved))))


def misfit(errors: Floats, weights: Floats, beliefs: Sequence[Belief], logs: Floats) -> float:
    """Return half of what is minimised where the multipliers `logs` leave such errors [N] of such weights."""
    sizes, spreads = np.abs(errors), np.array([belief.spread for belief in beliefs])
    cost = np.where(sizes < BEND, sizes**2 / 2, BEND * (sizes - BEND / 2)) * np.where(sizes > WILD, WILD_SHARE, 1.0)
    return float((weights * cost).sum() / NOISE**2 + ((logs / spreads) ** 2).sum() / 2)


def _pull(errors: Floats) -> Floats:
    """Return the weight of each error in the next pass."""
    sizes = np.abs(errors)
    return np.asarray(np.where(sizes > WILD, WILD_SHARE, 1.0) * BEND / np.maximum(sizes, BEND), dtype=np.float64)


def left_out(evidence: Evidence, beliefs: Sequence[Belief], fitted: Floats) -> Floats:
    """Return the multipliers fitted without each group in turn, shape [G, P]; slopes are those at `fitted`."""
    groups = int(evidence.group.max()) + 1 if len(evidence.group) else 0
    rest = (evidence.take(evidence.group != one) for one in range(groups))
    return np.array([step(some, beliefs, fitted, FEW_PASSES).logs for some in rest])


def determined(beliefs: Sequence[Belief], fitted: Fitted, share: float = 0.8) -> tuple[bool, ...]:
    """Return for each belief whether the measurements narrowed it to less than `share` of its spread."""
    return tuple(bool(left < share * belief.spread) for belief, left in zip(beliefs, fitted.spreads, strict=True))
