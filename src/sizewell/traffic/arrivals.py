"""When requests come. A process of rate r offers n requests in n / r seconds exactly, not only on average."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.bounds import require
from sizewell.traffic.draws import even
from sizewell.traffic.profile import RateProfile
from sizewell.traffic.requests import Floats

WRITTEN_S = 6e-5
"""Seconds a client takes to write a request: `python bench/driver.py` and its like send 10,000 to 20,000 a second."""


class Arrivals(Protocol):
    """A process that starts sessions; a session of one turn is a request."""

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return the times [sessions], rising, at which sessions start that hold `requests` requests together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """How long a user reads and types between an answer and the next request."""

    mean_s: float = 0.0
    spread: Literal["fixed", "exponential"] = "fixed"

    def __post_init__(self) -> None:
        require("the mean pause in s", self.mean_s, low=0)

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Return `count` pauses."""
        if self.spread == "fixed" or self.mean_s == 0 or count == 0:
            return np.full(count, self.mean_s)
        free: Floats = -np.log1p(-even(count, rng))
        return free * (self.mean_s / float(np.mean(free)))


AT_ONCE = Pause()
"""No pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Independent gamma gaps. `burstiness` is their shape: 1 = Poisson, below 1 bunched, above 1 more even.

    The squared coefficient of variation of the gaps is 1 / burstiness.
    """

    rate_per_s: float
    burstiness: float = 1.0

    def __post_init__(self) -> None:
        require("request rate per s", self.rate_per_s, low=1e-6, high=1e6)
        require("burstiness", self.burstiness, low=1e-2, high=1e6)

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return the times at which sessions start."""
        times: Floats = _marks(sessions, requests, self.burstiness, rng) / self.rate_per_s
        return times

    def requests_within(self, duration_s: float) -> float:
        """Return how many requests come within a time."""
        return self.rate_per_s * duration_s


def poisson(rate_per_s: float) -> Gamma:
    """Return independent arrivals at a constant rate: exponential gaps."""
    return Gamma(rate_per_s=rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Equal gaps; the first request comes after one of them."""

    rate_per_s: float

    def __post_init__(self) -> None:
        require("request rate per s", self.rate_per_s, low=1e-6, high=1e6)

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return the times at which sessions start."""
        times: Floats = np.arange(1.0, sessions + 1.0) * (requests / max(1, sessions) / self.rate_per_s)
        return times

    def requests_within(self, duration_s: float) -> float:
        """Return how many requests come within a time."""
        return self.rate_per_s * duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Varying:
    """A rate that changes with time: a unit-rate gamma process on a clock that runs as fast as the rate.

    Exact, like thinning, but nothing is thrown away, so the count is met and burstiness stays what it was.
    A profile that repeats may be entered later than at its beginning: at `begin_s`, or, where less than a round is
    offered, so that the moment `middle_s` lies in its middle. Times count from there.
    """

    profile: RateProfile
    burstiness: float = 1.0
    begin_s: float = 0.0
    middle_s: float | None = None

    def __post_init__(self) -> None:
        require("burstiness", self.burstiness, low=1e-2, high=1e6)
        require("the time at which a profile is entered in s", self.begin_s, low=0, high=1e9)
        if (self.begin_s or self.middle_s is not None) and not self.profile.repeats:
            raise BadInputError("only a rate profile that repeats can be entered later than at its beginning")

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return the times at which sessions start; raises BadInputError where the profile ends at rate 0 too soon."""
        first = self._first_mark(requests)
        times = self.profile.times_of(np.append(first, first + _marks(sessions, requests, self.burstiness, rng)))
        since: Floats = times[1:] - times[0]
        return since

    def requests_within(self, duration_s: float) -> float:
        """Return how many requests come within a time."""
        begin_s, round_s = self.begin_s, self.profile.at_s[-1]
        if self.middle_s is not None and duration_s < round_s:
            begin_s = (self.middle_s - duration_s / 2) % round_s
        return self.profile.requests_until(begin_s + duration_s) - self.profile.requests_until(begin_s)

    def is_whole(self, requests: int) -> bool:
        """Return whether so many requests fill a round of the profile."""
        return requests >= self.profile.round_requests * (1 - 1e-9)

    def _first_mark(self, requests: int) -> float:
        """Return how many requests were due before those that are offered."""
        if self.middle_s is None or self.is_whole(requests):
            return self.profile.requests_until(self.begin_s)
        return (self.profile.requests_until(self.middle_s) - requests / 2) % self.profile.round_requests

    def at_rate(self, rate_per_s: float) -> Varying:
        """Return the process with every rate scaled so that the profile's mean is this one."""
        require("request rate per s", rate_per_s, low=1e-6, high=1e6)
        return replace(self, profile=self.profile.scaled(rate_per_s / self.profile.mean_per_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class AllAtOnce:
    """Everything at time zero: an offline batch."""

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return zeros."""
        return np.zeros(sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A closed loop: `concurrency` requests in flight; `pause_s` after one ends, the next goes.

    The first go as fast as a client writes, which is not at one moment: an engine computes the first of them before the
    others have come, and where requests are alike they keep to that.
    """

    concurrency: int
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        require("concurrency", self.concurrency, low=1)
        require("the pause of a closed loop in s", self.pause_s, low=0)

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return when a client is ready to send the first ones; for the later ones the loop decides."""
        return np.minimum(np.arange(sessions), self.concurrency - 1) * WRITTEN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """A closed loop of people: each waits for the answer, pauses, and starts the next session.

    Their first requests are spread evenly over `start_over_s`, or over the time a client needs to write them.
    """

    users: int
    pause: Pause = AT_ONCE
    start_over_s: float = 0.0

    def __post_init__(self) -> None:
        require("users", self.users, low=1)
        require("the time over which users start in s", self.start_over_s, low=0)

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return when the first sessions start, and after which pause the later ones follow."""
        times = self.pause.draw(sessions, rng)
        first = min(self.users, sessions)
        times[:first] = np.arange(first) * max(self.start_over_s / self.users, WRITTEN_S)
        return times


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Start times as recorded [m], rising; their rate is that of the gaps between the first and the last."""

    arrival_s: Floats

    def __post_init__(self) -> None:
        times = self.arrival_s
        if len(times) == 0 or not np.isfinite(times).all() or (np.diff(times, prepend=0.0) < 0).any():
            raise BadInputError("recorded times must be seconds that rise from 0: sort them, and drop what has no time")

    def starts(self, sessions: int, requests: int, rng: np.random.Generator) -> Floats:
        """Return the first of the recorded times; raises BadInputError when there are fewer."""
        if sessions > len(self.arrival_s):
            raise BadInputError(
                f"{sessions} sessions from {len(self.arrival_s)} recorded times: ask for fewer requests"
            )
        return self.arrival_s[:sessions]

    def at_rate(self, rate_per_s: float) -> Recorded:
        """Return the times stretched so that they have this rate; raises BadInputError where all are the same."""
        require("request rate per s", rate_per_s, low=1e-6, high=1e6)
        return Recorded(self.arrival_s * (mean_rate_per_s(self.arrival_s) / rate_per_s))


def mean_rate_per_s(arrival_s: Floats) -> float:
    """Return gaps over the time between the first and the last arrival; raises BadInputError where there is none."""
    span_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    if span_s <= 0:
        raise BadInputError(f"{len(arrival_s)} requests at one moment have no rate: say how they arrive")
    return (len(arrival_s) - 1) / span_s


def _marks(sessions: int, requests: int, burstiness: float, rng: np.random.Generator) -> Floats:
    """Return how many requests are due when each session starts [sessions]: gamma gaps that end at `requests`."""
    marks: Floats = np.cumsum(rng.standard_gamma(burstiness, sessions))
    return marks * (requests / marks[-1]) if sessions and marks[-1] > 0 else marks
