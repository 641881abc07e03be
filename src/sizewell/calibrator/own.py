"""A calibration from somebody's own measurements: fitted on some, believed only if it helps with the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.calibrator.beliefs import Belief, Floats
from sizewell.calibrator.fit import Evidence, Fitted, determined, step

TURNS = 4
HELD_BACK_EVERY = 3
"""One in so many measurements is held back."""
FEWEST = 6
"""Measurements below which none can be spared to check with."""
OFFSET = 0.3
"""How far a machine of its own may lie from its kind, one standard deviation of the logarithm."""
MACHINE = ("relative_flops", "relative_hbm", "relative_link", "relative_fixed")
ENGINE = ("host_step_s", "host_sequence_s", "request_s")

Observe = Callable[[Floats], Evidence]
"""From multipliers, ln [P], to what the measurements say at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What the measurements say: multipliers of all beliefs, which of them they determine, and what it is worth.

    `before_fraction` and `after_fraction` are the mean sizes of error, exp(mean |ln|) − 1, on held-back measurements.
    """

    beliefs: tuple[Belief, ...]
    fitted: Fitted
    known: tuple[bool, ...]
    before_fraction: float
    after_fraction: float
    used: int
    held_back: int

    @property
    def improves(self) -> bool:
        """Whether held-back measurements are predicted better than before."""
        return self.after_fraction < self.before_fraction


def own_beliefs(tags: Sequence[str]) -> tuple[Belief, ...]:
    """Return what can differ on the accelerators and engines of some measurements, given their tags."""
    machines = sorted({tag for tag in tags if tag.startswith("gpu:")})
    engines = sorted({tag for tag in tags if tag.startswith("engine:") and "-" not in tag})
    found = [Belief(factor=name, spread=OFFSET, tag=tag) for tag in machines for name in MACHINE]
    return (*found, *(Belief(factor=name, spread=OFFSET, tag=tag) for tag in engines for name in ENGINE))


def held_back(count: int) -> NDArray[np.bool_]:
    """Return which of `count` measurements are kept for checking."""
    apart: NDArray[np.bool_] = np.arange(count) % HELD_BACK_EVERY == HELD_BACK_EVERY - 1
    return apart


def fit_own(observe: Observe, beliefs: Sequence[Belief]) -> Own:
    """Return what measurements say; those held back never enter the fit that is checked with them."""
    start = np.zeros(len(beliefs))
    first = observe(start)
    apart = held_back(len(first.errors))
    part = _fitted(lambda logs: observe(logs).take(~apart), beliefs)
    whole = _fitted(observe, beliefs)
    known = determined(beliefs, whole)
    checked = np.where(determined(beliefs, part), part.logs, 0.0)
    return Own(
        beliefs=tuple(beliefs),
        fitted=Fitted(logs=np.where(known, whole.logs, 0.0), spreads=whole.spreads),
        known=known,
        before_fraction=_mean(first.errors[apart]),
        after_fraction=_mean(observe(checked).errors[apart]),
        used=int((~apart).sum()),
        held_back=int(apart.sum()),
    )


def _fitted(observe: Observe, beliefs: Sequence[Belief]) -> Fitted:
    fitted = Fitted(logs=np.zeros(len(beliefs)), spreads=np.array([belief.spread for belief in beliefs]))
    for _ in range(TURNS):
        fitted = step(observe(fitted.logs), beliefs, fitted.logs)
    return fitted


def _mean(errors: Floats) -> float:
    return float(np.expm1(np.mean(np.abs(errors))))
