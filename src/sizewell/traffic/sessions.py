"""Who speaks when: sessions of one or more turns as rows, and the contents each turn's prompt quotes."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from sizewell.traffic.arrivals import AT_ONCE, Pause
from sizewell.traffic.bounds import require
from sizewell.traffic.lengths import Fixed, Lengths
from sizewell.traffic.requests import MOST_TOKENS, NONE, Floats, Ints

ONE = Fixed(1)
"""One turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Conversations: a later turn's prompt is the one before it, its answer, and new text; it comes after a pause.

    `later_text`: new text of turns after the first; None = as the first. `keep_thinking`: whether think tokens stay
    in the history; chat templates drop them. `most_context_tokens`: a conversation ends before the turn whose prompt
    and output would be longer; its first turn is sent all the same.
    """

    turns: Lengths = ONE
    pause: Pause = AT_ONCE
    later_text: Lengths | None = None
    keep_thinking: bool = False
    most_context_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.most_context_tokens is not None:
            require("the longest context of a session", self.most_context_tokens, low=1, high=MOST_TOKENS)


SINGLE = Sessions()
"""Every request by itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Which session and turn each of n rows is; the turns of a session are neighbours.

    `session`, `turn` [n]; `first_row`, `last_row` [sessions].
    """

    session: Ints
    turn: Ints
    first_row: Ints
    last_row: Ints

    @classmethod
    def of(cls, turns: Ints) -> Rows:
        """Return the rows of sessions with so many turns each."""
        ends = np.cumsum(turns)
        first = ends - turns
        session = np.repeat(np.arange(len(turns)), turns)
        return cls(
            session=session, turn=np.arange(len(session)) - first[session], first_row=first, last_row=ends - 1
        )  # fmt: skip

    @property
    def is_last(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Where a row is the last turn of its session [n]."""
        last = np.zeros(len(self.session), dtype=np.bool_)
        last[self.last_row] = True
        return last

    def dealt(self, users: int) -> Ints:
        """Return whose each session is [sessions]: of who has the fewest turns so far, so that all end together."""
        turns = self.last_row - self.first_row + 1
        if (turns == turns[0]).all():
            return np.arange(len(turns)) % users
        said = [(0, user) for user in range(users)]
        owner = np.empty(len(turns), dtype=np.int64)
        for session, more in enumerate(turns):
            before, user = said[0]
            owner[session] = user
            heapreplace(said, (before + int(more), user))
        return owner

    def waits_for(self, owner: Ints | None) -> Ints:
        """Return the row each one waits for [n]: its turn before; of somebody's sessions also the one before."""
        after = np.where(self.turn > 0, np.arange(len(self.turn)) - 1, NONE)
        if owner is not None:
            order = np.argsort(owner, kind="stable")
            follows = np.flatnonzero(owner[order][1:] == owner[order][:-1]) + 1
            after[self.first_row[order[follows]]] = self.last_row[order[follows - 1]]
        return after

    def times(self, starts: Floats, pause: Pause, rng: np.random.Generator) -> Floats:
        """Return each row's arrival or delay [n]: the starts of sessions, pauses between turns."""
        times = np.empty(len(self.turn))
        times[self.first_row] = starts
        later = self.turn > 0
        times[later] = pause.draw(int(later.sum()), rng)
        return times


def turn_counts(sessions: Sessions, requests: int, rng: np.random.Generator) -> Ints:
    """Return the turns of each session, at least one; together they are exactly `requests`, the last one cut short."""
    count = int(requests / max(1.0, sessions.turns.mean_tokens)) + 1
    while True:
        turns = np.maximum(1, sessions.turns.draw(count, rng))
        ends = np.cumsum(turns)
        if ends[-1] >= requests:
            break
        count += count // 10 + 1
    last = int(np.searchsorted(ends, requests))
    turns = turns[: last + 1]
    turns[-1] -= ends[last] - requests
    return turns


def turns_within(rows: Rows, said: Ints, context: Ints, most: int) -> Ints:
    """Return how many turns of each session, at least one, come before its context is longer than `most`.

    `said` [n]: tokens a turn leaves in the history; `context` [n]: tokens of a turn besides that history.
    """
    before = np.cumsum(said) - said
    history = before - before[rows.first_row][rows.session]
    turns = rows.last_row - rows.first_row + 1
    first_too_long = np.where(history + context > most, rows.turn, turns[rows.session])
    return np.maximum(1, np.minimum.reduceat(first_too_long, rows.first_row))


def texts(sessions: Sessions, rows: Rows, first: Ints, rng: np.random.Generator) -> Ints:
    """Return the new text of each row [n], where `first` [n] was drawn as if every turn were a first one."""
    if sessions.later_text is None:
        return first
    later = rows.turn > 0
    text = first.copy()
    text[later] = sessions.later_text.draw(int(later.sum()), rng)
    return text
