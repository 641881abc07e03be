"""SGLang's scheduler over the same parts: prefill goes first, decoding pauses for it, and memory is a forecast.

A waiting request is admitted when its prompt and its output fit beside what running ones are still expected to
generate. The expected share of that (`ratio`) falls while all goes well; where the pool runs out all the same,
sequences are retracted and the share is set anew from what the others have generated so far.
"""

from __future__ import annotations

from sizewell.simulator.arriving import comes_computed, expect, strike_moved
from sizewell.simulator.batches import add_chunk, clear_batch
from sizewell.simulator.cache import (
    free_sequence,
    free_tokens,
    grow,
    offer_full_blocks,
    place_prefix,
    reveal,
)
from sizewell.simulator.log import PREEMPTED, SCHEDULED, note
from sizewell.simulator.prefix import find_prefix
from sizewell.simulator.state import NO_ROOM, NO_SEAT, OPEN, Engine
from sizewell.simulator.vllm import close_batch, start_running, take_from_running
from sizewell.simulator.waiting import enqueue, first_waiting, withdraw

MOST_EXPECTED = 4096
"""Output tokens of one request beyond which no memory is set aside for it."""
RETRACTED_STEPS = 20
"""Steps every sequence should be able to go on for after a retraction."""


def schedule_sglang(engine: Engine, ring: int) -> int:
    """Form the next batch: prompts if any can be computed, else one token for each running sequence."""
    clear_batch(engine, ring)
    engine.state[0].blocked = OPEN
    _listen(engine)
    if not _amid_prompt(engine):
        _join(engine)
    _prefill(engine, ring)
    if engine.batches[ring].entries == 0:
        _decode(engine, ring)
    else:
        engine.state[0].deaf = engine.rules[0].receive_steps
    return close_batch(engine, ring)


def _listen(engine: Engine) -> None:
    """Take notice of requests that have come: once in so many decoding steps, at once after prompts and when idle."""
    state = engine.state[0]
    state.deaf += 1
    if state.deaf >= engine.rules[0].receive_steps or state.running == 0:
        state.deaf = 0
        state.heard = state.waiting


def _prefill(engine: Engine, ring: int) -> None:
    rules, state = engine.rules[0], engine.state[0]
    budget = rules.max_num_batched_tokens
    if _amid_prompt(engine):
        request = engine.running[state.running - 1]
        sequence = engine.sequences[request]
        rest = sequence.input_tokens + sequence.generated - sequence.computed
        tokens = min(rest, budget)
        if tokens > free_tokens(engine) or not grow(engine, sequence.slot, sequence.computed + tokens):
            _retract(engine)
            return
        _run_chunk(engine, ring, request, tokens)
        budget -= tokens
        if tokens < rest:
            state.blocked = NO_SEAT
            return
    if state.heard > 0:
        _admit(engine, ring, budget)


def _amid_prompt(engine: Engine) -> bool:
    """Return whether a prompt is computed in part: only that of the sequence admitted last can be."""
    state = engine.state[0]
    if state.running == 0:
        return False
    request = engine.running[state.running - 1]
    sequence = engine.sequences[request]
    rest = sequence.input_tokens + sequence.generated - sequence.computed
    return bool(rest > 1 or (sequence.generated == 0 and not comes_computed(engine, request)))


def _join(engine: Engine) -> None:
    """Let prompts run whose cache has come; they take part in the next step that decodes."""
    state = engine.state[0]
    for place in range(state.moved):
        request = engine.moved[place]
        start_running(engine, request, engine.sequences[request].input_tokens - 1)
    strike_moved(engine, state.moved)


