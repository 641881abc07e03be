"""Two pools: one computes prompts, the other decodes; the cache of a prompt travels between them over a network.

A request first is a sequence of the prefill pool, which ends when its prompt is computed and keeps its seat and its
blocks. It then waits in the decode pool until that has blocks for it; then its cache is fetched (`network`), the
prefill pool gets its own blocks back, and the decode pool computes the prompt's last token again and generates from
there, as vLLM does.
"""

from __future__ import annotations

from math import inf

from sizewell.simulator.agenda import add_due, next_time_s, set_off, start_closed_loop, take_next
from sizewell.simulator.cache import free_sequence
from sizewell.simulator.engine import (
    DONE,
    MORE,
    come,
    discharge,
    happen,
    log_is_full,
    next_event_s,
    stop,
)  # fmt: skip
from sizewell.simulator.network import arrival_s
from sizewell.simulator.replica import rouse
from sizewell.simulator.state import NONE, OPEN, Pair, engine_of


def play_pair(pair: Pair) -> int:
    """Play on in both pools; return DONE when nothing is left to happen before the horizon, MORE when there is."""
    start_closed_loop(pair.prefill)
    horizon_s = pair.prefill.clock[0].horizon_s
    for _ in range(pair.prefill.clock[0].events):
        if log_is_full(pair.prefill) or log_is_full(pair.decode):
            return MORE
        if pair.prefill.clock[0].lost or pair.decode.clock[0].lost:
            return MORE
        first_s, second_s = next_event_s(pair.prefill), next_event_s(pair.decode)
        time_s = min(first_s, second_s)
        if time_s == inf or time_s > horizon_s:
            return DONE
        pair.prefill.clock[0].now_s = pair.decode.clock[0].now_s = time_s
        if first_s <= second_s:
            replica = happen(pair.prefill, time_s)
            if replica != NONE:
                _hand_over(pair, replica)
        elif next_time_s(pair.decode) <= time_s:
            _arrive(pair, take_next(pair.decode))
        else:
            replica = happen(pair.decode, time_s)
            _fetch(pair, replica)
            _see_off(pair, replica)
    return MORE


def stop_pair(pair: Pair) -> None:
    """Bring everything to the horizon."""
    stop(pair.prefill)
    stop(pair.decode)


def _hand_over(pair: Pair, replica: int) -> None:
    """Let the prompts just computed wait for room in the decode pool."""
    world, ranks = pair.prefill, pair.prefill.rules[0].ranks
    for engine in range(replica * ranks, (replica + 1) * ranks):
        for place in range(world.states[engine].ended):
            request = world.ended[engine, place]
            discharge(world, request)
            come(pair.decode, request)
        world.states[engine].ended = 0


def _fetch(pair: Pair, replica: int) -> None:
    """Send for the caches of the prompts that have just been given blocks."""
    world, ranks = pair.decode, pair.decode.rules[0].ranks
    for engine in range(replica * ranks, (replica + 1) * ranks):
        for place in range(world.states[engine].asked):
            request = world.asked[engine, place]
            add_due(world, request, arrival_s(pair, request))
        world.states[engine].asked = 0


def _arrive(pair: Pair, request: int) -> None:
    """Let a prompt run whose cache has come, and give back what it held where it was computed."""
    world, engine = pair.decode, pair.decode.sequences[request].engine
    state = world.states[engine]
    world.moved[engine, state.moved] = request
    state.moved += 1
    state.blocked = OPEN
    rouse(world, engine // world.rules[0].ranks)
    sender = pair.prefill.sequences[request].engine
    free_sequence(engine_of(pair.prefill, sender), request)
    pair.prefill.states[sender].blocked = OPEN
    if pair.prefill.states[sender].waiting > 0:
        rouse(pair.prefill, sender // pair.prefill.rules[0].ranks)


def _see_off(pair: Pair, replica: int) -> None:
    """Note in the prefill pool what follows the requests that have just ended."""
    world = pair.decode
    ranks, now_s = world.rules[0].ranks, world.clock[0].now_s
    for engine in range(replica * ranks, (replica + 1) * ranks):
        for place in range(world.states[engine].ended):
            request = world.ended[engine, place]
            discharge(world, request)
            set_off(pair.prefill, request, now_s)
        world.states[engine].ended = 0
