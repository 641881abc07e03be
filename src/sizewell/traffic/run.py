"""What happened to the requests, simulated or measured alike: raw times only; `score` computes from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Floats, Ints

Origin = Literal["simulated", "measured"]

OK, REJECTED, UNFINISHED, FAILED = range(4)
STATUS_NAMES = ("ok", "rejected", "unfinished", "failed")
"""Word of each status: served; refused before any token; still in flight or waiting at the end; broken off."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GapCounts:
    """Times between successive tokens of one request, pooled over the served ones: each value with how many had it.

    `gap_s` float64 [k], in any order and perhaps repeated; `count` int64 [k], above zero.
    """

    gap_s: Floats
    count: Ints

    def __post_init__(self) -> None:
        if self.gap_s.shape != self.count.shape or self.gap_s.ndim != 1:
            raise BadInputError(f"{self.gap_s.shape} gaps with {self.count.shape} counts: give one count for each gap")
        if not (np.isfinite(self.gap_s) & (self.gap_s >= 0) & (self.count > 0)).all():
            raise BadInputError("a gap between tokens is negative or not a number, or counted less than once")

    @classmethod
    def of(cls, gaps_s: Floats) -> GapCounts:
        """Return the counts of single gaps [m]."""
        values, counts = np.unique(np.asarray(gaps_s, dtype=np.float64), return_counts=True)
        return cls(gap_s=values, count=counts.astype(np.int64))

    @classmethod
    def none(cls) -> GapCounts:
        """Return the gaps of a run that recorded none."""
        return cls(gap_s=np.empty(0), count=np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """The state of the engine, sampled at steps: [m] each; `preemptions` and `tokens` since the sample before."""

    time_s: Floats
    running: Ints
    waiting: Ints
    kv_used_fraction: Floats
    preemptions: Ints
    tokens: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Handovers:
    """How prompts [n] came from the pool that computes them to the one that decodes; a time that never came is NaN.

    `prefill_replica`: −1 where none took it. `computed_s`: the prompt is computed; `asked_s`: a decode replica has a
    seat and blocks for it; `left_s`: its cache sets off; `came_s`: it has come, and the prefill replica forgets it.
    `timeline`: of the prefill pool, whose tokens are prompts computed.
    """

    prefill_replica: Ints
    computed_s: Floats
    asked_s: Floats
    left_s: Floats
    came_s: Floats
    timeline: Timeline

    def rows(self, which: slice | NDArray[np.bool_]) -> Handovers:
        """Return some of the requests; the timeline stays that of all."""
        return replace(self, **{name: getattr(self, name)[which] for name in HANDOVER_COLUMNS})

    def moving(self, at_s: Floats) -> Ints:
        """Return how many caches are sent for and have not come at some times [m]."""
        asked, came = (np.sort(times[np.isfinite(times)]) for times in (self.asked_s, self.came_s))
        found: Ints = np.searchsorted(asked, at_s, side="right") - np.searchsorted(came, at_s, side="right")
        return found


HANDOVER_COLUMNS = ("prefill_replica", "computed_s", "asked_s", "left_s", "came_s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What happened to n requests, one row each; a time that never came is NaN.

    `scheduled_s`: when the request should go: in an open loop the time its arrivals say, in a closed loop and for a
    later turn the time it became free to go. `sent_s`: when it went. Latencies count from `scheduled_s`.
    `first_token_s`: first generated token of any kind; `first_answer_s`: first token after thinking; `last_token_s`.
    `think_tokens`, `output_tokens` (think and answer): as generated, so less than asked where a request broke off.
    `cached_tokens`: of the prompt, when it was first admitted. `replica`: −1 where none took it.
    `status` int8: OK, REJECTED, UNFINISHED, FAILED. `handovers`: of two pools, whose `replica` and `timeline` are those
    of the pool that decodes. `whole_until_s`: from then on people of a closed loop had nothing more to ask.
    Raises BadInputError where columns differ in length or a served request lacks a time.
    """

    scheduled_s: Floats
    sent_s: Floats
    first_token_s: Floats
    first_answer_s: Floats
    last_token_s: Floats
    input_tokens: Ints
    think_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    preemptions: Ints
    replica: Ints
    status: NDArray[np.int8]
    gaps: GapCounts
    origin: Origin
    timeline: Timeline | None = None
    handovers: Handovers | None = None
    whole_until_s: float = inf

    def __post_init__(self) -> None:
        count = len(self.scheduled_s)
        for name in RUN_COLUMNS:
            if getattr(self, name).shape != (count,):
                raise BadInputError(
                    f"{name} has shape {getattr(self, name).shape}: give one for each of {count} requests"
                )
        if ((self.status < OK) | (self.status > FAILED)).any():
            raise BadInputError(f"a status is none of {', '.join(STATUS_NAMES)}")
        if not np.isfinite(self.scheduled_s).all():
            raise BadInputError("a request has no scheduled time: leave out what was never to be sent")
        self._check_served()

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def served(self) -> NDArray[np.bool_]:
        """Where the request was answered whole [n]."""
        ok: NDArray[np.bool_] = self.status == OK
        return ok

    def rows(self, begin: int, end: int) -> Run:
        """Return some of the requests, warm-up left out; gaps between tokens stay those of all."""
        return self._where(slice(begin, end))

    def due(self) -> Run:
        """Return the run without the requests that never went, because it ended before they were due."""
        went = np.isfinite(self.sent_s)
        if went.all():
            return self
        return self._where(went)

    def _where(self, which: slice | NDArray[np.bool_]) -> Run:
        moved = self.handovers.rows(which) if self.handovers else None
        return replace(self, **{name: getattr(self, name)[which] for name in RUN_COLUMNS}, handovers=moved)

    def _check_served(self) -> None:
        served = self.served
        ordered = (self.scheduled_s <= self.first_token_s) & (self.first_token_s <= self.last_token_s)
        bad = served & ~(ordered & (self.output_tokens >= 1))
        if bad.any():
            row = int(bad.argmax())
            raise BadInputError(
                f"request {row} counts as served with first token at {self.first_token_s[row]} s, last at "
                f"{self.last_token_s[row]} s, {self.output_tokens[row]} tokens, due at {self.scheduled_s[row]} s"
            )


RUN_COLUMNS = (
    "scheduled_s", "sent_s", "first_token_s", "first_answer_s", "last_token_s", "input_tokens", "think_tokens",
    "output_tokens", "cached_tokens", "preemptions", "replica", "status",
)  # fmt: skip
"""Names of the columns of a run, in the order they are written to files."""
