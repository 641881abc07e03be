"""Steps that are identical in kind, jumped over at once: every running sequence decodes and nothing else can happen.

A jump over k steps is exact: until its end no sequence ends, none can be admitted, and the pool holds every block
they grow into. Only the sum of the steps' seconds is computed in closed form (`costs.surface`).
"""

from __future__ import annotations

from sizewell.costs.surface import StepSurface, decode_run_s
from sizewell.simulator.cache import drop_unseen, free_tokens, grow, offer_full_blocks
from sizewell.simulator.landing import count_gap
from sizewell.simulator.state import NO_ROOM, OPEN, SGLANG, STATE, Engine

ALIKE = 1.0005
"""Steps of one jump whose seconds differ by less are counted as equal gaps."""


def steps_alike(engine: Engine, in_flight: int) -> int:
    """Return how many steps can be jumped over: after them the batches in flight are the same, so many tokens on."""
    state, rules = engine.state[0], engine.rules[0]
    if state.running == 0 or (state.waiting + state.moved > 0 and state.blocked == OPEN):
        return 0
    if state.waiting > 0 and rules.receive_steps > 1:
        return 0
    # Windows that move on give blocks back, SGLang expects less and less: then the first in the queue may fit.
    if (rules.windowed or rules.scheduler == SGLANG) and state.blocked == NO_ROOM:
        return 0
    computing = 0
    for ring in range(in_flight):
        # Beside a batch of all sequences the other stages have nothing to do.
        if rules.stages > 1 and engine.batches[ring].end_s == 0.0:
            continue
        if engine.batches[ring].roster != state.roster:
            return 0
        computing += 1
    least = rules.max_model_len_tokens
    for place in range(state.running):
        sequence = engine.sequences[engine.running[place]]
        least = min(least, sequence.output_tokens - sequence.generated)
    return _within_pool(engine, int(least - computing))


def jump(engine: Engine, surface: StepSurface, steps: int, start_s: float, times: tuple[float, float]) -> None:
    """Move every running sequence `steps` tokens on.

    `start_s`: when the first of the steps ends; `times`: sequences' context tokens in the step after it, and when the
    last one ends.
    """
    context, end_s = times
    state, rules, sequences = engine.state[0], engine.rules[0], engine.sequences
    count = float(state.running)
    for place in range(state.running):
        sequence = sequences[engine.running[place]]
        count_gap(engine, start_s - sequence.last_s, 1)
        left = sequence.think_tokens - sequence.generated
        if 0 <= left < steps:
            sequence.first_answer_s = start_s + decode_run_s(surface, count, context, left)
        sequence.generated += steps
        sequence.computed += steps
        sequence.last_s = end_s
    _count_gaps(engine, surface, steps - 1, context)
    if rules.windowed:
        for step in range(steps):
            for place in range(state.running):
                _take_and_offer(engine, engine.running[place], steps - 1 - step)
    else:
        for place in range(state.running):
            _take_and_offer(engine, engine.running[place], 0)
    state.steps += steps
    state.deaf = (state.deaf + steps) % rules.receive_steps
    state.tokens += steps * state.running
    for _ in range(steps):
        state.ratio = max(state.ratio - rules.ratio_decay, rules.ratio_least)


def _take_and_offer(engine: Engine, request: int, ahead: int) -> None:
    """Give a sequence the blocks it grew into but for the last `ahead` tokens."""
    rules, sequence = engine.rules[0], engine.sequences[request]
    computed = sequence.computed - ahead
    if rules.windowed:
        # Under async scheduling the step before has landed when blocks behind a window are given back.
        if rules.async_scheduling:
            offer_full_blocks(engine, request, computed - sequence.placeholders)
        behind = rules.windows_wait * (rules.depth - 1)
        drop_unseen(engine, sequence.slot, computed - 1 - behind)
    grow(engine, sequence.slot, computed)
    # SGLang keeps what was generated when the sequence ends.
    if rules.scheduler != SGLANG:
        offer_full_blocks(engine, request, computed - sequence.placeholders)


def _count_gaps(engine: Engine, surface: StepSurface, steps: int, context: float) -> None:
    """Count the gaps of the steps after the first; longer pieces where seconds hardly grow."""
    count = float(engine.state[0].running)
    done = 0
    while done < steps:
        piece = steps - done
        first_s = decode_run_s(surface, count, context + count * done, 1)
        while piece > 1:
            last_s = decode_run_s(surface, count, context + count * (done + piece - 1), 1)
            if last_s <= first_s * ALIKE and first_s <= last_s * ALIKE:
                break
            piece = (piece + 1) // 2
        seconds = decode_run_s(surface, count, context + count * done, piece) / piece
        count_gap(engine, seconds, piece * engine.state[0].running)
        done += piece


def _within_pool(engine: Engine, steps: int) -> int:
    """Return the most steps, up to `steps`, whose new blocks are all free now."""
    state, size = engine.state[0], engine.rules[0].block_tokens
    tables = len(engine.groups)
    if engine.rules[0].pool_tokens > 0:
        steps = min(steps, free_tokens(engine) // state.running)
    if steps <= 0 or state.running * (steps // size + 1) * tables <= state.free:
        return max(steps, 0)
    low, high = 0, steps
    while low < high:
        middle = (low + high + 1) // 2
        if _new_blocks(engine, middle) <= state.free:
            low = middle
        else:
            high = middle - 1
    return low


def _new_blocks(engine: Engine, steps: int) -> int:
    """Return the blocks all running sequences take in so many steps, those given back meanwhile not deducted."""
    size, needed = engine.rules[0].block_tokens, 0
    for place in range(engine.state[0].running):
        sequence = engine.sequences[engine.running[place]]
        entries = (sequence.computed + steps + size - 1) // size
        for group in range(len(engine.groups)):
            if engine.groups[group].kind != STATE:
                needed += max(0, entries - engine.held[group, sequence.slot])
    return needed
