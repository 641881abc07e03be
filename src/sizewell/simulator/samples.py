"""The timeline of a simulation: what engines hold, looked at often enough to be drawn and seldom enough to be kept."""

from __future__ import annotations

from sizewell.simulator.state import World


def observe(world: World) -> None:
    """Note what all engines hold now, unless that was done a moment ago."""
    clock = world.clock[0]
    if clock.now_s < clock.next_sample_s:
        return
    if clock.sampled == len(world.samples):
        _thin_out(world)
    sample = world.samples[clock.sampled]
    sample.time_s = clock.now_s
    sample.running = sample.waiting = sample.free = sample.preemptions = sample.tokens = 0
    for engine in range(len(world.states)):
        state = world.states[engine]
        sample.running += state.running
        sample.waiting += state.waiting
        sample.free += state.free
        sample.preemptions += state.preemptions
        sample.tokens += state.tokens
    clock.sampled += 1
    clock.next_sample_s = clock.now_s + clock.sample_every_s


def _thin_out(world: World) -> None:
    """Keep every second sample, and look half as often from now on."""
    clock, half = world.clock[0], len(world.samples) // 2
    for place in range(half):
        kept, found = world.samples[place], world.samples[2 * place + 1]
        kept.time_s, kept.running, kept.waiting = found.time_s, found.running, found.waiting
        kept.free, kept.preemptions, kept.tokens = found.free, found.preemptions, found.tokens
    clock.sampled = half
    clock.sample_every_s = (world.samples[half - 1].time_s - world.samples[0].time_s) / half
