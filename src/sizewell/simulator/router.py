"""Which engine a request goes to."""

from __future__ import annotations

from sizewell.simulator.state import World

ROUND_ROBIN, LEAST_REQUESTS, LEAST_TOKENS, SESSION, PREFIX = range(5)


def choose_engine(world: World, request: int) -> int:
    """Return the engine (a rank of a replica) that gets a request."""
    if len(world.states) == 1:
        return 0
    rule = world.rules[0].router
    if rule == ROUND_ROBIN:
        turn = world.clock[0].turn
        world.clock[0].turn = (turn + 1) % len(world.states)
        return int(turn)
    if rule == SESSION:
        return int(world.requests[request].session % len(world.states))
    return _least(world, rule)


def _least(world: World, rule: int) -> int:
    found = 0
    for engine in range(1, len(world.states)):
        one, other = world.states[engine], world.states[found]
        load, least = one.outstanding, other.outstanding
        if rule == LEAST_TOKENS:
            load, least = one.outstanding_tokens, other.outstanding_tokens
        if load < least:
            found = engine
    return found
