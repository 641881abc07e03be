"""A simulation that is fed as it goes: requests come when somebody sends them, time moves when the caller says so.

The scheduler, the blocks and the seconds of a step are those of `simulate`; only rows of the request table are lent,
and taken back when a sequence has ended. Every step is formed, none jumped over, so that each token has its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sizewell.simulator import engine
from sizewell.simulator.agenda import add_due
from sizewell.simulator.cache import free_sequence
from sizewell.simulator.compiled import CodeStore, Twin
from sizewell.simulator.engine import discharge
from sizewell.simulator.facts import Fleet
from sizewell.simulator.state import ENDED, NONE, OPEN, RUNNING, UNSENT, WAITING, World, engine_of
from sizewell.simulator.vllm import take_from_running
from sizewell.simulator.waiting import withdraw
from sizewell.simulator.world import make_world
from sizewell.traffic.requests import Floats, Ints, Requests

MOST_REQUESTS = 16_384
SEGMENTS = 192
"""Named pieces of one request; what lies behind them only the request itself can name."""
ENDLESS = 2**60
NAMED = 2**40
"""Block from which content is private: never, because the last segment has no end."""


class Coming(NamedTuple):
    """A request that reaches the scheduler at a time."""

    world: World
    request: int
    time_s: float


class Going(NamedTuple):
    """A request nobody waits for any more."""

    world: World
    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: its tokens, the names of what it holds piece by piece (id, tokens), and its conversation."""

    input_tokens: int
    think_tokens: int
    answer_tokens: int
    segments: tuple[tuple[int, int], ...] = ()
    session: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landed:
    """What came since it was last asked, one entry for each request that gained tokens [k].

    `before` tokens were known already; the last of the new ones came at `time_s`, and `since_s` is when the last known
    one did, or the first of the new ones where none was known.
    """

    request: Ints
    before: Ints
    gained: Ints
    time_s: Floats
    since_s: Floats
    ended: NDArray[np.bool_]

    @property
    def gaps(self) -> Ints:
        """Gaps between tokens from `since_s` to `time_s` [k]."""
        gaps: Ints = self.gained - (self.before == 0)
        return gaps

    @property
    def gap_s(self) -> Floats:
        """Mean of those gaps [k]; 0 where there is none."""
        mean: Floats = (self.time_s - self.since_s) / np.maximum(self.gaps, 1)
        return mean

    @property
    def oldest_s(self) -> Floats:
        """When the first of the new tokens came [k], as if they came evenly."""
        oldest: Floats = np.where(self.before == 0, self.since_s, self.since_s + self.gap_s)
        return oldest


