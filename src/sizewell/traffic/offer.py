"""Turns a description of traffic into requests: the same description and seed, the same requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import Arrivals, Constant, Gamma, Recorded, Users, Varying, Window, poisson
from sizewell.traffic.bounds import require
from sizewell.traffic.classes import Kind, RequestClass, Spoken
from sizewell.traffic.draws import allotted
from sizewell.traffic.lengths import Fixed
from sizewell.traffic.prefixes import SharedPrefix, draw_prefixes
from sizewell.traffic.requests import Ints, Requests
from sizewell.traffic.segments import Contents, prompts
from sizewell.traffic.sessions import SINGLE, Rows, Sessions, texts, turn_counts, turns_within
from sizewell.traffic.workload import Workload

MOST_REQUESTS = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What comes: when, of which kinds, in which sessions, behind which shared prefixes (outermost first).

    With sessions of several turns, rates count requests (turns), and `arrivals` time the first turn of each session.
    """

    arrivals: Arrivals
    classes: tuple[Kind, ...]
    prefixes: tuple[SharedPrefix, ...] = ()
    sessions: Sessions = SINGLE

    def __post_init__(self) -> None:
        if not any(kind.weight > 0 for kind in self.classes):
            raise BadInputError("traffic needs at least one class of requests with a weight above 0")


def offer(traffic: Traffic | Workload, requests: int, seed: int = 0) -> Requests:
    """Return so many requests of this traffic.

    When they come, how long they are, and what they share are drawn from separate generators: another rate with the
    same seed offers the same requests at other times. Raises BadInputError on counts out of range.
    """
    require("the number of requests", requests, low=1, high=MOST_REQUESTS)
    require("the seed", seed, low=0, high=2**63)
    if isinstance(traffic, Workload):
        traffic = traffic_of(traffic)
    when, what, shared = (np.random.default_rng([seed, stream]) for stream in range(3))
    drawn = _conversations(traffic, requests, what, shared)
    rows, spoken = drawn.rows, drawn.spoken
    starts = traffic.arrivals.starts(len(rows.first_row), requests, when)
    kept = _kept_think(traffic.sessions, spoken)
    contents = Contents(drawn.prefix_id, drawn.prefix_tokens, spoken.text, kept, spoken.answer)
    users = traffic.arrivals.users if isinstance(traffic.arrivals, Users) else None
    owner = None if users is None else rows.dealt(users)
    window = traffic.arrivals if isinstance(traffic.arrivals, Window) else None
    return Requests(
        arrival_s=rows.times(starts, traffic.sessions.pause, when),
        after=rows.waits_for(owner),
        think_tokens=spoken.think,
        answer_tokens=spoken.answer,
        priority=drawn.priority,
        session=rows.session if owner is None else owner[rows.session],
        concurrency=None if window is None else window.concurrency,
        think_s=0.0 if window is None else window.pause_s,
        users=users,
        **prompts(rows, contents)._asdict(),
    )


def requests_within(traffic: Traffic | Workload, duration_s: float) -> int:
    """Return how many requests an open loop offers in a time; raises BadInputError for a closed loop."""
    arrivals = traffic_of(traffic).arrivals if isinstance(traffic, Workload) else traffic.arrivals
    require("the duration in s", duration_s, low=1e-3, high=1e9)
    if not isinstance(arrivals, Gamma | Constant | Varying):
        raise BadInputError("a closed loop has no rate that a duration could count: say how many requests")
    return max(1, round(arrivals.requests_within(duration_s)))


def traffic_of(workload: Workload) -> Traffic:
    """Return the traffic a plain workload means: lengths fixed at its means, because it states no spread.

    A rate is a Poisson process; users are a closed loop that sends again at once. `growth` multiplies either.
    """
    own = RequestClass(
        text=Fixed(workload.input_tokens - workload.shared_prefix_tokens),
        think=Fixed(workload.think_tokens),
        answer=Fixed(workload.answer_tokens),
    )
    prefix = SharedPrefix(tokens=Fixed(workload.shared_prefix_tokens))
    if workload.rate_per_s is not None:
        arrivals: Arrivals = poisson(workload.rate_per_s * workload.growth)
    else:
        arrivals = Window(concurrency=max(1, round((workload.users or 1) * workload.growth)))
    return Traffic(arrivals=arrivals, classes=(own,), prefixes=(prefix,) if workload.shared_prefix_tokens >= 1 else ())


