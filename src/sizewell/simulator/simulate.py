"""Plays offered requests through a replica, and says what happened to each: the room's front door."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from sizewell.simulator import engine
from sizewell.simulator.compiled import twin_of
from sizewell.simulator.facts import ReplicaFacts
from sizewell.simulator.log import WORDS
from sizewell.simulator.state import ENDED, NONE, REFUSED, Records, World
from sizewell.simulator.world import make_world
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED, UNFINISHED, GapCounts, Run

LOG_LINES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One decision of a scheduler: `what` is step, scheduled, admitted, preempted or finished.

    `step` counts the steps formed before it; `tokens` are those scheduled, found in the cache, lost or generated;
    `free_blocks` of the pool after it. For `step`, `request` is the number of sequences and `tokens` their sum.
    """

    step: int
    engine: int
    time_s: float
    what: str
    request: int
    tokens: int
    free_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A simulated run, and the scheduler's decisions where they were asked for."""

    run: Run
    log: tuple[LogLine, ...] = ()
    steps: int = 0


def simulate(facts: ReplicaFacts, requests: Requests, *, horizon_s: float = inf, compiled: bool = True) -> Run:
    """Return what happens to requests served by one replica, until all have ended or `horizon_s` is reached.

    What is not served by then is UNFINISHED; what can never be served is REJECTED. `compiled` False runs the same
    functions as plain Python.
    """
    return play(facts, requests, horizon_s=horizon_s, compiled=compiled).run


def play(
    facts: ReplicaFacts, requests: Requests, *, horizon_s: float = inf, compiled: bool = True, log: bool = False
) -> Played:
    """Return the run with the scheduler's log."""
    world = make_world(facts, requests, 1, horizon_s, _log_capacity(facts) if log else 0)
    lines = _run_through(world, compiled)
    return Played(run=_run(world, requests), log=tuple(lines), steps=int(world.states.steps.sum()))


def _run_through(world: World, fast: bool) -> list[LogLine]:
    lines: list[LogLine] = []
    go, stop = (twin_of(engine.play), twin_of(engine.stop)) if fast else (engine.play, engine.stop)
    clock = world.clock[0]
    more = True
    while more:
        more = go(world) == engine.MORE
        lines += [_line(line) for line in world.log[: clock.logged]]
        clock.logged = 0
    if np.isfinite(clock.horizon_s):
        stop(world)
    return lines


def _log_capacity(facts: ReplicaFacts) -> int:
    return LOG_LINES + 8 * facts.max_num_seqs * facts.ranks * facts.depth


def _line(line: Records) -> LogLine:
    return LogLine(
        step=int(line.step), engine=int(line.engine), time_s=float(line.time_s), what=WORDS[line.what],
        request=int(line.request), tokens=int(line.tokens), free_blocks=int(line.free),
    )  # fmt: skip


def _run(world: World, requests: Requests) -> Run:
    sequences = world.sequences
    status = np.full(len(requests), UNFINISHED, dtype=np.int8)
    status[sequences.place == ENDED] = OK
    status[sequences.place == REFUSED] = REJECTED
    # What was never sent was due when the simulation ended, at the earliest.
    never = np.isnan(sequences.scheduled_s)
    counted = world.gaps.count > 0
    gaps = world.gaps[counted]
    return Run(
        scheduled_s=np.where(never, world.clock[0].now_s, sequences.scheduled_s),
        sent_s=sequences.sent_s.copy(),
        first_token_s=sequences.first_s.copy(),
        first_answer_s=sequences.first_answer_s.copy(),
        last_token_s=sequences.last_s.copy(),
        input_tokens=requests.input_tokens,
        think_tokens=np.minimum(requests.think_tokens, sequences.generated),
        output_tokens=sequences.generated.copy(),
        cached_tokens=np.maximum(sequences.cached, 0),
        preemptions=sequences.preemptions.copy(),
        replica=np.where(sequences.engine == NONE, NONE, sequences.engine).astype(np.int64),
        status=status,
        gaps=GapCounts(gap_s=gaps.total_s / gaps["count"], count=gaps["count"].copy()),
        origin="simulated",
    )
