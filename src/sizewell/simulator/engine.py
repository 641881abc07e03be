"""The event loop: requests come, replicas act, and between two events nothing happens."""

from __future__ import annotations

from math import inf

from sizewell.simulator.agenda import next_time_s, set_off, start_closed_loop, take_next
from sizewell.simulator.replica import halt, rouse, wake
from sizewell.simulator.router import choose_engine
from sizewell.simulator.state import REFUSED, World, engine_of
from sizewell.simulator.waiting import enqueue

DONE, MORE = range(2)
EVENTS_PER_CALL = 20_000
"""Events after which the caller gets a chance to stop."""


def play(world: World) -> int:
    """Play on; return DONE when nothing is left to happen before the horizon, MORE when there is."""
    clock, rules = world.clock[0], world.rules[0]
    start_closed_loop(world)
    room = 4 * rules.max_num_seqs * rules.ranks * rules.depth + 64
    for _ in range(EVENTS_PER_CALL):
        if rules.logged and clock.logged + room > len(world.log):
            return MORE
        replica = _earliest(world)
        coming_s, wake_s = next_time_s(world), world.states[replica * rules.ranks].wake_s
        time_s = min(coming_s, wake_s)
        if time_s == inf or time_s > clock.horizon_s:
            return DONE
        clock.now_s = time_s
        # A scheduler that acts at the very time a request comes sees it.
        if coming_s <= wake_s:
            _come(world, take_next(world))
        else:
            wake(world, replica)
            _follow_up(world, replica)
    return MORE


def stop(world: World) -> None:
    """Bring everything to the horizon."""
    world.clock[0].now_s = world.clock[0].horizon_s
    for replica in range(len(world.states) // world.rules[0].ranks):
        halt(world, replica)


def _earliest(world: World) -> int:
    """Return the replica that acts next."""
    ranks, found = world.rules[0].ranks, 0
    for replica in range(1, len(world.states) // ranks):
        if world.states[replica * ranks].wake_s < world.states[found * ranks].wake_s:
            found = replica
    return found


def _come(world: World, request: int) -> None:
    """Let a request reach the engine it is routed to; one that can never be served is refused."""
    now_s, sequence = world.clock[0].now_s, world.sequences[request]
    sequence.scheduled_s = sequence.sent_s = now_s
    if not world.requests[request].admissible:
        sequence.place = REFUSED
        set_off(world, request, now_s)
        return
    chosen = choose_engine(world, request)
    sequence.engine = chosen
    state = world.states[chosen]
    state.outstanding += 1
    state.outstanding_tokens += sequence.input_tokens + sequence.output_tokens
    enqueue(engine_of(world, chosen), request)
    rouse(world, chosen // world.rules[0].ranks)


def _follow_up(world: World, replica: int) -> None:
    """See off the requests that have just ended."""
    ranks = world.rules[0].ranks
    for engine in range(replica * ranks, (replica + 1) * ranks):
        state = world.states[engine]
        for place in range(state.ended):
            request = world.ended[engine, place]
            state.outstanding -= 1
            state.outstanding_tokens -= world.sequences[request].input_tokens + world.sequences[request].output_tokens
            set_off(world, request, world.clock[0].now_s)
        state.ended = 0
