"""Requests that will come at a known time: those the trace lists, and those set off by the end of others."""

from __future__ import annotations

from math import inf

from sizewell.simulator.state import World


def next_time_s(world: World) -> float:
    """Return when the next request comes."""
    clock = world.clock[0]
    time_s = inf
    if not clock.closed and clock.next_starter < len(world.starters):
        time_s = world.requests[world.starters[clock.next_starter]].arrival_s
    if clock.due > 0:
        time_s = min(time_s, world.agenda[0].time_s)
    return time_s


def take_next(world: World) -> int:
    """Take the request that comes next; of two at one time the one that was known first."""
    clock = world.clock[0]
    if clock.due > 0 and world.agenda[0].time_s <= _starter_s(world):
        return _pop(world)
    clock.next_starter += 1
    return int(world.starters[clock.next_starter - 1])


def start_closed_loop(world: World) -> None:
    """Send the first requests of a closed loop, one for each user."""
    for _ in range(world.clock[0].users):
        _next_starter_at(world, world.clock[0].request_s)
    world.clock[0].users = 0


def set_off(world: World, ended: int, now_s: float) -> None:
    """Note what follows the end of a request: later turns of its session, or the next request of a closed loop."""
    clock = world.clock[0]
    first, last = world.follower_start[ended], world.follower_start[ended + 1]
    for place in range(first, last):
        request = world.followers[place]
        add_due(world, request, now_s + world.requests[request].arrival_s)
    if clock.closed and first == last:
        _next_starter_at(world, now_s + clock.think_s)


def add_due(world: World, request: int, time_s: float) -> None:
    """Let a request come at a time."""
    clock, agenda = world.clock[0], world.agenda
    at = clock.due
    clock.due += 1
    clock.order += 1
    while at > 0 and time_s < agenda[(at - 1) // 2].time_s:
        _move(world, (at - 1) // 2, at)
        at = (at - 1) // 2
    agenda[at].time_s, agenda[at].order, agenda[at].request = time_s, clock.order, request


def _starter_s(world: World) -> float:
    clock = world.clock[0]
    if clock.closed or clock.next_starter == len(world.starters):
        return inf
    return float(world.requests[world.starters[clock.next_starter]].arrival_s)


def _next_starter_at(world: World, time_s: float) -> None:
    """Let the next one come at a time, or later where it is not there by then."""
    clock = world.clock[0]
    if clock.next_starter < len(world.starters):
        starter = world.starters[clock.next_starter]
        add_due(world, starter, max(time_s, world.requests[starter].arrival_s))
        clock.next_starter += 1


def _pop(world: World) -> int:
    clock, agenda = world.clock[0], world.agenda
    taken = int(agenda[0].request)
    clock.due -= 1
    last, at = clock.due, 0
    while 2 * at + 1 < last:
        below = 2 * at + 1
        if below + 1 < last and _sooner(world, below + 1, below):
            below += 1
        if not _sooner(world, below, last):
            break
        _move(world, below, at)
        at = below
    _move(world, last, at)
    return taken


def _sooner(world: World, one: int, other: int) -> bool:
    first, second = world.agenda[one], world.agenda[other]
    return bool(first.time_s < second.time_s or (first.time_s == second.time_s and first.order < second.order))


def _move(world: World, source: int, target: int) -> None:
    moved, place = world.agenda[source], world.agenda[target]
    place.time_s, place.order, place.request = moved.time_s, moved.order, moved.request