def _admit(engine: Engine, ring: int, budget: int) -> None:
    rules, state = engine.rules[0], engine.state[0]
    room, page = free_tokens(engine) - _expected(engine), 1 if rules.pool_tokens > 0 else rules.block_tokens
    while state.heard > 0:
        state.blocked = NO_SEAT
        if budget <= 0 or state.spare == 0:
            return
        request = first_waiting(engine)
        sequence = engine.sequences[request]
        if comes_computed(engine, request):
            state.blocked = NO_ROOM
            needed = sequence.input_tokens + min(sequence.output_tokens, MOST_EXPECTED)
            if needed + page >= room or not expect(engine, request):
                return
            state.heard -= 1
            room -= needed
            continue
        cached = find_prefix(engine, request)
        loaded = state.hit_on_host * rules.block_tokens
        cached += loaded
        rest = sequence.input_tokens + sequence.generated - cached
        ahead = min(sequence.output_tokens - sequence.generated, MOST_EXPECTED)
        tokens = min(rest, budget)
        state.blocked = NO_ROOM
        if rest + ahead + page >= room or not place_prefix(engine, request, cached, cached + tokens):
            return
        withdraw(engine, request)
        start_running(engine, request, cached)
        state.heard -= 1
        engine.batches[ring].load_s += loaded * rules.host_token_s
        _run_chunk(engine, ring, request, tokens)
        budget -= tokens
        room -= rest + ahead
        if tokens < rest:
            state.blocked = NO_SEAT
            return
    state.blocked = OPEN


def _decode(engine: Engine, ring: int) -> None:
    """Let every running sequence compute a token and its drafts; retract some if there are no blocks for all."""
    rules, state = engine.rules[0], engine.state[0]
    if state.running == 0:
        return
    if _lacks_room(engine):
        _retract(engine)
    else:
        state.ratio = max(state.ratio - rules.ratio_decay, rules.ratio_least)
    for place in range(state.running):
        request = engine.running[place]
        sequence = engine.sequences[request]
        grow(engine, sequence.slot, sequence.computed + 1 + rules.drafts)
        add_chunk(engine, ring, request, 1 + rules.drafts)
        note(engine, SCHEDULED, request, 1 + rules.drafts)


def _retract(engine: Engine) -> None:
    """Take everything from sequences with the fewest output tokens, longest prompts first, until the rest can go on."""
    state, sequences = engine.state[0], engine.sequences
    while state.running > 1 and _lacks_room(engine):
        victim = engine.running[state.running - 1]
        for place in range(state.running - 2, -1, -1):
            if _goes_before(engine, engine.running[place], victim):
                victim = engine.running[place]
        note(engine, PREEMPTED, victim, sequences[victim].computed)
        take_from_running(engine, victim)
        reveal(engine, victim)
        free_sequence(engine, victim)
        sequences[victim].computed = 0
        sequences[victim].preemptions += 1
        state.preemptions += 1
        enqueue(engine, victim)
        state.heard += 1
    generated = asked = 0
    for place in range(state.running):
        generated += sequences[engine.running[place]].generated
        asked += sequences[engine.running[place]].output_tokens
    state.ratio = min(1.0, (generated + RETRACTED_STEPS * state.running) / (asked + 1))
    # A seat and blocks are free that were not when the queue was last looked at.
    state.blocked = OPEN


def _goes_before(engine: Engine, one: int, other: int) -> bool:
    first, second = engine.sequences[one], engine.sequences[other]
    if first.generated != second.generated:
        return bool(first.generated < second.generated)
    return bool(first.input_tokens > second.input_tokens)


def _lacks_room(engine: Engine) -> bool:
    """Return whether one more token of every running sequence and its drafts do not fit."""
    rules = engine.rules[0]
    if rules.pool_tokens > 0:
        return bool(engine.state[0].running * (1 + rules.drafts) > free_tokens(engine))
    size, needed = engine.rules[0].block_tokens, 0
    more = size + engine.rules[0].drafts
    for place in range(engine.state[0].running):
        sequence = engine.sequences[engine.running[place]]
        needed += max(0, (sequence.computed + more) // size - engine.held[0, sequence.slot])
    return bool(needed > engine.state[0].free)


def _expected(engine: Engine) -> int:
    """Return the tokens running sequences are expected to generate yet."""
    state, expected = engine.state[0], 0.0
    for place in range(state.running):
        sequence = engine.sequences[engine.running[place]]
        expected += min(sequence.output_tokens - sequence.generated, MOST_EXPECTED) * state.ratio
    return int(expected)


def _run_chunk(engine: Engine, ring: int, request: int, tokens: int) -> None:
    """Compute the next chunk of a prompt; what it fills can be found by others at once."""
    add_chunk(engine, ring, request, tokens)
    offer_full_blocks(engine, request, engine.sequences[request].computed)
    note(engine, SCHEDULED, request, tokens)
