"""The largest load that still holds, found by bracketing: double or halve until it breaks, then halve the gap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

TOLERANCE = 0.05
"""Ratio above 1 of what breaks to what holds at which the search ends: reruns of one real load differ by more."""

MOST_DOUBLINGS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """The saturation point: `holds` is the largest load seen to hold, `breaks` the smallest seen to break.

    `holds` is 0 where even the lightest load tried breaks; `breaks` is infinite where the heaviest tried still holds.
    """

    holds: float
    breaks: float
    probes: int


def saturation(holds: Callable[[float], bool], guess: float, *, whole: bool = False) -> Bracket:
    """Return the largest load for which `holds`, within TOLERANCE; loads are counts when `whole`.

    `holds` must not hold again above a load where it breaks; `guess` > 0 is where to look first.
    """
    search = _Search(holds, whole)
    load = search.rounded(guess)
    good = search.holds(load)
    for _ in range(MOST_DOUBLINGS):
        if search.low > 0 and search.high < float("inf"):
            break
        load = search.rounded(load * 2 if good else load / 2)
        if load in (search.low, search.high):
            break
        search.holds(load)
    while search.low > 0 and search.high < float("inf") and not search.done:
        search.holds(search.rounded(sqrt(search.low * search.high)))
    return Bracket(holds=search.low, breaks=search.high, probes=search.probes)


class _Search:
    """What is known so far: `low` holds, `high` breaks."""

    def __init__(self, holds: Callable[[float], bool], whole: bool) -> None:
        self._holds, self._whole = holds, whole
        self.low, self.high, self.probes = 0.0, float("inf"), 0

    def rounded(self, load: float) -> float:
        """Return the load as it is offered: counts are whole and at least one."""
        return float(max(1, round(load))) if self._whole else load

    def holds(self, load: float) -> bool:
        """Try a load and remember the answer."""
        self.probes += 1
        good = self._holds(load)
        if good:
            self.low = max(self.low, load)
        else:
            self.high = min(self.high, load)
        return good

    @property
    def done(self) -> bool:
        """Whether nothing is left between what holds and what breaks."""
        return self.high / self.low <= 1 + TOLERANCE or (self._whole and self.high - self.low <= 1)
