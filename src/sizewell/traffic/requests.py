"""The requests we offer, as arrays: when each comes, how long it is, and which tokens of its prompt others share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sizewell.specs.errors import BadInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NONE = -1
"""No request to wait for; no name for a content."""

TOGETHER_S = 1e-3
"""Seconds between requests that a client sends as fast as it writes, at most."""

MOST_TOKENS = 10_000_000
"""Tokens of one request beyond which a number is a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """Offered requests, n rows. Rows that wait for nobody come in order of arrival; `after` names an earlier row.

    `arrival_s` [n]: seconds from the start; where `after` >= 0, the delay after that request has ended,
    well or not.
    `input_tokens`, `think_tokens`, `answer_tokens` [n]: the output is think, then answer; at least one token each way.
    `priority` [n]: lower first. `session` [n]: requests of one conversation or user share it.

    `segment_start` [n+1], `segment_id`, `segment_tokens`: row i's prompt begins with the contents
    `segment_id[segment_start[i]:segment_start[i + 1]]`, of so many tokens each. Equal ids at equal places are equal
    tokens (a shorter one is the beginning of a longer one); the rest of the prompt is the request's own and unique.
    `think_id`, `output_id` [n]: names by which later prompts may quote this request's think and answer tokens, or −1.
    A later prompt that leaves out thinking quotes an answer that stood elsewhere when it was generated.

    `concurrency`: a closed loop, at most so many requests in flight: `think_s` after one ends, the next unsent row
    goes, though not before its arrival. None: rows are sent when `arrival_s` and `after` say.
    `users`: a closed loop of so many people, told by `after`. None: rows that wait for nobody come of themselves.
    Raises BadInputError where rows contradict this.
    """

    arrival_s: Floats
    after: Ints
    input_tokens: Ints
    think_tokens: Ints
    answer_tokens: Ints
    priority: Ints
    session: Ints
    segment_start: Ints
    segment_id: Ints
    segment_tokens: Ints
    think_id: Ints
    output_id: Ints
    concurrency: int | None = None
    think_s: float = 0.0
    users: int | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_times(self)
        _check_tokens(self)
        _check_segments(self)

    @classmethod
    def of(
        cls,
        arrival_s: Any,
        input_tokens: Any,
        answer_tokens: Any,
        think_tokens: Any = 0,
        concurrency: int | None = None,
    ) -> Requests:
        """Return independent requests that share nothing; each argument one number for all, or [n]."""
        columns = np.broadcast_arrays(*map(np.atleast_1d, (arrival_s, input_tokens, answer_tokens, think_tokens)))
        arrival, into, answer, think = columns
        count = len(arrival)
        empty = np.empty(0, dtype=np.int64)
        return cls(
            arrival_s=arrival.astype(np.float64), after=np.full(count, NONE), input_tokens=_whole("input", into),
            think_tokens=_whole("think", think), answer_tokens=_whole("answer", answer),
            priority=np.zeros(count, dtype=np.int64), session=np.arange(count),
            segment_start=np.zeros(count + 1, dtype=np.int64), segment_id=empty, segment_tokens=empty,
            think_id=np.full(count, NONE), output_id=np.full(count, NONE), concurrency=concurrency,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def output_tokens(self) -> Ints:
        """Tokens to generate [n]: think and answer together."""
        return self.think_tokens + self.answer_tokens

    @property
    def shared_tokens(self) -> Ints:
        """Tokens of each prompt that segments name [n]."""
        total = np.concatenate(([0], np.cumsum(self.segment_tokens)))
        shared: Ints = total[self.segment_start[1:]] - total[self.segment_start[:-1]]
        return shared

    @property
    def in_flight(self) -> int | None:
        """Requests at a time, at most, of a closed loop; None: an open one, to which more may always come."""
        return self.concurrency if self.concurrency is not None else self.users

    def whole_until_s(self, sent_s: Floats) -> float:
        """Return when the first of a closed loop's people has asked all they would; infinity without any.

        `sent_s` [n] is when each request went, NaN for never; a person asks what comes after their first request.
        """
        if self.users is None:
            return inf
        rows = np.arange(len(self))
        first = np.where(self.after == NONE, rows, self.after)
        while ((earlier := first[first]) != first).any():
            first = earlier
        last = np.full(len(self), -inf)
        np.maximum.at(last, first, np.where(np.isfinite(sent_s), sent_s, inf))
        return float(last[first == rows].min(initial=inf))

    @property
    def keep_step(self) -> bool:
        """Whether several begin together and then ask for the same again and again: they end together, too."""
        several = self.in_flight or 0
        alike = ((each == each[0]).all() for each in (self.input_tokens, self.output_tokens))
        return 1 < several < len(self) and bool(np.ptp(self.arrival_s[:several]) < several * TOGETHER_S) and all(alike)

    def first(self, count: int) -> Requests:
        """Return the first `count` rows: whole in themselves, because a row only ever waits for an earlier one."""
        kept = self.segment_start[: count + 1]
        rows = {name: getattr(self, name)[:count] for name in PER_ROW}
        cut = slice(0, int(kept[-1]))
        return replace(
            self, **rows, segment_start=kept, segment_id=self.segment_id[cut], segment_tokens=self.segment_tokens[cut]
        )


PER_ROW = (
    "arrival_s", "after", "input_tokens", "think_tokens", "answer_tokens", "priority", "session", "think_id",
    "output_id",
)  # fmt: skip
"""Names of the arrays with one value for each request."""


def _whole(name: str, values: NDArray[Any]) -> Ints:
    """Return counts as integers; NaN and fractions are no token counts."""
    odd = ~(np.isfinite(values) & (values == np.floor(values)))
    if odd.any():
        row = int(odd.argmax())
        raise BadInputError(f"request {row}: {values[row]} {name} tokens: give a whole number")
    whole: Ints = np.clip(values, -MOST_TOKENS - 1, MOST_TOKENS + 1).astype(np.int64)
    return whole


def _check_shapes(these: Requests) -> None:
    count = len(these.arrival_s)
    for name in PER_ROW:
        if getattr(these, name).shape != (count,):
            raise BadInputError(
                f"{name} has shape {getattr(these, name).shape}: give one value for each of {count} rows"
            )
    if these.concurrency is not None and these.concurrency < 1:
        raise BadInputError(f"concurrency is {these.concurrency}: at least one request must be in flight")
    if not 0 <= these.think_s <= 1e9:
        raise BadInputError(f"the pause between requests is {these.think_s:g} s: give 0 or more")


def _check_times(these: Requests) -> None:
    _refuse(
        ~(np.isfinite(these.arrival_s) & (these.arrival_s >= 0)), these.arrival_s, "arrives at {} s: give 0 or more"
    )
    rows = np.arange(len(these))
    _refuse(
        (these.after < NONE) | (these.after >= rows), these.after, "waits for request {}: name an earlier row, or -1"
    )
    free = these.after == NONE
    late = np.zeros(len(these), dtype=np.bool_)
    late[rows[free][1:]] = np.diff(these.arrival_s[free]) < 0
    _refuse(late, these.arrival_s, "arrives at {} s, before the one above it: sort by arrival")


def _check_tokens(these: Requests) -> None:
    for name in ("input", "think", "answer"):
        tokens = getattr(these, f"{name}_tokens")
        least = 1 if name == "input" else 0
        bad = (tokens < least) | (tokens > MOST_TOKENS)
        _refuse(bad, tokens, f"has {{}} {name} tokens: give {least} to {MOST_TOKENS}")
    output = these.output_tokens
    _refuse(output < 1, output, "generates {} tokens: give at least 1")


def _check_segments(these: Requests) -> None:
    start = these.segment_start
    count = len(these.segment_id)
    whole = start.shape == (len(these) + 1,) and len(these.segment_tokens) == count
    if not whole or start[0] != 0 or start[-1] != count or (np.diff(start) < 0).any():
        raise BadInputError("segment_start must rise from 0 to the number of segments, one step for each request")
    if (these.segment_tokens < 1).any():
        raise BadInputError("a segment of a prompt holds less than one token: leave it out")
    shared = these.shared_tokens
    _refuse(shared > these.input_tokens, shared, "names {} tokens of its prompt, more than the prompt has")


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], complaint: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise BadInputError(f"request {row} " + complaint.format(values[row]))
