"""Request rates that change with time: ramps, days, steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import cos, pi

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.bounds import require
from sizewell.traffic.requests import Floats

DAY_S = 86_400.0
_PIECES_OF_A_DAY = 288


@dataclass(frozen=True, slots=True, kw_only=True)
class RateProfile:
    """A rate given at some times and straight in between; afterwards it stays, or starts again if it `repeats`."""

    at_s: tuple[float, ...]
    rate_per_s: tuple[float, ...]
    repeats: bool = False

    def __post_init__(self) -> None:
        if len(self.at_s) != len(self.rate_per_s) or len(self.at_s) < 2:
            raise BadInputError(f"{len(self.at_s)} times with {len(self.rate_per_s)} rates: give at least two of each")
        if self.at_s[0] != 0 or any(b <= a for a, b in pairwise(self.at_s)):
            raise BadInputError(f"the times of a rate profile start at {self.at_s[0]:g}: they must rise from 0")
        require("the last time of a rate profile in s", self.at_s[-1], low=1e-6, high=1e9)
        for rate in self.rate_per_s:
            if rate != 0:
                require("a rate of the profile per s, where it is not 0,", rate, low=1e-6, high=1e6)
        if not any(self.rate_per_s):
            raise BadInputError("every rate of the profile is 0: nothing would ever arrive")

    @property
    def _due(self) -> Floats:
        """Requests due by each time."""
        rates, times = np.array(self.rate_per_s), np.array(self.at_s)
        return np.concatenate(([0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(times))))

    @property
    def round_requests(self) -> float:
        """Requests from the first to the last given time."""
        return float(self._due[-1])

    @property
    def mean_per_s(self) -> float:
        """Mean rate from the first to the last given time."""
        return self.round_requests / self.at_s[-1]

    def scaled(self, factor: float) -> RateProfile:
        """Return the profile with every rate times `factor`."""
        return replace(self, rate_per_s=tuple(rate * factor for rate in self.rate_per_s))

    def requests_until(self, time_s: float) -> float:
        """Return how many requests are due by a time: the integral of the rate."""
        due, end_s = self._due, self.at_s[-1]
        if not self.repeats and time_s > end_s:
            return float(due[-1] + (time_s - end_s) * self.rate_per_s[-1])
        rounds, rest_s = divmod(time_s, end_s) if self.repeats else (0.0, time_s)
        piece = min(int(np.searchsorted(self.at_s, rest_s, side="right")) - 1, len(due) - 2)
        into_s = rest_s - self.at_s[piece]
        start = self.rate_per_s[piece]
        slope = (self.rate_per_s[piece + 1] - start) / (self.at_s[piece + 1] - self.at_s[piece])
        return float(rounds * due[-1] + due[piece] + start * into_s + slope / 2 * into_s**2)

    def times_of(self, marks: Floats) -> Floats:
        """Return when `marks` requests are due [n]: the inverse of the integral, piece by piece a square root.

        Raises BadInputError where that many never come.
        """
        due, times, rates = self._due, np.array(self.at_s), np.array(self.rate_per_s)
        rounds, rest = np.divmod(marks, due[-1]) if self.repeats else (np.zeros_like(marks), marks)
        beyond = np.maximum(rest - due[-1], 0.0)
        if rates[-1] == 0 and (beyond > 1e-9 * due[-1]).any():
            raise BadInputError(f"the rate falls to 0 after {due[-1]:.0f} requests: ask for fewer, or let it repeat")
        inside = np.minimum(rest, due[-1])
        piece = np.clip(np.searchsorted(due, inside, side="left") - 1, 0, len(due) - 2)
        missing = inside - due[piece]
        slope = (np.diff(rates) / np.diff(times))[piece]
        start = rates[piece]
        speed = start + np.sqrt(np.maximum(start**2 + 2 * slope * missing, 0.0))
        into_s = np.divide(2 * missing, speed, out=np.zeros_like(missing), where=speed > 0)
        after_s = np.divide(beyond, rates[-1], out=np.zeros_like(beyond), where=beyond > 0)
        found: Floats = rounds * times[-1] + np.minimum(times[piece] + into_s, times[piece + 1]) + after_s
        return np.maximum.accumulate(found)


def ramp(from_per_s: float, to_per_s: float, over_s: float) -> RateProfile:
    """Return a rate that goes straight from one value to another and stays there."""
    return RateProfile(at_s=(0.0, over_s), rate_per_s=(from_per_s, to_per_s))


def diurnal(
    mean_per_s: float, peak_over_mean: float, peak_at_s: float = DAY_S / 2, day_s: float = DAY_S
) -> RateProfile:
    """Return a cosine day: the mean rate, times `peak_over_mean` (1 to 2) at the peak, as far below half a day on."""
    require("the peak over the mean rate", peak_over_mean, low=1, high=2)
    require("the length of a day in s", day_s, low=1)
    times = tuple(day_s * piece / _PIECES_OF_A_DAY for piece in range(_PIECES_OF_A_DAY + 1))
    swing = peak_over_mean - 1
    rates = tuple(max(0.0, mean_per_s * (1 + swing * cos(2 * pi * (time - peak_at_s) / day_s))) for time in times)
    return RateProfile(at_s=times, rate_per_s=rates, repeats=True)
