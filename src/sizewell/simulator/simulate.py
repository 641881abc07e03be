"""Plays offered requests through a replica, and says what happened to each: the room's front door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from sizewell.simulator import disaggregated, engine
from sizewell.simulator.compiled import CodeStore, Twin
from sizewell.simulator.facts import Disaggregated, Fleet, ReplicaFacts
from sizewell.simulator.log import WORDS
from sizewell.simulator.state import ENDED, NONE, REFUSED, Pair, Records, World
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to play: until `horizon_s`; `compiled` False runs the same functions as plain Python; with a `log` every
    step is formed and written down, none jumped over; `store` keeps compiled code for the next process.
    """

    horizon_s: float = inf
    compiled: bool = True
    log: bool = False
    store: CodeStore | None = None


Served = ReplicaFacts | Fleet | Disaggregated


def simulate(facts: Served, requests: Requests, options: Options = Options()) -> Run:
    """Return what happens to requests until all have ended or the horizon is reached.

    What is not served by then is UNFINISHED; what can never be served is REJECTED.
    """
    return play(facts, requests, options).run


def play(facts: Served, requests: Requests, options: Options = Options()) -> Played:
    """Return the run with the scheduler's log; of two pools the prefill pool's lines come first."""
    if isinstance(facts, Disaggregated):
        return _play_pools(facts, requests, options)
    world = _world(facts if isinstance(facts, Fleet) else Fleet(replica=facts), requests, options)
    lines = _run_through(world, (world,), (engine.play, engine.stop), options)
    return Played(run=_run(world, requests), log=tuple(lines), steps=int(world.states.steps.sum()))


def _play_pools(facts: Disaggregated, requests: Requests, options: Options) -> Played:
    alone = replace(requests, after=np.full(len(requests), NONE), concurrency=None, arrival_s=np.zeros(len(requests)))
    first_token = replace(requests, think_tokens=0 * requests.think_tokens, answer_tokens=0 * requests.think_tokens + 1)
    prefill, decode = _world(facts.prefill, first_token, options), _world(facts.decode, alone, options)
    prefill.rules.transfer_s, prefill.rules.transfer_token_s = facts.transfer_s, facts.transfer_token_s
    decode.rules.takes_over = 1
    # What the decode pool could never serve is not computed either.
    prefill.requests.admissible &= decode.requests.admissible
    pair = Pair(prefill, decode._replace(starters=np.empty(0, dtype=np.int64)))
    lines = _run_through(pair, pair, (disaggregated.play_pair, disaggregated.stop_pair), options)
    steps = int(prefill.states.steps.sum() + decode.states.steps.sum())
    return Played(run=_joined(prefill, decode, requests), log=tuple(lines), steps=steps)


def _world(fleet: Fleet, requests: Requests, options: Options) -> World:
    if options.log:
        fleet = replace(fleet, replica=replace(fleet.replica, jumps=False))
    return make_world(fleet, requests, options.horizon_s, _log_capacity(fleet.replica) if options.log else 0)


def _run_through(
    state: Any,
    worlds: tuple[World, ...],
    functions: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    options: Options,
) -> list[LogLine]:
    """Play to the end; between calls the caller may be interrupted, and the log is emptied."""
    lines: list[list[LogLine]] = [[] for _ in worlds]
    go, stop = (Twin(each, options.store) if options.compiled else each for each in functions)
    more = True
    while more:
        more = go(state) == engine.MORE
        for world, kept in zip(worlds, lines, strict=True):
            kept += [_line(line) for line in world.log[: world.clock[0].logged]]
            world.clock[0].logged = 0
    if options.horizon_s < inf:
        stop(state)
    return [line for kept in lines for line in kept]


def _log_capacity(facts: ReplicaFacts) -> int:
    return LOG_LINES + 8 * facts.max_num_seqs * facts.ranks * facts.depth


def _line(line: Records) -> LogLine:
    return LogLine(
        step=int(line.step), engine=int(line.engine), time_s=float(line.time_s), what=WORDS[line.what],
        request=int(line.request), tokens=int(line.tokens), free_blocks=int(line.free),
    )  # fmt: skip


def _joined(prefill: World, decode: World, requests: Requests) -> Run:
    """Return the run of two pools: requests come to the first, tokens from the second."""
    first, second = _run(prefill, requests), _run(decode, requests)
    refused = first.status == REJECTED
    return replace(
        second, scheduled_s=first.scheduled_s, sent_s=first.sent_s, cached_tokens=first.cached_tokens,
        preemptions=first.preemptions + second.preemptions,
        status=np.where(refused, first.status, second.status).astype(np.int8),
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
        replica=np.where(sequences.engine == NONE, NONE, sequences.engine // world.rules[0].ranks).astype(np.int64),
        status=status,
        gaps=GapCounts(gap_s=gaps.total_s / gaps["count"], count=gaps["count"].copy()),
        origin="simulated",
    )
