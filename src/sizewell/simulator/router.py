"""Which engine a request goes to: a replica by the fleet's rule, and of its data-parallel ranks the idlest."""

from __future__ import annotations

from sizewell.simulator.state import NONE, World
from sizewell.simulator.tournament import enter, turn_of, winner

ROUND_ROBIN, LEAST_REQUESTS, LEAST_TOKENS, SESSION, PREFIX = range(5)
FAR_AHEAD_REQUESTS, FAR_AHEAD = 32, 1.5
"""A replica with so many more requests, and so many times more, than the idlest gets none for affinity's sake."""
BITS = 62


def choose_engine(world: World, request: int) -> int:
    """Return the engine that gets a request."""
    ranks = world.rules[0].ranks
    replica = _choose_replica(world, request)
    found = replica * ranks
    for engine in range(found + 1, found + ranks):
        if world.states[engine].outstanding < world.states[found].outstanding:
            found = engine
    return int(found)


def _choose_replica(world: World, request: int) -> int:
    rules, replicas = world.rules[0], len(world.states) // world.rules[0].ranks
    if replicas == 1:
        return 0
    if rules.router == ROUND_ROBIN:
        turn = world.clock[0].turn
        world.clock[0].turn = (turn + 1) % replicas
        return int(turn)
    if rules.router == SESSION:
        return int(world.requests[request].session % replicas)
    least = winner(world.idlest)
    if rules.router != PREFIX:
        return least
    home = _home(world, request, least)
    load, lowest = _load(world, home), _load(world, least)
    if load > lowest + FAR_AHEAD_REQUESTS and load > FAR_AHEAD * lowest:
        home = least
    _remember(world, request, home)
    return home


def _home(world: World, request: int, least: int) -> int:
    """Return the idlest of the replicas that were sent the longest beginning of a prompt, if that is half of it, or
    the idlest of all.
    """
    place, known_tokens, holders = world.segment_start[request], 0, -1
    prompt_tokens = world.sequences[request].input_tokens
    while place < world.segment_start[request + 1] and known_tokens < prompt_tokens:
        content = world.segment_id[place]
        home = world.homes[content % len(world.homes)]
        if home.content != content or home.replicas & holders == 0:
            break
        holders = home.replicas & holders
        known_tokens += world.segment_tokens[place]
        place += 1
    if 2 * known_tokens < prompt_tokens:
        return least
    found = NONE
    for replica in range(len(world.states) // world.rules[0].ranks):
        if holders & _bit(replica) != 0 and (found == NONE or _load(world, replica) < _load(world, found)):
            found = replica
    return int(found)


def _remember(world: World, request: int, replica: int) -> None:
    """Note that a replica is sent a prompt."""
    place, tokens = world.segment_start[request], 0
    while place < world.segment_start[request + 1] and tokens < world.sequences[request].input_tokens:
        content = world.segment_id[place]
        home = world.homes[content % len(world.homes)]
        if home.content != content:
            home.content, home.replicas = content, 0
        home.replicas = home.replicas | _bit(replica)
        tokens += world.segment_tokens[place]
        place += 1


def _bit(replica: int) -> int:
    """Return what stands for a replica; those of large fleets share."""
    return 1 << replica % BITS


def note_load(world: World, replica: int, given: int) -> None:
    """Keep a replica's load for the routers that ask for it, after it was `given` so many requests.

    Of replicas with equal loads the one gets the next request whose last one lies longest ago.
    """
    if len(world.idlest) == 2 or world.rules[0].router in (ROUND_ROBIN, SESSION):
        return
    turn = turn_of(world.idlest, replica)
    if given > 0:
        world.clock[0].turn += given
        turn = world.clock[0].turn
    enter(world.idlest, replica, float(_load(world, replica)), turn)


def _load(world: World, replica: int) -> int:
    """Return a replica's outstanding requests, or tokens where the router counts those."""
    ranks, total = world.rules[0].ranks, 0
    for engine in range(replica * ranks, (replica + 1) * ranks):
        state = world.states[engine]
        if world.rules[0].router == LEAST_TOKENS:
            total += state.outstanding_tokens
        else:
            total += state.outstanding
    return total
