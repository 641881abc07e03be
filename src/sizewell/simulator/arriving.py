"""Prompts another pool has computed: admitted with their blocks, they stand beside the running list until their cache
has come, and compute their last token again.
"""

from __future__ import annotations

from sizewell.simulator.blocks import NULL
from sizewell.simulator.cache import place_prefix
from sizewell.simulator.prefix import find_prefix
from sizewell.simulator.state import MOVING, Engine
from sizewell.simulator.waiting import withdraw


def comes_computed(engine: Engine, request: int) -> bool:
    """Return whether a waiting sequence has its cache elsewhere; one that lost it here computes it here."""
    return bool(engine.rules[0].takes_over and engine.sequences[request].preemptions == 0)


def expect(engine: Engine, request: int) -> bool:
    """Give the first waiting sequence the blocks its prompt moves into, and ask for it; False: no room.

    What this engine's prefix cache holds does not travel, nor what windows no longer see.
    """
    state, sequence = engine.state[0], engine.sequences[request]
    found = find_prefix(engine, request)
    if not place_prefix(engine, request, sequence.input_tokens - 1, sequence.input_tokens):
        return False
    withdraw(engine, request)
    sequence.place = MOVING
    sequence.cached = found
    sequence.moving = _blocks_to_come(engine, request)
    engine.asked[state.asked] = request
    state.asked += 1
    return True


def strike_moved(engine: Engine, count: int) -> None:
    """Take the first `count` off the list of prompts whose cache has come."""
    state, moved = engine.state[0], engine.moved
    for place in range(count, state.moved):
        moved[place - count] = moved[place]
    state.moved -= count


def _blocks_to_come(engine: Engine, request: int) -> int:
    sequence, size = engine.sequences[request], engine.rules[0].block_tokens
    last, count = (sequence.input_tokens + size - 1) // size, 0
    for group in range(len(engine.groups)):
        if engine.rules[0].counted:
            first = max(engine.state[0].hit_blocks, engine.passed[group, sequence.slot])
            count += max(0, min(last, engine.held[group, sequence.slot]) - first)
            continue
        for place in range(engine.state[0].hit_blocks, min(last, engine.held[group, sequence.slot])):
            count += int(engine.tables[group, sequence.slot, place] != NULL)
    return count
