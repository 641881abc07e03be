"""Two pools: one computes prompts, the other decodes; the cache of a prompt travels between them over a network.

A request first is a sequence of the prefill pool, which ends when its prompt is computed. Then its cache is moved, and
it comes to the decode pool, which computes the prompt's last token again and generates from there, as vLLM does.
Blocks of the prefill pool are free again when the prompt is computed, before the transfer has ended.
"""

from __future__ import annotations

from math import inf

from sizewell.simulator.agenda import add_due, set_off, start_closed_loop
from sizewell.simulator.engine import DONE, EVENTS_PER_CALL, MORE, discharge, happen, log_is_full, next_event_s, stop
from sizewell.simulator.state import NONE, Pair


def play_pair(pair: Pair) -> int:
    """Play on in both pools; return DONE when nothing is left to happen before the horizon, MORE when there is."""
    start_closed_loop(pair.prefill)
    horizon_s = pair.prefill.clock[0].horizon_s
    for _ in range(EVENTS_PER_CALL):
        if log_is_full(pair.prefill) or log_is_full(pair.decode):
            return MORE
        first_s, second_s = next_event_s(pair.prefill), next_event_s(pair.decode)
        time_s = min(first_s, second_s)
        if time_s == inf or time_s > horizon_s:
            return DONE
        if first_s <= second_s:
            replica = happen(pair.prefill, time_s)
            if replica != NONE:
                _hand_over(pair, replica)
        else:
            replica = happen(pair.decode, time_s)
            if replica != NONE:
                _see_off(pair, replica)
    return MORE


def stop_pair(pair: Pair) -> None:
    """Bring everything to the horizon."""
    stop(pair.prefill)
    stop(pair.decode)


def _hand_over(pair: Pair, replica: int) -> None:
    """Send the cache of the prompts just computed to the decode pool."""
    world, rules = pair.prefill, pair.prefill.rules[0]
    for engine in range(replica * rules.ranks, (replica + 1) * rules.ranks):
        for place in range(world.states[engine].ended):
            request = world.ended[engine, place]
            discharge(world, request)
            tokens = world.sequences[request].input_tokens
            arrival_s = world.clock[0].now_s + rules.transfer_s + rules.transfer_token_s * tokens
            add_due(pair.decode, request, arrival_s)
        world.states[engine].ended = 0


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
