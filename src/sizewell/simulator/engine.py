"""The event loop: requests come, replicas act, and between two events nothing happens."""

from __future__ import annotations

from math import inf

from sizewell.simulator.agenda import next_time_s, set_off, start_closed_loop, take_next
from sizewell.simulator.replica import halt, rouse, wake
from sizewell.simulator.router import choose_engine, note_load
from sizewell.simulator.samples import observe
from sizewell.simulator.state import NONE, REFUSED, World, engine_of
from sizewell.simulator.tournament import winner
from sizewell.simulator.waiting import enqueue

DONE, MORE = range(2)


def play(world: World) -> int:
    """Play on; return DONE when nothing is left to happen before the horizon, MORE when there is."""
    start_closed_loop(world)
    for _ in range(world.clock[0].events):
        if log_is_full(world) or world.clock[0].lost:
            return MORE
        time_s = next_event_s(world)
        if time_s == inf or time_s > world.clock[0].horizon_s:
            return DONE
        replica = happen(world, time_s)
        if replica != NONE:
            see_off(world, replica)
    return MORE


def log_is_full(world: World) -> bool:
    """Return whether the log might not hold what one more event writes."""
    rules, clock = world.rules[0], world.clock[0]
    room = 4 * rules.max_num_seqs * rules.ranks * rules.depth + 64
    return bool(rules.logged and clock.logged + room > len(world.log))


def next_event_s(world: World) -> float:
    """Return when something happens next."""
    return float(min(next_time_s(world), world.soonest[1].value))


def happen(world: World, time_s: float) -> int:
    """Let the next event happen; return the replica that acted, NONE if a request came."""
    world.clock[0].now_s = time_s
    # A scheduler that acts at the very time a request comes sees it.
    if next_time_s(world) <= time_s:
        come(world, take_next(world))
        observe(world)
        return NONE
    replica = winner(world.soonest)
    wake(world, replica)
    observe(world)
    return replica


def see_off(world: World, replica: int) -> None:
    """Note what follows the requests that have just ended on a replica."""
    ranks = world.rules[0].ranks
    for engine in range(replica * ranks, (replica + 1) * ranks):
        for place in range(world.states[engine].ended):
            request = world.ended[engine, place]
            discharge(world, request)
            set_off(world, request, world.clock[0].now_s)
        world.states[engine].ended = 0


def discharge(world: World, request: int) -> None:
    """Take an ended request off the books of its engine."""
    sequence = world.sequences[request]
    state = world.states[sequence.engine]
    state.outstanding -= 1
    state.outstanding_tokens -= sequence.input_tokens + sequence.output_tokens
    note_load(world, sequence.engine // world.rules[0].ranks, 0)


def stop(world: World) -> None:
    """Bring everything to the horizon."""
    world.clock[0].now_s = world.clock[0].horizon_s
    for replica in range(len(world.states) // world.rules[0].ranks):
        halt(world, replica)


def come(world: World, request: int) -> None:
    """Let a request reach the engine it is routed to; one that can never be served is refused."""
    now_s, sequence = world.clock[0].now_s, world.sequences[request]
    sequence.scheduled_s = sequence.sent_s = now_s - world.clock[0].request_s
    if not world.requests[request].admissible:
        sequence.place = REFUSED
        set_off(world, request, now_s)
        return
    chosen = choose_engine(world, request)
    sequence.engine = chosen
    state = world.states[chosen]
    state.outstanding += 1
    state.outstanding_tokens += sequence.input_tokens + sequence.output_tokens
    replica = chosen // world.rules[0].ranks
    note_load(world, replica, 1)
    enqueue(engine_of(world, chosen), request)
    rouse(world, replica)
