"""Plays offered requests through a replica, and says what happened to each: the room's front door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sizewell.simulator import disaggregated, engine
from sizewell.simulator.compiled import CodeStore, Twin
from sizewell.simulator.facts import Disaggregated, Fleet, ReplicaFacts
from sizewell.simulator.log import WORDS
from sizewell.simulator.state import ENDED, NONE, REFUSED, Pair, Records, World
from sizewell.simulator.world import make_pair, make_world, only_counted
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED, UNFINISHED, GapCounts, Handovers, Run, Timeline
from sizewell.traffic.underway import Underway

LOG_LINES = 1 << 16
ASKED = 2
"""Requests offered for each event after which `settled` is asked again: about eight times in all."""

MOST_PREEMPTIONS = 10_000
"""Preemptions of one sequence after which it never ends: each time all of it is computed again."""


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
class NetworkUse:
    """What a network between two pools carried: `prompts` of `blocks` in all, after `waited_s` each in line, for
    `travelled_s` each on the way; its busiest line carried something for `busiest_fraction` of the time.
    """

    name: str
    prompts: int
    blocks: int
    waited_s: float
    travelled_s: float
    busiest_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A simulated run, and the scheduler's decisions where they were asked for."""

    run: Run
    log: tuple[LogLine, ...] = ()
    steps: int = 0
    network: NetworkUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to play: until `horizon_s`; `compiled` False runs the same functions as plain Python; with a `log` every
    step is formed and written down, none jumped over; `store` keeps compiled code for the next process. `followed`
    tells blocks apart even where it decides nothing. `watch` is told now and then how many requests have ended, from
    the start if all is played again; what it raises ends the simulation. `settled` is asked more often, of replicas
    that are not split into pools: once it says yes, what has not ended stays UNFINISHED.
    """

    horizon_s: float = inf
    compiled: bool = True
    log: bool = False
    followed: bool = False
    store: CodeStore | None = None
    watch: Callable[[int], None] | None = None
    settled: Callable[[Underway], bool] | None = None


Served = ReplicaFacts | Fleet | Disaggregated
Silent = NDArray[np.bool_] | None
"""Requests whose gaps are not counted, because they will not be served."""


def simulate(facts: Served, requests: Requests, options: Options = Options()) -> Run:
    """Return what happens to requests until all have ended or the horizon is reached.

    What is not served by then is UNFINISHED; what can never be served is REJECTED.
    """
    return play(facts, requests, options).run


def play(facts: Served, requests: Requests, options: Options = Options()) -> Played:
    """Return the run with the scheduler's log; of two pools the prefill pool's lines come first.

    Blocks are first only counted where that may be enough; if it was not, everything is played again. So it is where
    requests with tokens were not served in the end: the gaps between those are none of the run's.
    """
    played = _played(facts, requests, options, None)
    unserved = (played.run.status == UNFINISHED) & (played.run.output_tokens > 1)
    if options.settled is not None or not unserved.any():
        return played
    gaps = _played(facts, requests, replace(options, log=False, watch=None), unserved).run.gaps
    return replace(played, run=replace(played.run, gaps=gaps))


def _played(facts: Served, requests: Requests, options: Options, silent: Silent) -> Played:
    try:
        return _play(facts, requests, options, silent)
    except _LostError:
        return _play(facts, requests, replace(options, followed=True), silent)


class _LostError(Exception):
    """A sequence lost blocks that it will look for, and nobody knows which they were."""


def _play(facts: Served, requests: Requests, options: Options, silent: Silent) -> Played:
    if isinstance(facts, Disaggregated):
        return _play_pools(facts, requests, options, silent)
    world = _world(facts if isinstance(facts, Fleet) else Fleet(replica=facts), requests, options)
    _silence(world, silent)
    if options.settled is not None:
        world.clock.events = max(len(requests) // ASKED, 1)
    lines = _run_through(world, (world,), (engine.play, engine.stop), options)
    return Played(run=_run(world, requests), log=tuple(lines), steps=int(world.states.steps.sum()))


def _silence(world: World, silent: Silent) -> None:
    """Leave the gaps of some requests uncounted."""
    if silent is not None:
        world.requests.silent[silent] = 1
        world.rules.silences = 1


def _play_pools(facts: Disaggregated, requests: Requests, options: Options, silent: Silent) -> Played:
    alone = replace(requests, after=np.full(len(requests), NONE), concurrency=None, arrival_s=np.zeros(len(requests)))
    first_token = replace(requests, think_tokens=0 * requests.think_tokens, answer_tokens=0 * requests.think_tokens + 1)
    prefill, decode = _world(facts.prefill, first_token, options), _world(facts.decode, alone, options)
    _silence(decode, silent)
    # What the decode pool could never serve is not computed either.
    prefill.requests.admissible &= decode.requests.admissible
    pair = make_pair(prefill, decode, facts.network)
    lines = _run_through(pair, (pair.prefill, pair.decode), (disaggregated.play_pair, disaggregated.stop_pair), options)
    steps = int(prefill.states.steps.sum() + decode.states.steps.sum())
    use = _network_use(facts.network.name, pair)
    return Played(run=_joined(pair, requests), log=tuple(lines), steps=steps, network=use)


def _network_use(name: str, pair: Pair) -> NetworkUse:
    carried, span_s = pair.network[0], max(float(pair.decode.clock[0].now_s), 1e-300)
    prompts = max(int(carried.prompts), 1)
    busiest_s = max(pair.senders.busy_s.max(), pair.receivers.busy_s.max())
    return NetworkUse(
        name=name, prompts=int(carried.prompts), blocks=int(carried.blocks), waited_s=carried.waited_s / prompts,
        travelled_s=carried.travelled_s / prompts, busiest_fraction=min(busiest_s / span_s, 1.0),
    )  # fmt: skip


def _world(fleet: Fleet, requests: Requests, options: Options) -> World:
    if options.log:
        fleet = replace(fleet, replica=replace(fleet.replica, jumps=False))
    lines = _log_capacity(fleet.replica) if options.log else 0
    counted = not options.followed and only_counted(fleet.replica, requests)
    return make_world(fleet, requests, options.horizon_s, lines, counted=counted)


def _run_through(
    state: Any,
    worlds: tuple[World, ...],
    functions: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    options: Options,
) -> list[LogLine]:
    """Play to the end; between calls the caller may be interrupted, and the log is emptied."""
    lines: list[list[LogLine]] = [[] for _ in worlds]
    go, stop = functions
    forth = Twin(go, options.store).on(state) if options.compiled else partial(go, state)
    more = True
    while more:
        more = forth() == engine.MORE and not _settled(worlds, options) and not _livelocked(worlds)
        if any(world.clock[0].lost for world in worlds):
            raise _LostError
        for world, kept in zip(worlds, lines, strict=True):
            kept += [_line(line) for line in world.log[: world.clock[0].logged]]
            world.clock[0].logged = 0
        if options.watch is not None:
            options.watch(int((worlds[-1].sequences.place >= ENDED).sum()))
    if options.horizon_s < inf:
        _ = Twin(stop, options.store)(state) if options.compiled else stop(state)
    return [line for kept in lines for line in kept]


def _livelocked(worlds: tuple[World, ...]) -> bool:
    """Return whether a sequence is preempted over and over: what no cache holds to its end stays unfinished."""
    return any((world.sequences.preemptions > MOST_PREEMPTIONS).any() for world in worlds)


def _settled(worlds: tuple[World, ...], options: Options) -> bool:
    """Return whether nothing more needs to be known."""
    if options.settled is None or len(worlds) > 1:
        return False
    sequences = worlds[0].sequences
    return options.settled(
        Underway(
            now_s=float(worlds[0].clock[0].now_s),
            ended=sequences.place == ENDED,
            scheduled_s=sequences.scheduled_s,
            first_token_s=sequences.first_s,
            last_token_s=sequences.last_s,
            output_tokens=sequences.output_tokens,
        )
    )


def _log_capacity(facts: ReplicaFacts) -> int:
    return LOG_LINES + 8 * facts.max_num_seqs * facts.ranks * facts.depth


def _line(line: Records) -> LogLine:
    return LogLine(
        step=int(line.step), engine=int(line.engine), time_s=float(line.time_s), what=WORDS[line.what],
        request=int(line.request), tokens=int(line.tokens), free_blocks=int(line.free),
    )  # fmt: skip


def _joined(pair: Pair, requests: Requests) -> Run:
    """Return the run of two pools: requests come to the first, tokens from the second."""
    first, second = _run(pair.prefill, requests), _run(pair.decode, requests)
    refused = first.status == REJECTED
    return replace(
        second, scheduled_s=first.scheduled_s, sent_s=first.sent_s, cached_tokens=first.cached_tokens,
        preemptions=first.preemptions + second.preemptions,
        status=np.where(refused, first.status, second.status).astype(np.int8), handovers=_handovers(pair, first),
    )  # fmt: skip


def _handovers(pair: Pair, first: Run) -> Handovers:
    """Return what the run of the prefill pool and the moves of caches say; what lies behind the horizon never came."""
    times = {name: pair.moves[name].copy() for name in ("asked_s", "left_s", "came_s")}
    for values in times.values():
        values[values > pair.decode.clock[0].now_s] = np.nan
    return Handovers(
        prefill_replica=first.replica, computed_s=first.first_token_s, **times, timeline=_timeline(pair.prefill)
    )


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
        timeline=_timeline(world),
        whole_until_s=requests.whole_until_s(sequences.sent_s),
    )


def _timeline(world: World) -> Timeline:
    seen = world.samples[: world.clock[0].sampled]
    usable = len(world.states) * int(world.rules[0].usable_blocks)
    return Timeline(
        time_s=seen.time_s.copy(),
        running=seen.running.copy(),
        waiting=seen.waiting.copy(),
        kv_used_fraction=1.0 - seen.free / usable,
        preemptions=np.diff(seen.preemptions, prepend=0),
        tokens=np.diff(seen.tokens, prepend=0),
    )