class Live:
    """A fleet that serves whoever comes. Times are simulated seconds and never go back.

    At most `most` requests are in flight at once, waiting ones among them.
    """

    def __init__(
        self, fleet: Fleet, most: int = MOST_REQUESTS, *, compiled: bool = True, store: CodeStore | None = None
    ) -> None:
        facts = replace(fleet.replica, jumps=False)
        self.fleet = replace(fleet, replica=facts)
        self.world = _empty_world(self.fleet, most)
        self._play: Callable[[], int] = partial(engine.play, self.world)
        self._come: Callable[[Coming], int] = come_at
        self._go: Callable[[Going], int] = give_up
        if compiled:
            self._play = Twin(engine.play, store).on(self.world)
            self._come, self._go = Twin(come_at, store), Twin(give_up, store)
        self._blank = self.world.sequences[:1].copy()
        self._free = list(range(most - 1, -1, -1))
        self._active = np.zeros(most, dtype=np.bool_)
        self._seen, self._since_s = np.zeros(most, dtype=np.int64), np.full(most, np.nan)
        self._gone: list[int] = []
        self._unwanted: list[int] = []
        self._serial = 0

    @property
    def next_s(self) -> float:
        """When something happens next; infinity where nothing will unless a request comes."""
        clock = self.world.clock[0]
        due_s = self.world.agenda[0].time_s if clock.due > 0 else inf
        return float(min(due_s, self.world.states.wake_s[:: self.world.rules[0].ranks].min()))

    @property
    def now_s(self) -> float:
        """When something last happened."""
        return float(self.world.clock[0].now_s)

    def offer(self, asked: Asked, now_s: float) -> int | None:
        """Let a request come now and return its number; None where none is free or it can never be served."""
        facts = self.fleet.replica
        output = asked.think_tokens + asked.answer_tokens
        if not self._free or not facts.can_serve(np.array([asked.input_tokens]), np.array([output]))[0]:
            return None
        request = self._free.pop()
        self._write(request, asked)
        self._active[request], self._seen[request], self._since_s[request] = True, 0, np.nan
        self._come(Coming(self.world, request, now_s + facts.request_s))
        return request

    def cancel(self, request: int) -> None:
        """Take a request out of its engine: its blocks and its seat are free from the next step on.

        One that has ended, or was taken out before, stays as it is.
        """
        if not self._active[request]:
            return
        self._active[request] = False
        if self.world.sequences[request].place == UNSENT:
            self._unwanted.append(request)
            return
        self._go(Going(self.world, request))
        self._gone.append(request)

    def advance(self, now_s: float) -> Landed:
        """Play until `now_s` and return what came of it."""
        self.world.clock[0].horizon_s = now_s
        while self._play() == engine.MORE:
            pass
        landed = self._landed()
        self._gone += landed.request[landed.ended].tolist()
        self._active[landed.request[landed.ended]] = False
        self._take_back()
        return landed

    def _write(self, request: int, asked: Asked) -> None:
        sequences, requests = self.world.sequences, self.world.requests
        sequences[request] = self._blank[0]
        sequences.input_tokens[request] = asked.input_tokens
        sequences.think_tokens[request] = asked.think_tokens
        sequences.output_tokens[request] = asked.think_tokens + asked.answer_tokens
        requests.session[request], requests.priority[request] = asked.session, asked.priority
        first = request * SEGMENTS
        self._serial += 1
        named = asked.segments[: SEGMENTS - 1]
        names = [*(name for name, _ in named), -self._serial]
        self.world.segment_id[first : first + len(names)] = names
        self.world.segment_tokens[first : first + len(names)] = [*(tokens for _, tokens in named), ENDLESS]

    def _landed(self) -> Landed:
        sequences, rows = self.world.sequences, np.flatnonzero(self._active)
        rows = rows[sequences.generated[rows] > self._seen[rows]]
        before, time_s = self._seen[rows], sequences.last_s[rows]
        since_s = np.where(before == 0, sequences.first_s[rows], self._since_s[rows])
        generated = sequences.generated[rows]
        self._seen[rows], self._since_s[rows] = generated, time_s
        return Landed(
            request=rows, before=before, gained=generated - before, time_s=time_s, since_s=since_s,
            ended=sequences.place[rows] == ENDED,
        )  # fmt: skip

    def _take_back(self) -> None:
        """Lend rows again that no batch in flight mentions any more."""
        sequences = self.world.sequences
        for request in [each for each in self._unwanted if sequences[each].place != UNSENT]:
            self._unwanted.remove(request)
            self._go(Going(self.world, request))
            self._gone.append(request)
        if self._gone:
            gone = np.array(self._gone)
            idle = (sequences.in_flight[gone] == 0) & (sequences.place[gone] >= ENDED)
            self._free += gone[idle].tolist()
            self._gone = gone[~idle].tolist()


def come_at(given: Coming) -> int:
    """Let a request come at a time."""
    add_due(given.world, given.request, given.time_s)
    return 0


def give_up(given: Going) -> int:
    """Take a sequence out of its engine, wherever it is; batches in flight that hold it compute it for nothing."""
    world, request = given.world, given.request
    sequence = world.sequences[request]
    if sequence.place not in (WAITING, RUNNING):
        return 0
    held = engine_of(world, sequence.engine)
    state = held.state[0]
    if sequence.place == WAITING:
        withdraw(held, request)
        # SGLang may know of more requests than still wait.
        state.heard = min(state.heard, state.waiting)
    else:
        if held.running[state.running - 1] == request:
            state.amid = 0
        take_from_running(held, request)
        free_sequence(held, request)
        state.full = 0
    state.blocked = OPEN
    sequence.place = ENDED
    discharge(world, request)
    return 0


def _empty_world(fleet: Fleet, most: int) -> World:
    """Return a world whose requests are all still to be written, each with room for its segments."""
    longest = np.full(most, fleet.replica.max_model_len_tokens - 1)
    world = make_world(fleet, Requests.of(0.0, longest, 1))
    sequences: Any = world.sequences
    sequences.cached, sequences.engine, sequences.slot = NONE, NONE, NONE
    world.requests.private_from, world.requests.admissible = NAMED, 1
    return world._replace(
        starters=np.empty(0, dtype=np.int64),
        segment_start=np.arange(most + 1) * SEGMENTS,
        segment_id=np.zeros(most * SEGMENTS, dtype=np.int64),
        segment_tokens=np.zeros(most * SEGMENTS, dtype=np.int64),
    )
