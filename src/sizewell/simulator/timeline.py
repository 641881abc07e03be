"""The state of all engines over time, in a fixed number of samples: when they are used up, every other one goes."""

from __future__ import annotations

from sizewell.simulator.state import World


def sample(world: World) -> None:
    """Write down how things stand, unless the last sample is too recent."""
    clock, lines = world.clock[0], world.timeline
    if len(lines) == 0 or clock.now_s < clock.sample_s:
        return
    if clock.samples == len(lines):
        _thin_out(world)
    line = lines[clock.samples]
    line.time_s, line.tokens = clock.now_s, clock.tokens
    line.running = line.waiting = line.free = line.preemptions = 0
    for engine in range(len(world.states)):
        state = world.states[engine]
        line.running += state.running
        line.waiting += state.waiting
        line.free += state.free
        line.preemptions += state.preemptions
    clock.samples += 1
    clock.sample_s = clock.now_s + clock.sample_every_s


def _thin_out(world: World) -> None:
    clock, lines = world.clock[0], world.timeline
    kept = len(lines) // 2
    for place in range(kept):
        line, other = lines[place], lines[2 * place]
        line.time_s, line.tokens, line.running = other.time_s, other.tokens, other.running
        line.waiting, line.free, line.preemptions = other.waiting, other.free, other.preemptions
    clock.samples = kept
    clock.sample_every_s = (clock.now_s - lines[0].time_s) / kept
