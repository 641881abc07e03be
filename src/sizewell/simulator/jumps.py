"""Steps that are identical in kind, jumped over at once: every running sequence decodes and nothing else can happen.

A jump over k steps is exact: until its end no sequence ends, none can be admitted, and the pools hold every block
they grow into, on every rank of the replica. Only the seconds of the steps are still summed up (`simulator.pace`).
"""

from __future__ import annotations

from sizewell.simulator.blocks import reclaim
from sizewell.simulator.cache import drop_unseen, free_tokens, grow, offer_full_blocks
from sizewell.simulator.landing import count_gap, speaks
from sizewell.simulator.pace import run_s
from sizewell.simulator.state import NO_ROOM, OPEN, SGLANG, STATE, Engine, World, engine_of

ALIKE = 1.0005
"""Steps of one jump whose seconds differ by less are counted as equal gaps."""


def steps_alike(world: World, first: int) -> int:
    """Return how many steps all ranks from `first` on can jump over: after them the batches in flight are the same, so
    many tokens on.
    """
    rules, lead = world.rules[0], world.states[first]
    # Ranks of a pipeline are not jumped: which stage of which rank is idle is noted by the first rank alone.
    if rules.ranks > 1 and rules.stages > 1:
        return 0
    steps, decoding = rules.max_model_len_tokens, 0
    for rank in range(rules.ranks):
        state = world.states[first + rank]
        # Prompts that wait for all ranks to have one count the steps they do.
        if rules.balance_steps > 0 and state.waiting > 0:
            return 0
        if rules.ranks > 1 and state.running == 0:
            if not _idle(world, first + rank, lead.in_flight):
                return 0
            continue
        decoding += 1
        steps = min(steps, _steps_of_rank(engine_of(world, first + rank), lead.in_flight))
        if steps == 0:
            return 0
    return int(steps) if decoding > 0 else 0


def _idle(world: World, index: int, in_flight: int) -> bool:
    """Return whether a rank has nothing to do, now and once the batches in flight are done."""
    state, ahead = world.states[index], 0
    for ring in range(in_flight):
        ahead += world.batches[index, ring].entries
    return bool(state.waiting + state.moved + ahead == 0)


def _steps_of_rank(engine: Engine, in_flight: int) -> int:
    state, rules = engine.state[0], engine.rules[0]
    if state.running == 0 or (state.waiting + state.moved > 0 and state.blocked == OPEN):
        return 0
    if state.waiting > 0 and rules.receive_steps > 1:
        return 0
    # Windows that move on give blocks back: then the first in the queue may fit.
    if (rules.windowed or rules.takes_over) and state.blocked == NO_ROOM:
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


def jump(world: World, first: int, steps: int, end_s: float) -> None:
    """Move every running sequence of the ranks from `first` on `steps` tokens on, the last of which come at `end_s`."""
    for rank in range(world.rules[0].ranks):
        if world.states[first + rank].running > 0:
            _set_times(world, first, rank, steps, end_s)
            _move(engine_of(world, first + rank), steps)
    _count_gaps(world, first, steps - 1, end_s)


def _set_times(world: World, first: int, rank: int, steps: int, end_s: float) -> None:
    """Note when the tokens of a rank's sequences come, the last ones at `end_s`."""
    engine, ring = engine_of(world, first + rank), world.states[first].oldest
    start_s = world.batches[first, ring].end_s
    for place in range(engine.state[0].running):
        sequence = engine.sequences[engine.running[place]]
        if speaks(engine, engine.running[place]):
            count_gap(engine, start_s - sequence.last_s, 1)
        left = sequence.think_tokens - sequence.generated
        if 0 <= left < steps:
            sequence.first_answer_s = start_s + run_s(world, first, ring, 1, left)
        sequence.last_s = end_s


def _move(engine: Engine, steps: int) -> None:
    """Give every running sequence of a rank its tokens and the blocks they take."""
    state, rules, sequences = engine.state[0], engine.rules[0], engine.sequences
    # The last of the steps makes room for a block of every sequence, whoever needs one.
    if rules.scheduler == SGLANG and rules.pool_tokens == 0:
        reclaim(engine, state.running + _new_blocks(engine, steps - 1))
    for place in range(state.running):
        sequence = sequences[engine.running[place]]
        sequence.generated += steps
        sequence.computed += steps
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
        behind = rules.windows_wait * (sequence.in_flight - 1)
        drop_unseen(engine, sequence.slot, computed - 1 - behind)
    grow(engine, sequence.slot, computed)
    # SGLang keeps what was generated when the sequence ends.
    if rules.scheduler != SGLANG:
        offer_full_blocks(engine, request, computed - sequence.placeholders)


def _count_gaps(world: World, first: int, steps: int, end_s: float) -> None:
    """Count the gaps of the steps after the first up to `end_s`; longer pieces where seconds hardly grow."""
    ring, done, running = world.states[first].oldest, 0, 0
    for rank in range(world.rules[0].ranks):
        running += _speaking(engine_of(world, first + rank))
    while done < steps and running > 0:
        piece = steps - done
        first_s = run_s(world, first, ring, 1 + done, 1)
        while piece > 1:
            last_s = run_s(world, first, ring, done + piece, 1)
            if last_s <= first_s * ALIKE and first_s <= last_s * ALIKE:
                break
            piece = (piece + 1) // 2
        whole = world.rules[0].ranks > 1 and piece == steps
        sum_s = end_s - world.batches[first, ring].end_s if whole else run_s(world, first, ring, 1 + done, piece)
        seconds = sum_s / piece
        count_gap(engine_of(world, first), seconds, piece * running)
        done += piece


def _speaking(engine: Engine) -> int:
    """Return how many running sequences have their gaps counted."""
    count = int(engine.state[0].running)
    if engine.rules[0].silences > 0:
        for place in range(engine.state[0].running):
            count -= int(engine.requests[engine.running[place]].silent)
    return count


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