def at_rate(traffic: Traffic, rate_per_s: float) -> Traffic:
    """Return the same traffic at another mean rate, its shape in time kept; closed loops and batches become Poisson."""
    arrivals = traffic.arrivals
    if isinstance(arrivals, Gamma | Constant):
        return replace(traffic, arrivals=replace(arrivals, rate_per_s=rate_per_s))
    if isinstance(arrivals, Varying | Recorded):
        return replace(traffic, arrivals=arrivals.at_rate(rate_per_s))
    return replace(traffic, arrivals=poisson(rate_per_s))


def grown(traffic: Traffic, factor: float) -> Traffic:
    """Return the same traffic with `factor` times the rate or the users; a batch at one moment stays what it is."""
    require("growth", factor, low=0.01, high=1000)
    return replace(traffic, arrivals=_grown(traffic.arrivals, factor))


def _grown(arrivals: Arrivals, factor: float) -> Arrivals:
    if isinstance(arrivals, Gamma | Constant):
        return replace(arrivals, rate_per_s=arrivals.rate_per_s * factor)
    if isinstance(arrivals, Varying):
        return replace(arrivals, profile=arrivals.profile.scaled(factor))
    if isinstance(arrivals, Recorded):
        return Recorded(arrivals.arrival_s / factor)
    if isinstance(arrivals, Window):
        return replace(arrivals, concurrency=max(1, round(arrivals.concurrency * factor)))
    if isinstance(arrivals, Users):
        return replace(arrivals, users=max(1, round(arrivals.users * factor)))
    return arrivals


class _Drawn(NamedTuple):
    """Rows of sessions with their tokens and priority [n], and their shared beginnings [sessions, layers]."""

    rows: Rows
    spoken: Spoken
    priority: Ints
    prefix_id: Ints
    prefix_tokens: Ints

    def cut(self, turns: Ints, requests: int) -> _Drawn:
        """Return the first so many requests of sessions that end after so many turns."""
        stay = np.flatnonzero(self.rows.turn < turns[self.rows.session])[:requests]
        rows = Rows.of(np.bincount(self.rows.session[stay]))
        sessions = len(rows.first_row)
        spoken = Spoken(*(column[stay] for column in self.spoken))
        return _Drawn(rows, spoken, self.priority[stay], self.prefix_id[:sessions], self.prefix_tokens[:sessions])


def _conversations(traffic: Traffic, requests: int, what: np.random.Generator, shared: np.random.Generator) -> _Drawn:
    """Return exactly so many requests; where long conversations end early, more conversations make up for it."""
    most, asked = traffic.sessions.most_context_tokens, requests
    while True:
        rows = Rows.of(turn_counts(traffic.sessions, asked, shared))
        spoken, priority = _spoken(traffic, rows, what)
        drawn = _Drawn(rows, spoken, priority, *draw_prefixes(traffic.prefixes, len(rows.first_row), shared))
        if most is None:
            return drawn
        said = spoken.text + _kept_think(traffic.sessions, spoken) + spoken.answer
        own = drawn.prefix_tokens.sum(axis=1)[rows.session] + spoken.text + spoken.think + spoken.answer
        turns = turns_within(rows, said, own, most)
        sent = int(turns.sum())
        if sent >= requests:
            return drawn.cut(turns, requests)
        asked = int(1.02 * asked * requests / sent) + 1
        if asked > MOST_REQUESTS:
            raise BadInputError(f"conversations outgrow {most} tokens of context early on: give them fewer turns")


def _kept_think(sessions: Sessions, spoken: Spoken) -> Ints:
    return spoken.think if sessions.keep_thinking else np.zeros_like(spoken.think)


def _spoken(traffic: Traffic, rows: Rows, rng: np.random.Generator) -> tuple[Spoken, Ints]:
    """Return text, think and answer tokens of each row, and its priority; the class is the session's."""
    weights = np.array([kind.weight for kind in traffic.classes])
    kind_of = allotted(weights, len(rows.first_row), rng)[rows.session]
    count = len(kind_of)
    drawn = Spoken(*(np.zeros(count, dtype=np.int64) for _ in Spoken._fields))
    for number, kind in enumerate(traffic.classes):
        mine = np.flatnonzero(kind_of == number)
        for column, values in zip(drawn, kind.draw(len(mine), rng), strict=True):
            column[mine] = values
    priority = np.array([kind.priority for kind in traffic.classes], dtype=np.int64)[kind_of]
    return drawn._replace(text=texts(traffic.sessions, rows, drawn.text, rng)), priority
