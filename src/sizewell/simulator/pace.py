"""How long steps last in which the ranks of a replica act together: as long as the slowest rank's.

`ahead` counts steps after that of a batch in which every rank only decodes: each sequence has grown by so many tokens.
One rank's run of steps is a sum in closed form (`costs.surface`); of several ranks another may be slowest at each step.
"""

from __future__ import annotations

from math import inf

from sizewell.costs.surface import decode_run_s, decode_steps_within, step_s
from sizewell.simulator.batches import step_batch
from sizewell.simulator.state import World, engine_of


def pace_s(world: World, first: int, ring: int, ahead: int) -> float:
    """Return the seconds of one step of the ranks from `first` on."""
    ranks = world.rules[0].ranks
    if ranks == 1:
        return step_s(world.surface, step_batch(engine_of(world, first), ring, 0.0, 0.0, ahead))
    tokens = sequences = slowest = 0.0
    for rank in range(ranks):
        batch = world.batches[first + rank, ring]
        tokens += max(batch.tokens, 1)
        sequences += batch.entries
    for rank in range(ranks):
        batch = world.batches[first + rank, ring]
        elsewhere = tokens - max(batch.tokens, 1), sequences - batch.entries
        own = step_batch(engine_of(world, first + rank), ring, float(elsewhere[0]), float(elsewhere[1]), ahead)
        slowest = max(slowest, step_s(world.surface, own))
    return slowest


def run_s(world: World, first: int, ring: int, ahead: int, steps: int) -> float:
    """Return the sum of `steps` consecutive steps."""
    if world.rules[0].ranks == 1:
        batch = world.batches[first, ring]
        count = batch.decode_sequences
        return decode_run_s(world.surface, count, batch.decode_context_tokens + count * ahead, steps)
    total = 0.0
    for step in range(steps):
        total += pace_s(world, first, ring, ahead + step)
    return total


def steps_until(world: World, first: int, ring: int, until_s: float, most: int) -> tuple[int, float]:
    """Return how many of at most `most` steps behind that of a batch start before `until_s`, and their seconds."""
    seconds = until_s - world.batches[first, ring].end_s
    if world.rules[0].ranks == 1:
        batch, steps = world.batches[first, ring], most
        count, context = batch.decode_sequences, batch.decode_context_tokens + batch.decode_sequences
        if most > 0 and seconds < inf:
            steps = decode_steps_within(world.surface, count, context, seconds, most)
        return steps, decode_run_s(world.surface, count, context, steps) if steps > 0 else 0.0
    gone, steps = 0.0, 0
    while steps < most and gone < seconds:
        steps += 1
        gone += pace_s(world, first, ring, steps)
    return steps, gone
